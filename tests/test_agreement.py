"""The agreement of modes with eager, of devices with the CPU, and of implementations with each other."""

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process

from logitlab import reports, runner
from logitlab.reports.tables._agreement import against, agreement, identical, losses, pairs
from logitlab.storage.store import typed

INF, NAN = float("inf"), float("nan")


def line(implementation, value, **changes):
    base = {
        "case": "f/a", "row": 0, "classes": 2, "framework": "x", "implementation": f"x/{implementation}",
        "dtype": "float32", "device": "cpu", "mode": "eager", "quantity": "loss", "status": "ok", "grade": "A",
        "verdict": "correct",
        "out_dtype": "float32", "value": value, "exact": 1.0, "bits": hash(value) % 1000,
    }  # fmt: skip
    return base | changes


def table(*lines):
    return typed(pd.DataFrame(lines))


def test_equal_bits_are_not_different_and_a_step_of_one_ulp_is():
    step = 2.0**-23
    df = table(
        line("a", 1.0), line("a", 1.0, mode="compiled"),
        line("b", 1.0), line("b", 1.0 + step, mode="compiled", grade="C"),
    )  # fmt: skip
    found = against(df, "mode", "eager").set_index("implementation")
    assert found["different"].to_dict() == {"x/a": 0, "x/b": 1}
    assert found["largest"].to_dict() == {"x/a": 0.0, "x/b": 1.0}
    assert found["worse"].to_dict() == {"x/a": 0, "x/b": 1}
    assert found["case"].dropna().to_dict() == {"x/b": "f/a"}


def test_the_same_number_in_a_wider_dtype_is_different():
    df = table(line("a", 1.0), line("a", 1.0, mode="graph", out_dtype="float64"))
    assert against(df, "mode", "eager")["different"].to_list() == [1]


def test_a_variant_is_compared_with_its_mode_and_not_with_eager():
    df = table(line("a", 1.0), line("a", 2.0, mode="compiled"), line("a", 2.0, mode="compiled+fast-math"))
    found = against(df, "mode", "eager").set_index("mode")["different"]
    assert found.to_dict() == {"compiled": 1, "compiled+fast-math": 0}


def test_devices_are_compared_with_the_cpu():
    df = table(line("a", 1.0), line("a", INF, device="cuda", grade="F"))
    (found,) = against(df, "device", "cpu").to_dict("records")
    assert (found["device"], found["different"], found["worse"], found["largest"]) == ("cuda", 1, 1, INF)


def test_a_case_shows_the_row_with_the_largest_difference():
    df = table(
        line("a", 1.0), line("b", 1.0),
        line("a", 1.0, row=1), line("b", 1.5, row=1),
        line("a", NAN, case="f/b"), line("b", 2.0, case="f/b"),
    )  # fmt: skip
    found = agreement(losses(df)).set_index("case")
    assert found.loc["f/a", ["row", "answers", "lowest", "highest", "not finite"]].to_list() == [1, 2, "x/a", "x/b", ""]
    assert found.loc["f/a", "apart"] == 0.5 * 2.0**23
    assert found.loc["f/b", ["apart", "not finite"]].to_list() == [0.0, "x/a"]


def test_every_pair_is_counted_once():
    step = 2.0**-23
    df = table(
        line("a", 1.0), line("b", 1.0), line("c", 1.0 + 5 * step),
        line("a", INF, row=1), line("b", INF, row=1), line("c", 1.0, row=1),
    )  # fmt: skip
    found = pairs(losses(df)).set_index(["one", "other"])
    counted = ["rows", "equal", "within 1 ulp", "within 10 ulp", "apart"]
    assert found.loc[("x/a", "x/b"), counted].to_list() == [2, 2, 2, 2, 0]
    assert found.loc[("x/a", "x/c"), counted].to_list() == [2, 0, 0, 1, 1]
    (group,) = identical(pairs(losses(df))).to_dict("records")
    assert group["with the same losses, bit for bit"] == "x/a, x/b"


def test_rows_without_an_answer_and_failed_calls_are_not_counted():
    df = table(line("a", 1.0, verdict="undefined", grade=None), line("b", NAN, status="raised", verdict=None))
    assert agreement(losses(df)).empty
    assert pairs(losses(df)).empty


@pytest.fixture(
    scope="module",
    params=[
        ("seed/article", ["jax/naive", "jax/lse"]),
        pytest.param((["seed/*", "gap/5_*", "masks/first"], ["jax/lse", "jax/nn.*"]), marks=pytest.mark.full),
    ],
    ids=["few", "all"],
)
def measured(request):
    cases, jax = request.param
    torch = ["torch/F.cross_entropy", "torch/F.nll_loss*"]
    with calls_in_this_process():
        of_jax = runner.run(cases=cases, dtypes="float32", implementations=jax)
        of_torch = runner.run(cases=cases, dtypes="float32", implementations=torch, modes="eager")
    return typed(pd.concat([of_jax, of_torch]))


@pytest.fixture(scope="module")
def sections(measured):
    return {s.name: s for s in reports.sections(measured)}


def test_the_report_says_where_compiled_and_eager_differ(measured, sections):
    found = sections
    modes = found["modes"].table
    assert set(modes["mode"]) >= {"compiled"}
    jax = measured[(measured["framework"] == "jax") & (measured["status"] == "ok")]
    keys = ["case", "row", "implementation", "quantity"]
    eager, compiled = (jax[jax["mode"] == m].set_index(keys)["bits"] for m in ("eager", "compiled"))
    of_jax = modes[(modes["framework"] == "jax") & (modes["mode"] == "compiled")]
    assert of_jax["different"].sum() == (eager != compiled.reindex(eager.index)).sum()


def test_twins_are_found(sections):
    found = sections["pairs"].shown
    groups = [set(g.split(", ")) for g in found["with the same losses, bit for bit"]]
    twins = {"torch/F.cross_entropy", "torch/F.nll_loss[F.log_softmax]"}
    assert any(twins <= g for g in groups), f"torch's losses differ now: {groups}"


def test_numbers_are_compared_by_bits_and_all_nans_are_equal():
    from logitlab.execution._rows import _bits

    one, other = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert _bits(np.array([[one], [other]], np.float32))[0] == _bits(np.array([[other]], np.float32))[0]
    zero = _bits(np.array([[0.0], [-0.0]]))
    assert zero[0] != zero[1]
