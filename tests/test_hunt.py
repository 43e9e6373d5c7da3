"""Hunts: findings are worse than the catalogue, small, reproducible and confirmed by a run; laws of the parts."""

import math
import shlex
import textwrap

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import InThisProcess

import logitlab
from logitlab import runner
from logitlab.cases import get_case
from logitlab.cases.inputs import read_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import quantize, round_to
from logitlab.grading._bounds import RowSizes, entry_bounds, loss_bounds
from logitlab.oracle import reference
from logitlab.studies.hunt import _hunt, _search, hunt, show
from logitlab.studies.hunt._approximate_reference import approximate_reference
from logitlab.studies.hunt._minimize import minimize, shortest
from logitlab.studies.hunt._mutations import MUTATIONS, fitted, fresh, held, mutated
from logitlab.studies.hunt._score import NOT_FINITE, score

BENIGN = "random/c5_s1"  # five classes, logits of about 1: every formula is accurate on it
COLUMNS = ["case", "row", "quantity", "status", "grade", "verdict", "max_ulp", "value", "exact"]


def short(implementation, dtype="float32", **asked):
    return hunt(implementation, dtype, **{"cases": BENIGN, "evaluations": 8000, "keep": 3} | asked)


@pytest.fixture
def here(in_this_process, monkeypatch):
    """Let a hunt, and a run or an explanation beside it, make their calls in this process."""
    monkeypatch.setattr(_hunt, "Pools", InThisProcess)


@pytest.fixture(scope="module")
def naive():
    """Return a hunt that uses workers."""
    return short("numpy/naive")


@pytest.fixture(scope="module")
def scaled():
    return short("numpy/naive", "bfloat16", logit_scale=2.0, z_loss=0.001, evaluations=2000)


# --- with options -----------------------------------------------------------------------------------------------


@pytest.mark.full
def test_options_hold_for_the_catalogue_the_search_and_the_findings(scaled, tmp_path):
    held = {name: float(quantize(value, FORMATS["bfloat16"])) for name, value in scaled.options.items()}
    assert scaled.options == {"logit_scale": 2.0, "z_loss": 0.001}
    worst = scaled.catalogue.set_index("quantity").loc["loss"]
    row = get_case(worst["case"]).quantized(FORMATS["bfloat16"])[[worst["row"]]]
    assert worst["exact"] == reference(row, [worst["target"]], **held).loss.hi[0]
    assert scaled.cases
    for case in scaled.cases:
        assert case.set_options == scaled.options
        line = scaled.findings[scaled.findings["case"] == case.id].iloc[0]
        exact = reference(case.quantized(FORMATS["bfloat16"]), case.targets, **held)
        assert line["quantity"] != "loss" or line["exact"] == exact.loss.hi[0]
    scaled.write(tmp_path / "found.json")
    df = runner.run(case_files=tmp_path / "found.json", implementations="numpy/naive", dtypes="bfloat16")
    merged = scaled.findings.merge(df, on=["case", "row", "quantity"], suffixes=("", " of the run"))
    assert len(merged) == len(scaled.findings)
    assert (merged["grade"] == merged["grade of the run"].astype(str)).all()


@pytest.mark.full
def test_the_report_names_the_options(scaled, capsys):
    show(scaled)
    assert "with logit scale 2, z-loss 0.001" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"softcap": -1.0}, "softcap is -1.0; expected a positive finite number"),
        ({"softcap": 1e6}, "float16 cannot hold the options: softcap would become infinite"),
        ({"softcap": 30.0, "implementation": "numpy/scipy.special.log_softmax"}, "takes no softcap"),
    ],
)
def test_options_that_do_not_fit_are_reported(asked, message):
    implementation = asked.pop("implementation", "numpy/lse")
    with pytest.raises(UsageError, match=message):
        short(implementation, "float16", evaluations=10, **asked)


# --- what is found ----------------------------------------------------------------------------------------------


def test_a_hunt_from_benign_rows_finds_where_naive_is_not_finite(naive):
    assert set(naive.catalogue["grade"]) <= {"A", "B"}
    first = naive.findings.iloc[0]
    assert first["grade"] == "F"
    assert first["verdict"] in ("nan", "overflow")
    assert set(naive.findings["case"]) == {case.id for case in naive.cases}
    assert naive.evaluations >= 8000


