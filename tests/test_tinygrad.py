"""tinygrad's losses and the formulas in it, on its devices CPU and CL: measurements of the installed version."""

import math
import os
from contextlib import suppress

import numpy as np
import pytest
from in_process import calls_in_this_process

from logitlab import check, compare, reference, runner
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import GRADES
from logitlab.execution import registry, worker
from logitlab.execution.pool import Pools
from logitlab.frameworks import Batch
from logitlab.reports import tables

# When this file is collected: OpenCL's driver brings its own LLVM, and crashes if a test imported TensorFlow before it.
with suppress(ImportError):
    registry.imported("tinygrad")
needs_both = pytest.mark.usefixtures("both_devices")

SPARSE, DENSE = "tinygrad/Tensor.sparse_categorical_crossentropy", "tinygrad/Tensor.cross_entropy"
ARTICLE = np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]])
CASES = ["seed/article", "masks/first", "stagnation/float32_2049"]
# The worst grade over the cases in float32 on the CPU, and the case that decides it.
MEASURED = {"tinygrad/naive": "F", "tinygrad/lse": "D", SPARSE: "D", DENSE: "D"}
MESSAGE = "{name} is now graded {now} at {case} (tinygrad {version}), and was {was}: write it in the CHANGELOG"


def framework():
    """Return tinygrad's framework, whose import opens the devices."""
    try:
        return registry.imported("tinygrad")
    except ImportError as error:  # neither clang nor a driver of OpenCL
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def first_device():
    return framework().devices()[0]


@pytest.fixture
def both_devices():
    found = framework().devices()
    if set(found) < {"cpu", "cl"}:
        pytest.skip(
            f"tinygrad finds {', '.join(found)} alone: its CPU needs clang, CL the packages ocl-icd-libopencl1 and "
            "pocl-opencl-icd"
        )


@pytest.fixture(scope="module")
def plain(first_device):
    with calls_in_this_process():
        return runner.run(frameworks="tinygrad", dtypes="float32", cases=CASES, devices=first_device)


def answer(name=SPARSE, **call):
    """Return the array of each quantity."""
    outcome = outcome_of(name, **call)
    assert outcome.status == "ok", outcome.detail
    return dict(outcome.values)


def outcome_of(
    name, logits=ARTICLE, targets=(0, 2, 1), dtype="float32", reduction="none", layout="rows", device=None, **options
):
    fmt = FORMATS[dtype].dtype
    given = np.array(targets)
    batch = Batch(
        np.asarray(logits, fmt), given.astype(fmt) if given.ndim == 2 else given, reduction, options, layout=layout
    )
    tinygrad = framework()
    return worker.evaluated(
        tinygrad, tinygrad.all_implementations[name], batch, device or tinygrad.devices()[0], "compiled"
    )


# Compiling for 2,049 classes takes long. test_mlx.py and test_onnxruntime.py have such grades, unmarked.
@pytest.mark.full
@pytest.mark.parametrize("name", MEASURED)
def test_the_grade_is_the_recorded_one(plain, name):
    rows = plain[(plain["implementation"] == name) & plain["grade"].notna()]
    worst = rows.iloc[rows["grade"].map(GRADES.index).astype(int).argmax()]
    now, was = worst["grade"], MEASURED[name]
    assert now == was, MESSAGE.format(name=name, now=now, was=was, case=worst["case"], version=worst["version"])


def test_every_implementation_has_a_measured_grade():
    assert {i.name for i in framework().implementations} == set(MEASURED)


def test_the_articles_numbers():
    naive, lse, sparse, dense = (answer(name) for name in MEASURED)
    for stable in (lse, sparse, dense):
        assert stable["loss"].tolist() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)
        assert np.isfinite(stable["gradient"]).all()
    assert naive["loss"].tolist() == pytest.approx([0.4170, math.inf, 1.4076], abs=1e-4)
    assert naive["probabilities"][1].tolist() == pytest.approx([math.nan, 0, 0], nan_ok=True)
    assert np.isnan(naive["gradient"][1]).any()
    assert np.isfinite(naive["gradient"][[0, 2]]).all()


