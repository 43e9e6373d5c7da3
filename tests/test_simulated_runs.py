"""The framework `simulated`: its formulas against NumPy's and exact answers, its variants, runs and explanations."""

from dataclasses import replace

import numpy as np
import pytest

import logitlab
from logitlab import runner
from logitlab.core.arithmetic import Arithmetic, Order, Rounding, expand, parse
from logitlab.core.errors import UsageError
from logitlab.core.formats import get_format
from logitlab.core.rounding import quantize, round_to
from logitlab.execution import registry, variants, worker
from logitlab.execution.plan import Cell, choose_frameworks
from logitlab.execution.registry import ImplementationInfo
from logitlab.frameworks import Batch
from logitlab.oracle import reference

FRAMEWORK = registry.imported("simulated")
NAMES = [i.name for i in FRAMEWORK.implementations]
X = np.array([[2, 1, 0.1], [1000, 1, -1000], [3, 2, 1]], np.float32)
T = np.array([0, 2, 1])


def batch(x, t, name):
    fmt = get_format(name)
    return Batch(quantize(x, fmt), np.asarray(t), format=fmt if fmt.is_hosted else None)


def computed(name, given, settings=""):
    framework = registry.imported(name.partition("/")[0])
    mode = f"eager+{settings}" if settings else "eager"
    return dict(framework.evaluate(framework.all_implementations[name], given, "cpu", mode))


# --- settings ---------------------------------------------------------------------------------------------------


def test_settings_describe_an_arithmetic_in_any_order_and_have_one_name():
    found = parse("seed-7,accumulate-e4m3fn,stochastic-4,tile-32,pairwise")
    assert found == Arithmetic(Rounding.STOCHASTIC, 4, 7, "float8_e4m3fn", Order.PAIRWISE, 32)
    assert found.name == "stochastic-4,seed-7,accumulate-float8_e4m3fn,pairwise,tile-32"
    assert parse(found.name) == found
    assert parse("nearest") == Arithmetic() == parse(Arithmetic().name)
    assert parse("accumulate-e5m6-flush").accumulator == "e5m6-flush"


def test_a_range_gives_one_variant_for_each_number():
    assert expand("stochastic-4,seed-0..2") == tuple(f"stochastic-4,seed-{n}" for n in range(3))
    assert variants.choose_variants(["seed-0..99,stochastic-4", "up", "up,sequential"]) == (
        *(f"stochastic-4,seed-{n}" for n in range(100)), "up",
    )  # fmt: skip
    assert len(expand("tile-1..4,stochastic-1..3,seed-0..1")) == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("up,seed-3", "a seed without random bits"),
        ("up,down", "sets the rounding again"),
        ("stochastic", "unknown setting 'stochastic' of simulated arithmetic; choose from nearest, toward_zero"),
        ("stochastic-25", "give stochastic-N with N from 1 to 24"),
        ("up,tiles-3", "unknown setting 'tiles-3'"),
        ("accumulate-float12", "unknown dtype 'float12'"),
        ("up,accumulate-float64", "sums in float64 are rounded to nearest"),
        ("stochastic-4,seed-9..3", "the range seed-9..3 is empty or too long"),
        ("stochastic-1..20,seed-0..99", "gives 2000 variants; give at most 1000"),
        ("wild", "unknown variant 'wild'; choose from .* or, for the framework simulated, .* stochastic-N"),
    ],
)
def test_a_setting_that_is_unknown_or_useless_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        variants.choose_variants([text])


def test_a_variant_changes_simulated_arithmetic_alone_and_shares_its_worker():
    assert variants.modes_of("simulated", "eager", ["up", "one-thread"]) == ("eager", "eager+up")
    assert variants.modes_of("numpy", "eager", ["up"]) == ("eager",)
    assert variants.variables("simulated", "eager+up") == {}
    info = ImplementationInfo("simulated/lse", "lse", "logitlab", "1", ("eager",))
    keys = {Cell("simulated", info, "float16", "cpu", mode).worker_key for mode in ("eager", "eager+up")}
    assert keys == {"simulated"}