def test_each_finding_is_worse_than_the_catalogue(naive):
    before = naive.catalogue.set_index("quantity")
    for line in naive.findings.to_dict("records"):
        there = before.loc[line["quantity"]]
        assert (line["grade"], line["of_bound"]) > (there["grade"], there["of_bound"])


def test_findings_are_small_and_round(naive):
    assert max(case.classes for case in naive.cases) <= 5
    assert min(len(str(case.logits.tolist())) for case in naive.cases) <= len("[[100.0, 100.0]]")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "dtype", [pytest.param(d, marks=[pytest.mark.full] if d in ("float16", "float64") else []) for d in FORMATS]
)
def test_a_hunt_by_ulp_finds_a_larger_error_of_lse(dtype):
    found = short("numpy/lse", dtype, by="ulp", quantities="loss")
    assert set(found.findings["quantity"]) == {"loss"}
    before, after = found.catalogue.iloc[0], found.findings.iloc[0]
    assert after["grade"] != "F"
    assert after["max_ulp"] > 10 * before["max_ulp"]
    # Compared with the oracle, without grading.
    (case,) = (c for c in found.cases if c.id == after["case"])
    exact = logitlab.reference(case.quantized(FORMATS[dtype]), case.targets).loss
    assert after["exact"] == exact.hi[0]
    spacing = logitlab.core.rounding.ulp(exact.hi, FORMATS[dtype], exact.lo)[0]
    assert after["max_ulp"] == pytest.approx(abs(after["value"] - exact.hi[0] - exact.lo[0]) / spacing)


@pytest.mark.parametrize(
    ("implementation", "dtype"),
    [pytest.param("torch/F.cross_entropy", "float32", marks=pytest.mark.full), ("numpy/lse", "bfloat16")],
)
def test_a_run_of_the_file_measures_what_the_hunt_reported(here, tmp_path, implementation, dtype):
    found = short(implementation, dtype, evaluations=4000)
    assert len(found.cases) > 0
    found.write(tmp_path / "found.json")
    df = runner.run(
        case_files=tmp_path / "found.json", implementations=implementation, dtypes=dtype, modes="eager", devices="cpu",
    ).astype({"case": str, "quantity": str})  # fmt: skip
    merged = found.findings[COLUMNS].merge(df[COLUMNS], on=["case", "row", "quantity"], suffixes=("", "_run"))
    assert len(merged) == len(found.findings)
    for column in COLUMNS[3:]:
        mine, theirs = merged[column].astype(object), merged[f"{column}_run"].astype(object)
        assert ((mine == theirs) | (mine.isna() & theirs.isna())).all(), column


def test_a_case_records_where_it_was_found_and_how_bad_it_is(naive):
    line, case = naive.findings.iloc[0], naive.cases[0]
    assert case.why.startswith(
        f"Found by a hunt in numpy/naive in float32 on cpu, eager (numpy {np.__version__}, LogitLab"
    )
    assert f"{line['quantity']} F, {line['verdict']}, where the catalogue's worst is " in case.why
    assert f" in {BENIGN}[" in case.why


@pytest.mark.usefixtures("here")
def test_the_same_seed_finds_the_same_and_another_does_not(naive):
    again, other = short("numpy/naive"), short("numpy/naive", seed=1, evaluations=2000)
    assert [c.logits.tolist() for c in again.cases] == [c.logits.tolist() for c in naive.cases]
    assert again.findings.equals(naive.findings)
    assert [c.id for c in other.cases] != [c.id for c in naive.cases]


@pytest.mark.usefixtures("here")
def test_an_interrupted_search_keeps_its_findings():
    def interrupt(done, total, label):
        if "0 kinds" not in label:
            raise KeyboardInterrupt

    found = short("numpy/naive", progress=interrupt)
    assert found.evaluations < 8000
    assert found.findings["grade"].iloc[0] == "F"