@pytest.mark.full
def test_the_loss_of_2049_classes_is_0_if_the_maximum_comes_first(plain):
    """Each term of the float32 sum is below half an ulp of the 1 that it begins with."""
    rows = plain[(plain["case"] == "stagnation/float32_2049") & (plain["quantity"] == "loss")]
    first = rows[(rows["implementation"] == DENSE) & (rows["row"] == 0)].iloc[0]
    assert first["exact"] == pytest.approx(1.52587e-05, rel=1e-5)
    assert first["value"] == 0, f"tinygrad {first['version']} no longer loses the sum: write it in the CHANGELOG"


@pytest.mark.full  # why LogitLab differentiates before a loss is computed; the article's gradients are above
def test_a_gradient_is_not_that_of_a_computed_loss(first_device):
    """tinygrad's gradient of a tensor whose numbers are known is 0, without an error."""
    from tinygrad import Tensor

    x = framework().to_array(ARTICLE.astype(np.float32), first_device)
    t = framework().to_array(np.array([0, 2, 1]), first_device)
    with framework().placed(first_device):
        rows = x.sparse_categorical_crossentropy(t, reduction="none").realize()
        (gradient,) = rows.gradient(x, gradient=Tensor.ones(3, device=rows.device))
    assert (gradient.numpy() == 0).all(), (
        "tinygrad now differentiates a computed loss: `TinygradAutograd` may be simpler"
    )
    assert answer()["gradient"][1].tolist() == [1, 0, -1]


@pytest.mark.full  # test_keras.py has such a test, unmarked
def test_each_loss_takes_the_options_that_tinygrad_documents():
    # A tenth of the target's logit is replaced with a tenth of the three logits' mean.
    expected = [0.41703 + 0.1 * (2 - 3.1 / 3), 2000 + 0.1 * (-1000 - 1 / 3), 1.40761]
    for name in (SPARSE, DENSE):
        assert answer(name, label_smoothing=0.1)["loss"].tolist() == pytest.approx(expected, rel=1e-5)
    ignored = answer(targets=(0, -100, 1), ignore_index=-100)
    assert ignored["loss"].tolist() == pytest.approx([0.41703, 0, 1.40761], abs=1e-5)
    assert (ignored["gradient"][1] == 0).all()
    assert outcome_of(DENSE, ignore_index=-100).status == "unsupported"


def test_the_losses_reduce_by_themselves():
    """mpmath 1.3 at 60 digits gives a mean of 667.2748786602407..."""
    for name in (SPARSE, DENSE):
        mean = answer(name, reduction="mean")
        assert float(mean["loss"]) == pytest.approx(667.2748786602407, rel=1e-6)
        assert mean["gradient"][1].tolist() == pytest.approx([1 / 3, 0, -1 / 3])


@pytest.mark.full  # test_field_cases.py has PyTorch's
def test_a_masked_class_is_nan_with_probabilities_as_targets():
    masked, onehot = [[-math.inf, 1.0, 2.0]], [[0.0, 1.0, 0.0]]
    assert answer(DENSE, logits=masked, targets=[1])["loss"].tolist() == pytest.approx([1.3132617], rel=1e-6)
    value = answer(DENSE, logits=masked, targets=onehot)["loss"][0]
    assert np.isnan(value), f"tinygrad now gives {value} for a masked class: write it in the CHANGELOG"


