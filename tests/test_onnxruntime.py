"""ONNX Runtime's SoftmaxCrossEntropyLoss: measurements of the installed version."""

import pytest
from in_process import calls_in_this_process

from logitlab import runner
from logitlab.core.vocabulary import GRADES
from logitlab.execution.pool import Pools

NAME = "onnxruntime/SoftmaxCrossEntropyLoss"
PLAIN = ["seed/*", "masks/*", "gap/*", "offset/*", "overflow/*", "underflow/*", "special/*", "certainty/m*"]
OPTIONS = ["weights/*", "ignored/*", "reductions/*", "layout/*"]
# The operator is replaced with its definition, which cannot reshape a batch without rows.
EMPTY = {"reductions/empty_mean", "reductions/empty_sum"}
# The worst grade over the plain families here. In float16 the operator computes in float32 and rounds once.
MEASURED = {"float16": "A", "float32": "B", "float64": "F"}
MESSAGE = "{dtype} is now graded {now} at {case} (ONNX Runtime {version}), and was {was}: say so in the CHANGELOG"


@pytest.fixture(scope="module")
def plain():
    with calls_in_this_process():
        return runner.run(frameworks="onnxruntime", cases=PLAIN)


@pytest.fixture(scope="module")
def options():
    with calls_in_this_process():
        return runner.run(frameworks="onnxruntime", dtypes="float32", cases=[*OPTIONS, "smoothing/*", "invalid/*"])


@pytest.mark.parametrize("dtype", MEASURED)
def test_the_grade_is_the_recorded_one(plain, dtype):
    rows = plain[(plain["dtype"] == dtype) & plain["grade"].notna()]
    worst = rows.iloc[rows["grade"].map(GRADES.index).astype(int).argmax()]
    now, was = worst["grade"], MEASURED[dtype]
    assert now == was, MESSAGE.format(dtype=dtype, now=now, was=was, case=worst["case"], version=worst["version"])


def test_a_nan_logit_is_swallowed_in_float64(plain):
    """The maximum of a float64 row ignores a NaN, so the loss is a number; in float32 it is NaN."""
    rows = plain[plain["case"].isin(["special/nan", "special/nan_and_mask"])]
    verdicts = rows.groupby("dtype", observed=True)["verdict"].agg(set)
    assert verdicts["float32"] == verdicts["float16"] == {"correct"}
    assert verdicts["float64"] == {"swallowed"}, "a NaN logit now makes the float64 loss NaN"


def test_float64_is_stable_without_a_nan_logit(plain):
    rows = plain[(plain["dtype"] == "float64") & ~plain["case"].str.startswith("special/nan")]
    assert set(rows["grade"].dropna()) == {"A", "B"}


def test_bfloat16_is_refused_with_the_message_of_onnxruntime(plain):
    rows = plain[plain["dtype"] == "bfloat16"]
    assert set(rows["status"]) == {"unsupported"}, "ONNX Runtime now computes bfloat16 on the CPU"
    assert rows["detail"].str.contains("Type 'tensor(bfloat16)' of input parameter", regex=False).all()


def test_the_articles_rows_are_right(plain):
    rows = plain[(plain["case"] == "seed/article") & (plain["dtype"] == "float32")]
    assert rows["value"].to_list() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)


def test_onnxruntime_gives_only_the_loss(plain):
    assert set(plain["quantity"]) == {"loss"}


@pytest.mark.parametrize("family", [glob.split("/")[0] for glob in OPTIONS])
def test_weights_ignored_rows_and_reductions_agree_with_pytorch(options, family):
    rows = options[options["family"] == family]
    shown = rows[["case", "status", "detail", "value", "exact", "grade"]].to_string()
    answered = rows[rows["status"] == "ok"]
    assert not answered.empty, shown
    assert set(answered["grade"].dropna()) <= {"A", "B"}, shown
    refused = rows.loc[rows["status"] == "unsupported", "detail"]
    assert refused.str.contains("class indices, not class probabilities|label_smoothing").all(), shown
    raised = rows.loc[rows["status"] == "raised", "case"]
    assert set(raised) <= EMPTY, shown


def test_label_smoothing_is_unsupported(options):
    rows = options[options["family"] == "smoothing"]
    assert set(rows["status"]) == {"unsupported"}


def test_an_invalid_target_is_refused_or_counted_from_the_end(options):
    """Targets down to -C count from the end, as ONNX's GatherElements documents; others are refused."""
    rows = options[options["family"] == "invalid"].set_index("case")
    assert set(rows["status"]) == {"ok", "raised"}
    for case in ("invalid/classes", "invalid/far_above", "invalid/far_below"):
        assert "Out of range" in rows.loc[[case], "detail"].iloc[0] or "out of" in rows.loc[[case], "detail"].iloc[0]


def test_the_worker_imports_no_other_framework(tmp_path):
    with Pools(["onnxruntime"], tmp_path) as pools:
        pools.describe()
        question = "{m.split('.')[0] for m in __import__('sys').modules}"
        loaded = pools.worker("onnxruntime").schedule(eval, args=[question]).result()
    others = {"torch", "jax", "jaxlib", "tensorflow", "keras", "paddle", "pandas", "flint"}
    assert "onnxruntime" in loaded
    assert not loaded & others