@pytest.mark.usefixtures("here")
def test_a_hunt_that_finds_nothing_worse_has_nothing_to_write(tmp_path):
    found = hunt("numpy/naive", cases="seed/article", evaluations=1)
    assert found.cases == ()
    assert found.findings.empty
    with pytest.raises(UsageError, match="the hunt found no case to write; search longer"):
        found.write(tmp_path / "found.json")


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory, distribution):
    """Write an external framework that is accurate except in rows with a logit above 500."""
    site = tmp_path_factory.mktemp("site")
    (site / "odd.py").write_text(
        textwrap.dedent(
            """
            import os
            import numpy as np
            from logitlab.frameworks import Framework, Implementation

            def losses(batch):
                x = batch.logits.astype(np.float64)
                m = x.max(1)
                return (np.log(np.exp(x - m[:, None]).sum(1)) + (m - x[np.arange(len(x)), batch.targets])).astype("f4")

            def raises(batch):
                if (batch.logits > 500).any():
                    raise RuntimeError("too large")
                return losses(batch)

            def dies(batch):
                if (batch.logits > 500).any():
                    os._exit(3)
                return losses(batch)

            def never(batch):
                raise RuntimeError("not today")

            class Odd(Framework):
                name = "odd"
                implementations = [
                    Implementation(f"odd/{f.__name__}", "builtin", f, "numpy", differentiable=False)
                    for f in (raises, dies, never)
                ]
                def evaluate(self, implementation, batch, device, mode):
                    yield "loss", implementation.loss(batch)
                def unsupported(self, error):
                    return False

            FRAMEWORK = Odd()
            """
        )
    )
    distribution(site, "odd", "odd = odd:FRAMEWORK")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield site


@pytest.mark.parametrize(
    ("name", "status"), [pytest.param("raises", "raised", marks=pytest.mark.full), ("dies", "crashed")]
)
def test_a_row_without_an_answer_is_the_worst_finding(odd, monkeypatch, name, status):
    monkeypatch.setattr(_search, "MAX_DEAD", 1)  # each costs a new worker
    found = short(f"odd/{name}", quantities="loss", evaluations=1500, keep=1)
    worst = found.findings.iloc[0]
    assert worst["status"] == status
    (case,) = (c for c in found.cases if c.id == worst["case"])
    assert case.logits.max() > 500
    assert f"loss {status}, where the catalogue's worst is A" in case.why


def test_an_implementation_without_answers_is_reported(odd):
    with pytest.raises(
        UsageError, match=r"odd/never returns no result for .* in float32 \(raised: RuntimeError: not today\)"
    ):
        short("odd/never")