def test_the_dense_loss_has_its_classes_second_and_the_sparse_one_last():
    for name in (SPARSE, DENSE):
        np.testing.assert_allclose(answer(name, layout="spatial")["loss"], answer(name)["loss"], rtol=1e-6)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cl", marks=pytest.mark.full)])
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.full), "float64", "bfloat16"])
def test_a_loss_answers_in_the_dtype_of_its_logits(device, dtype, request):
    """Where the compiler of a device refuses bfloat16, as clang 14 does, the call is unsupported."""
    if device == "cl":
        request.getfixturevalue("both_devices")
    outcome = outcome_of(DENSE, dtype=dtype, device=device)
    if dtype == "bfloat16" and outcome.status == "unsupported":
        assert "refuses bfloat16" in outcome.detail
        return
    returned = dict(outcome.values)
    found = {quantity: array.dtype.name for quantity, array in returned.items()}
    assert found == {"loss": dtype, "gradient": dtype}, outcome.detail
    exact = reference(ARTICLE.astype(FORMATS[dtype].dtype), np.array([0, 2, 1])).loss.hi
    rtol = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(returned["loss"].astype(float), exact, rtol=rtol)


@pytest.mark.full
@needs_both
def test_a_run_measures_cl_only_if_it_is_asked_to(tmp_path):
    with calls_in_this_process():
        both = {
            devices: runner.run(frameworks="tinygrad", dtypes="float32", cases="seed/article", devices=devices)
            for devices in (None, "auto", "cl")
        }
    assert {k: set(df["device"]) for k, df in both.items()} == {None: {"cpu"}, "auto": {"cpu", "cl"}, "cl": {"cl"}}


WIDE = {"logits": np.zeros((2, 257)), "targets": (0, 1), "dtype": "float16"}


@needs_both
def test_float16_of_257_classes_is_not_translated_for_opencl():
    """tinygrad divides the sum among the threads of a device that has them, and refuses its own kernel."""
    outcome = outcome_of(DENSE, device="cl", **WIDE)
    assert outcome.status == "raised", "tinygrad now computes wide float16 rows on CL: write it in the CHANGELOG"
    assert "UOp verification failed" in outcome.detail


@pytest.mark.full
def test_float16_of_257_classes_is_computed_on_the_cpu():
    assert outcome_of(DENSE, device="cpu", **WIDE).status == "ok"


@pytest.mark.full
@needs_both
def test_a_device_other_than_the_cpu_goes_through_workers_report_and_compare(tmp_path):
    """Both devices in one run, in a worker process; their table; and a comparison with a run in this process."""
    request = {"frameworks": "tinygrad", "implementations": DENSE, "dtypes": "float32", "cases": "seed/article"}
    runner.run(**request, devices=["cpu", "cl"], out=tmp_path / "before")
    with calls_in_this_process():
        runner.run(**request, devices=["cpu", "cl"], out=tmp_path / "after")
    devices = tables(tmp_path / "before")["devices"]
    assert set(devices["device"]) == {"cl"}
    assert set(devices["quantity"]) == {"loss", "gradient"}
    found = compare(tmp_path / "before", tmp_path / "after")
    assert found.exit_code == 0, str(found)


@pytest.mark.full
def test_check_finds_the_faults_of_a_loss_in_tinygrad(first_device):
    def careless(logits, targets):
        return -logits.softmax(-1).gather(1, targets.reshape(-1, 1)).reshape(-1).log()

    result = check(
        careless, framework="tinygrad", dtypes="float32", require="B", cases="gap/100_low", mode="compiled",
        device=first_device,
    )  # fmt: skip
    assert result.grades == {"float32": "F"}


@pytest.mark.full  # test_mlx.py and test_onnxruntime.py have such a test, unmarked
def test_the_worker_imports_no_other_framework(tmp_path):
    before = os.environ.get("DEV")
    with Pools(["tinygrad"], tmp_path) as pools:
        pools.describe()
        question = "{m.split('.')[0] for m in __import__('sys').modules}"
        loaded = pools.worker("tinygrad").schedule(eval, args=[question]).result()
    assert "tinygrad" in loaded
    assert not loaded & {"torch", "jax", "jaxlib", "tensorflow", "keras", "onnxruntime", "paddle", "pandas", "flint"}
    assert os.environ.get("DEV") == before