# --- formulas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["naive", "lse"])
@pytest.mark.parametrize(("dtype", "settings"), [("float16", "accumulate-float32"), ("bfloat16", "")])
def test_a_formula_of_few_classes_is_numpys_bit_for_bit(formula, dtype, settings):
    """NumPy adds fewer than 8 numbers one after the other, those of float16 in float32; its exp rounds twice."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((400, 5)) * s for s in (0.5, 3, 12)])
    given = batch(x, rng.integers(0, 5, len(x)), dtype)
    ours, numpys = computed(f"simulated/{formula}", given, settings), computed(f"numpy/{formula}", given)
    for quantity, expected in numpys.items():
        assert ours[quantity].dtype == expected.dtype
        differ = (ours[quantity] != expected) & ~(np.isnan(ours[quantity]) & np.isnan(expected))
        assert differ.mean() <= (0.002 if dtype == "float16" else 0), quantity


def test_a_float32_formula_differs_from_numpys_only_by_roundings_of_exp_and_log():
    rng = np.random.default_rng(1)
    given = batch(rng.standard_normal((500, 5)), rng.integers(0, 5, 500), "float32")
    ours, numpys = computed("simulated/lse", given), computed("numpy/lse", given)
    for quantity, expected in numpys.items():
        np.testing.assert_allclose(ours[quantity], expected, rtol=0, atol=4 * 2.0**-22)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fmt", ["float32", "e8m20", "float16", "e5m6"])
def test_results_have_an_error_of_a_few_roundings(name, fmt):
    rng = np.random.default_rng(2)
    given = batch(rng.standard_normal((40, 9)), rng.integers(0, 9, 40), fmt)
    exact = reference(given.logits.astype(np.float64), given.targets)
    u = get_format(fmt).unit_roundoff
    for settings in ("", "toward_zero", "up", "down", "stochastic-8,seed-1", "pairwise,tile-3", "blocked,tile-2"):
        for quantity, value in computed(name, given, settings).items():
            np.testing.assert_allclose(value.astype(np.float64), getattr(exact, quantity).hi, rtol=0, atol=80 * u)
            assert (round_to(value.astype(np.float64), get_format(fmt)) == value.astype(np.float64)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(name):
    rng = np.random.default_rng(3)
    given = batch(rng.standard_normal((9, 20)), rng.integers(0, 20, 9), "e5m6")
    mode = "stochastic-6,seed-3,tile-8"
    whole, again, other = (computed(name, given, m) for m in (mode, mode, mode.replace("seed-3", "seed-4")))
    alone = computed(name, given.part(slice(4, 5)), mode)
    assert any((whole[q] != other[q]).any() for q in whole)
    for quantity in whole:
        np.testing.assert_array_equal(whole[quantity], again[quantity])
        np.testing.assert_array_equal(whole[quantity][4:5], alone[quantity])


def test_the_online_softmax_rescales_its_sum_by_tiles():
    """One tile is the plain sum; with a tile of one each rising logit costs a rescaling, and its roundings."""
    rng = np.random.default_rng(4)
    given = batch(np.sort(rng.standard_normal((30, 64)) * 3, axis=1), rng.integers(0, 64, 30), "e5m6")
    one, plain = computed("simulated/online", given, "tile-64"), computed("simulated/lse", given)
    np.testing.assert_array_equal(one["loss"], plain["loss"])
    tiles = {tile: computed("simulated/online", given, f"tile-{tile}")["loss"].astype(float) for tile in (1, 16)}
    assert (tiles[1] != tiles[16]).any()
    # The last tile has the largest logits, so a wide accumulator keeps the digits that the format loses.
    exact = reference(given.logits.astype(np.float64), given.targets).loss.hi
    wide = computed("simulated/online", given, "tile-1,accumulate-float32")["loss"].astype(float)
    assert np.abs(wide - exact).mean() < np.abs(tiles[1] - exact).mean()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduced_loss_is_added_like_a_row(name, reduction):
    given = batch(X / 8, T, "float16")
    rows, reduced = computed(name, given), computed(name, replace(given, reduction=reduction))
    total = rows["loss"][0] + rows["loss"][1] + rows["loss"][2]
    assert reduced["loss"] == (total if reduction == "sum" else total / np.float16(3))
    factor = np.float16(1 if reduction == "sum" else 3)
    np.testing.assert_array_equal(reduced["gradient"], rows["gradient"] / factor)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_have_empty_results(name):
    found = computed(name, batch(np.zeros((0, 3)), np.zeros(0, int), "float16"), "stochastic-3")
    assert {q: v.shape for q, v in found.items()}["loss"] == (0,)


def test_what_is_not_simulated_is_unsupported():
    options = replace(batch(X, T, "float32"), options={"label_smoothing": 0.1})
    for given, why in ((batch(X, T, "float64"), "up to 24 bits"), (options, "takes no label_smoothing")):
        outcome = worker.call(worker.Evaluation("simulated", "simulated/lse", given))
        assert outcome.status == "unsupported"
        assert why in outcome.detail


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_run_measures_it_only_if_it_is_named():
    assert "simulated" not in choose_frameworks(None)
    assert "simulated" not in choose_frameworks(None, ["*/lse"])
    assert choose_frameworks(["simulated"]) == ("simulated",)
    assert "simulated" in choose_frameworks(None, ["simulated/l*"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from in_process import calls_in_this_process

    from logitlab.storage.store import Run

    folder = tmp_path_factory.mktemp("simulated") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/article", "gap/5_low"], frameworks="simulated", dtypes=["float16", "float32"],
            variants=["toward_zero", "stochastic-4,seed-0..1"], out=folder,
        )  # fmt: skip
    return Run(folder)


def test_a_run_has_grades_and_first_failures_of_every_variant(run):
    df = run.read()
    assert set(df["implementation"]) == set(NAMES)
    modes = {"eager", "eager+toward_zero", "eager+stochastic-4,seed-0", "eager+stochastic-4,seed-1"}
    assert set(df["mode"]) == modes
    assert (df["status"] == "ok").all()
    of_article = df[(df["case"] == "seed/article") & (df["dtype"] == "float32") & (df["quantity"] == "loss")]
    naive = of_article[(of_article["implementation"] == "simulated/naive") & (of_article["row"] == 1)]
    # Rounded toward zero no result is infinite: exp(1000) is the largest number.
    assert naive.set_index("mode")["first_failure"].to_dict()["eager"] == "exp"
    assert naive.set_index("mode")["grade"].to_dict()["eager"] == "F"
    log1p = of_article[of_article["implementation"] == "simulated/log1p"]
    assert set(log1p[log1p["mode"] == "eager"]["grade"]) <= {"A", "B"}


def test_the_run_keeps_the_bits_of_each_seed(run):
    df = run.read()
    rows = df[(df["dtype"] == "float16") & (df["quantity"] == "gradient") & (df["implementation"] == "simulated/lse")]
    bits = rows.pivot_table(index=["case", "row"], columns="mode", values="bits", observed=True)
    assert (bits["eager+stochastic-4,seed-0"] != bits["eager+stochastic-4,seed-1"]).any()


@pytest.fixture(scope="module")
def described_run(tmp_path_factory):
    """A run in formats whose names have hyphens and signs, and no usual dtype."""
    from in_process import calls_in_this_process

    from logitlab.storage.store import Run

    folder = tmp_path_factory.mktemp("described") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/article", "gap/5_low"], sweeps="offset=1:100:2log",
            implementations=["simulated/naive", "simulated/lse"],
            dtypes=["p7_-14_15-saturate", "e5m6-flush"], variants="up", out=folder,
        )  # fmt: skip
    return Run(folder)


@pytest.mark.parametrize("written", ["text", *(pytest.param(f, marks=pytest.mark.full) for f in ("json", "html"))])
def test_a_report_of_described_formats_names_them(described_run, tmp_path, written):
    from logitlab import reports

    words = reports.write(described_run, [written], tmp_path)[0].read_text()
    assert "e5m6-flush" in words
    assert "p7_-14_15-saturate" in words


@pytest.mark.full
def test_a_paper_of_described_formats_is_written(described_run, tmp_path):
    from logitlab import reports

    assert all(path.is_file() for path in reports.write(described_run, ["latex", "csv", "figures"], tmp_path))


def test_an_explanation_shows_the_stages_in_the_arithmetic(in_this_process):
    plain = logitlab.explain("seed/article", "simulated/lse", "float16", row=0)
    down = logitlab.explain("seed/article", "simulated/lse", "float16", row=0, mode="eager+down")
    assert {"exp", "sum", "log", "add max"} <= set(plain.stages["stage"])
    assert down.mode == "eager+down"
    assert plain.stages["value"].tolist() != down.stages["value"].tolist()
    swapped = logitlab.explain("seed/article", "simulated/lse", "float16", row=0, mode="eager+tile-8,down")
    assert swapped.mode == "eager+down,tile-8"
    with pytest.raises(UsageError, match="stands for several"):
        logitlab.explain("seed/article", "simulated/lse", "float16", row=0, mode="eager+stochastic-4,seed-0..2")


def test_every_formula_shows_its_stages_and_the_first_that_fails(in_this_process):
    shown = {}
    for name in NAMES:
        explained = logitlab.explain("seed/article", name, "e5m6", row=0)
        shown[name] = set(explained.stages["stage"])
        assert len(shown[name]) > 8
        assert not explained.stages["exact"].isna().any()
        errors = explained.stages["max_ulp"]
        assert (errors.fillna(np.inf) < 40).all(), name
    assert "log1p" in shown["simulated/log1p"]
    # A sum of 1,000 small numbers stagnates in e4m3fn, so the probabilities are six times too large.
    wide = logitlab.explain("sweep_classes/1000", "simulated/online", "e4m3fn", mode="eager+tile-1024")
    assert wide.first.stage == "divide"
    assert wide.first.rule == "e / s is 0.1562 where it should be 0.0269"


def test_no_program_is_written_for_simulated_arithmetic(in_this_process):
    with pytest.raises(UsageError, match="simulated is part of LogitLab"):
        logitlab.reproduce("seed/article", "simulated/naive", "float32")