# --- what cannot be done as it was asked ------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"by": "error"}, "cannot hunt by 'error'; choose one of bound, ulp"),
        ({"seconds": 0}, "seconds is 0; expected a finite number of seconds above 0"),
        ({"seconds": math.nan}, "seconds is nan; expected a finite number of seconds above 0"),
        ({"evaluations": 0}, "evaluations is 0; expected a whole number of at least 1"),
        ({"keep": 0}, "keep is 0; expected a whole number of at least 1"),
        ({"quantities": ["loss", "accuracy"]}, "unknown quantity 'accuracy'; choose one of"),
        ({"cases": "nowhere/*"}, "nowhere"),
        ({"cases": "weights/*"}, "no case of weights/* has logits that fit float32, without loss options"),
        ({"cases": "masks/all"}, "numpy/naive returns no gradable loss, gradient for masks/all"),
        ({"implementation": "nothing/naive"}, "unknown framework 'nothing'"),
        ({"implementation": "numpy/best"}, "no implementation matches 'numpy/best'"),
        (
            {"implementation": "numpy/l*e"},
            "'numpy/l*e' matches numpy/lse",
        ),
        ({"device": "abacus"}, "no chosen framework has the device 'abacus'"),
        ({"mode": "compiled"}, "no chosen framework has the mode 'compiled'"),
    ],
)
def test_an_impossible_hunt_is_reported_in_one_line(asked, message):
    with pytest.raises(UsageError) as caught:
        hunt(**{"implementation": "numpy/naive", "evaluations": 1, "cases": BENIGN} | asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_command_reports_and_writes_and_the_commands_that_it_proposes_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["hunt", "numpy/naive", "--case", BENIGN, "--evaluations", "8000", "--keep", "2"]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert f"the catalogue's worst\n  {BENIGN}, row " in printed
    assert "\n2 rows are worse\n" in printed
    assert "F, nan" in printed
    cases = read_cases("hunt.json")
    assert all(case.id in printed for case in cases)
    commands = [shlex.split(line)[1:] for line in printed.splitlines() if line.startswith("logitlab ")]
    assert [command[0] for command in commands] == ["run", "explain"]
    assert [main(command) for command in commands] == [0, 0]
    assert "first failure: exp" in capsys.readouterr().out


def test_the_command_does_not_overwrite_a_file(tmp_path, capsys):
    (tmp_path / "mine.json").write_text("mine")
    assert main(["hunt", "numpy/naive", "--out", str(tmp_path / "mine.json")]) == 2
    assert "mine.json already exists; remove it, or choose another file" in capsys.readouterr().err
    assert main(["hunt", "numpy/naive", "--out", str(tmp_path / "mine.json" / "found.json")]) == 2
    assert "found.json: cannot be written" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == "mine"


@pytest.mark.usefixtures("here")
def test_the_command_reports_that_nothing_is_worse_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "found.json"
    assert main(["hunt", "numpy/naive", "--case", "seed/article", "--evaluations", "1", "--out", str(path)]) == 0
    assert "no worse row was found" in capsys.readouterr().out
    assert not path.exists()


# --- the parts --------------------------------------------------------------------------------------------------

formats = st.sampled_from(list(FORMATS.values()))


@st.composite
def rows(draw, most=6):
    """Draw a format, logits (B, C) of its numbers or -inf with one finite logit in each row, and targets (B,)."""
    fmt = draw(formats)
    width = {"float16": 16, "float64": 64}.get(fmt.name, 32)
    numbers = st.floats(-fmt.largest, fmt.largest, width=width) | st.floats(-200.0, 200.0, width=width)
    classes, many = draw(st.integers(2, most)), draw(st.integers(1, 3))
    x = [[draw(numbers | st.just(-math.inf)) for _ in range(classes)] for _ in range(many)]
    targets = [draw(st.integers(0, classes - 1)) for _ in range(many)]
    return fmt, held(np.array(x, np.float64), fmt), np.array(targets, np.int64)


def is_held(x, fmt):
    with np.errstate(over="ignore"):
        same = x.astype(fmt.dtype).astype(np.float64) == x
    return bool(same.all() and np.isfinite(x).any(axis=1).all() and (x < np.inf).all())


@given(drawn=rows(), seed=st.integers(0, 2**32 - 1))
def test_mutants_are_rows_that_the_dtype_holds(drawn, seed):
    fmt, x, t = drawn
    before = x.copy(), t.copy()
    rng = np.random.Generator(np.random.Philox(seed))
    for _ in range(3):
        children, targets = mutated(rng, x, t, fmt)
        assert children.shape == x.shape
        assert is_held(children, fmt)
        assert ((targets >= 0) & (targets < x.shape[1])).all()
    assert np.array_equal(x, before[0])
    assert np.array_equal(t, before[1])


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_every_mutation_changes_rows(mutation):
    rng = np.random.Generator(np.random.Philox(0))
    fmt = FORMATS["float32"]
    x, t = fresh(rng, 64, 5)
    x = held(x, fmt)
    x[:, 4] = -np.inf  # unmask has something to do
    t %= 4
    children, targets = mutation(rng, x.copy(), t.copy(), fmt)
    assert ((children != x).any(axis=1) | (targets != t)).mean() > 0.2


@given(drawn=rows(), classes=st.integers(2, 12), seed=st.integers(0, 99))
def test_a_row_fitted_to_a_width_keeps_target_and_maximum(drawn, classes, seed):
    _, x, t = drawn
    rng = np.random.Generator(np.random.Philox(seed))
    row, target = fitted(rng, x[0], int(t[0]), classes)
    assert row.shape == (classes,)
    assert row[target] == x[0, t[0]]
    assert row.max() == x[0].max()
    if classes < x.shape[1]:
        assert set(row) <= set(x[0])


@settings(max_examples=examples(200))
@given(drawn=rows())
def test_the_quick_answer_is_the_oracles_to_a_thousandth_of_any_bound(drawn):
    fmt, x, t = drawn
    logits = x.astype(fmt.dtype)
    quick, exact = approximate_reference(logits, t, fmt), reference(logits, t, keep=False)
    of, p = RowSizes.of(logits, exact.mass), exact.probabilities.hi
    assert np.array_equal(exact.mass, quick.mass)
    for mine, theirs, bounds in [
        (quick.loss, exact.loss, loss_bounds(exact.loss.hi, of, fmt)),
        (quick.probabilities, exact.probabilities, entry_bounds(p, p, of, fmt)),
        (quick.gradient, exact.gradient, entry_bounds(exact.gradient.hi, p, of, fmt)),
    ]:
        finite = np.isfinite(theirs.hi)
        assert np.array_equal(mine.hi[~finite], theirs.hi[~finite])
        error = np.abs((mine.hi[finite] - theirs.hi[finite]) + (mine.lo[finite] - theirs.lo[finite]))
        assert (error <= 1e-3 * np.min(bounds, axis=0)[finite]).all()


def test_the_score_is_the_grade_and_the_share_of_its_bound():
    """Two classes alike: the loss is ln 2, A allows (8u + 2u |ln ln 2| + 2 sqrt(2) u) ln 2 + t; the signs say which."""
    fmt, u = FORMATS["float32"], 2.0**-24
    logits, targets = np.zeros((5, 2), np.float32), np.zeros(5, np.int64)
    exact = reference(logits, targets)
    accurate = (8 * u + 2 * u * abs(math.log(math.log(2))) + 2 * math.sqrt(2) * u) * math.log(2)
    stable = u * 4 * math.log(2) + 8 * u + 2 * math.sqrt(2) * u
    errors = np.array([0.0, 0.5 * accurate, -0.8 * stable, 4.0 * stable, math.inf])
    found = score("loss", math.log(2) + errors, logits, fmt, exact, "bound")
    assert list(found.graded.grade) == ["A", "A", "B", "D", "F"]
    # Without an offset C's bound is B's, and D's is counted from there: 1 - 1/4 above 3.
    assert found.score == pytest.approx([0.0, 0.5, 1.8, 3.75, NOT_FINITE], rel=1e-6, abs=1e-9)
    assert found.of_bound == pytest.approx([0.0, 0.5, 0.8, 4.0, math.inf], rel=1e-6, abs=1e-9)
    by_ulp = score("loss", math.log(2) + errors, logits, fmt, exact, "ulp").score
    assert (np.diff(by_ulp) > 0).all()
    assert by_ulp[-1] == NOT_FINITE


def test_a_row_is_made_smaller_as_far_as_it_stays_as_bad():
    """A row is bad if a logit is 88.8 or more; the smallest such row has two classes and one round number."""
    fmt, rng = FORMATS["float32"], np.random.Generator(np.random.Philox(0))
    x = held(rng.standard_normal((1, 300)) * 3, fmt)[0]
    x[7] = np.float32(91.23456)
    found, target = minimize(x, 3, 4.0, lambda rows, targets: np.where(rows.max(axis=1) >= 88.8, 4.0, 0.0), rng, fmt)
    assert found.tolist()[1 - target] in (90.0, 91.0)
    assert found.tolist()[target] == 0.0
    assert found.size == 2


@given(drawn=rows())
def test_the_shortest_decimals_round_to_the_same_numbers(drawn):
    fmt, x, _ = drawn
    short_ = shortest(x[0], fmt)
    assert np.array_equal(round_to(short_, fmt), x[0])
    assert all(len(repr(s)) <= len(repr(v)) for s, v in zip(short_.tolist(), x[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "cases", "message"),
    [
        pytest.param(
            "torch/F.linear_cross_entropy", None, "is a loss of hidden states and a weight, and a hunt tries logits",
            marks=pytest.mark.full,
        ),
        ("numpy/lse[linear]", None, "is a loss of hidden states and a weight, and a hunt tries logits"),
        ("numpy/lse", ["linear_layers/*"], r"no case of linear_layers/\* has logits that fit float32"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("here")
def test_a_hunt_is_for_logits(name, cases, message):
    with pytest.raises(UsageError, match=message):
        hunt(name, evaluations=1, cases=cases)
