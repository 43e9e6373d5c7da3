"""The modes of a loss: eager, graph and compiled; and the folders where compilers keep programs."""

from contextlib import nullcontext

import numpy as np
import pytest

from logitlab.cases import select_cases
from logitlab.core.cache_folder import program_folder
from logitlab.core.errors import format_error
from logitlab.core.formats import FORMATS
from logitlab.execution import registry
from logitlab.execution.plan import choose_cells
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.frameworks import Batch, Implementation
from logitlab.grading import grade
from logitlab.oracle import reference

# Warnings that PyTorch's own code causes when it compiles.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FLOAT32 = FORMATS["float32"]
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
# PyTorch compiles each program with a C++ compiler for seconds; these represent the others.
TORCH = ("torch/F.cross_entropy", "torch/log1p", "torch/F.nll_loss[F.log_softmax]", "torch/logsumexp")
# The article's second row underflows in them.
UNSOUND = ("naive", "nn.softmax")
KERAS = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy",
)
MODES = [("torch", "compiled"), ("jax", "compiled"), ("tensorflow", "graph"), ("tensorflow", "compiled")]
# `make test` compiles two or three of their implementations, and one of PyTorch's.
STEP = {"torch": 4, "jax": 4, "tensorflow": 6}


def framework(name):
    return registry.load(name)


def implementation(name):
    (found,) = [i for i in framework(name.split("/")[0]).implementations if i.name == name]
    return found


def evaluate(name, logits, targets, mode, reduction="none", **options):
    batch = Batch(logits, targets, reduction, options)
    return dict(framework(name.split("/")[0]).evaluate(implementation(name), batch, "cpu", mode))


def article():
    (case,) = select_cases("seed/article")
    return case.quantized(FLOAT32), case.targets


def sound(owner, mode):
    """Return the owner's implementations that are right on the article's batch in a mode."""
    offered = [i.name for i in framework(owner).implementations if mode in i.modes]
    return [n for n in offered if n.split("/")[1] not in UNSOUND and (owner != "torch" or n in TORCH)]


def compiler(owner, few):
    """Return a context in which Inductor does not first try what the C++ compiler can do, which takes it seconds."""
    if owner != "torch" or not few:
        return nullcontext()
    import torch._inductor.config as inductor

    return inductor.patch({"cpp.vec_isa_ok": True})


@pytest.mark.parametrize("few", [pytest.param(False, marks=pytest.mark.full, id="all"), pytest.param(True, id="few")])
@pytest.mark.parametrize(("owner", "mode"), MODES)
def test_every_mode_is_right_on_the_articles_batch(owner, mode, few):
    logits, targets = article()
    exact = reference(logits, targets)
    for name in sound(owner, mode)[:: STEP[owner] if few else 1]:
        with compiler(owner, few):
            answers, eager = (evaluate(name, logits, targets, m) for m in (mode, "eager"))
        assert tuple(answers) == implementation(name).quantities
        for quantity, values in answers.items():
            assert values.dtype == eager[quantity].dtype, name
            graded = grade(quantity, values, logits, FLOAT32, exact)
            assert set(graded.grade) <= {"A", "B"}, f"{name}, {quantity}: {graded.grade}"
        np.testing.assert_allclose(answers["loss"], [0.41703, 2000, 1.40761], atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(answers["gradient"][1], [1, 0, -1], err_msg=name)
        assert np.isfinite(answers["gradient"]).all(), name


# --- one program a shape ----------------------------------------------------------------------------------------

SHAPES = [(3, 3), (5, 40)]


# A compiled program is a graph too; `test_every_mode_is_right_on_the_articles_batch` compiles some.
GRAPH_OR_COMPILED = ["graph", pytest.param("compiled", marks=pytest.mark.full)]


def in_order(name, mode, shapes):
    """Return the bits of loss and gradient of each shape, evaluated in this order."""
    logits = {s: np.random.default_rng(s[1]).normal(scale=20, size=s).astype(np.float32) for s in shapes}
    return {
        s: [v.tobytes() for v in evaluate(name, x, np.arange(len(x)) % s[1], mode).values()] for s, x in logits.items()
    }


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning")
@pytest.mark.parametrize("again", [SHAPES[:0:-1], pytest.param(SHAPES[::-1], marks=pytest.mark.full)], ids=len)
def test_results_of_torch_do_not_depend_on_the_order_of_shapes_or_on_a_cache(again):
    """The last shape comes first, and no program is kept."""
    import torch
    import torch._inductor.config as inductor

    one_way = in_order("torch/F.cross_entropy", "compiled", SHAPES)
    torch.compiler.reset()
    with inductor.patch(force_disable_caches=True):
        found = in_order("torch/F.cross_entropy", "compiled", again)
    torch.compiler.reset()
    assert found == {shape: one_way[shape] for shape in again}


@pytest.mark.parametrize("mode", GRAPH_OR_COMPILED)
def test_results_of_tensorflow_do_not_depend_on_the_order_of_shapes(mode):
    from logitlab.frameworks import tensorflow

    name = "tensorflow/nn.sparse_softmax_cross_entropy_with_logits"
    tensorflow._programs.clear()
    one_way = in_order(name, mode, SHAPES)
    tensorflow._programs.clear()
    assert in_order(name, mode, SHAPES[::-1]) == one_way


@pytest.mark.parametrize("options", [{}, {"ignore_index": 2}])
def test_like_batches_share_a_trace_of_tensorflow(options):
    from logitlab.frameworks import tensorflow

    traces = []

    def loss(logits, targets, ignore_index=None):
        traces.append(logits.shape)
        return tensorflow.sparse(logits, targets)

    counted = Implementation("tensorflow/counted", "builtin", loss, "tensorflow")
    for rows in (3, 3, 4):
        logits = np.zeros((rows, 3), np.float32)
        batch = Batch(logits, np.zeros(rows, np.int64), options=options)
        list(tensorflow.FRAMEWORK.evaluate(counted, batch, "cpu", "graph"))
    assert traces == [(3, 3), (4, 3)]


@pytest.mark.parametrize("mode", GRAPH_OR_COMPILED)
def test_a_users_loss_in_tensorflow_may_branch_on_tensors(mode):
    import tensorflow as tf

    from logitlab.frameworks import tensorflow

    def loss(logits, targets):
        if tf.reduce_max(logits) > 5:
            logits = logits * 2
        return logits[:, 0]

    branching = Implementation("tensorflow/branching", "builtin", loss, "tensorflow")
    for number, expected in ((1, 1), (8, 16)):
        batch = Batch(np.full((2, 3), number, np.float32), np.zeros(2, np.int64))
        answers = dict(tensorflow.FRAMEWORK.evaluate(branching, batch, "cpu", mode))
        assert answers["loss"].tolist() == [expected] * 2


# --- options and refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", GRAPH_OR_COMPILED)
@pytest.mark.parametrize("loss", ["nn.log_softmax", "keras.losses.SparseCategoricalCrossentropy[from_logits]"])
def test_a_mean_is_taken_inside_a_program_of_tensorflow(loss, mode):
    answers = evaluate(f"tensorflow/{loss}", *article(), mode, "mean")
    assert answers["loss"] == pytest.approx(667.2749, abs=1e-4)
    np.testing.assert_allclose(answers["gradient"][1], np.array([1, 0, -1]) / 3, rtol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
def test_an_option_is_part_of_a_program_of_tensorflow(mode):
    name = "tensorflow/keras.losses.sparse_categorical_crossentropy[from_logits]"
    np.testing.assert_allclose(evaluate(name, *article(), mode, ignore_index=2)["loss"], [0.41703, 0, 1.40761], 1e-5)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_refusal_has_the_message_of_the_loss(mode):
    with pytest.raises(NotImplementedError, match="autocast makes logits of float16 or bfloat16"):
        evaluate("torch/F.cross_entropy[autocast]", *article(), mode)
    with pytest.raises(TypeError, match="unexpected keyword argument 'label_smoothing'"):
        evaluate("torch/lse", *article(), mode, label_smoothing=0.1)


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_the_modes_for_plain_rows_are_among_the_modes(owner):
    for i in framework(owner).implementations:
        assert set(i.plain_modes) <= set(i.modes) - {"eager"}, i.name


# --- what the modes change --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", KERAS)
def test_keras_finds_the_logits_behind_a_softmax_only_in_a_graph(loss):
    """In eager mode Keras clips the probability to 1e-7, and a loss of 2000 becomes -log(1e-7)."""
    name, batch = f"tensorflow/keras.losses.{loss}", article()
    assert evaluate(name, *batch, "eager")["loss"][1] == pytest.approx(16.118095, abs=1e-5)
    assert evaluate(name, *batch, "graph")["loss"][1] == 2000


def test_torch_under_autocast_answers_in_float32():
    logits, targets = article()
    for dtype in ("float16", "bfloat16"):
        answers = evaluate("torch/F.cross_entropy[autocast]", logits.astype(FORMATS[dtype].dtype), targets, "eager")
        assert (answers["loss"].dtype.name, answers["gradient"].dtype.name) == ("float32", dtype)


# --- where programs are kept ------------------------------------------------------------------------------------


def test_programs_are_kept_below_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path))
    torchs, jaxs = program_folder("torch"), program_folder("jax")
    assert torchs.parent == jaxs.parent == tmp_path
    assert torchs.name.removeprefix("torch") == jaxs.name.removeprefix("jax")


def test_programs_are_kept_nowhere_when_the_cache_is_switched_off(monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", "")
    assert program_folder("torch") is None


# --- on request -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "asked", "measured"),
    [
        (("cpu", "cl"), None, {"cpu"}),
        (("cpu", "cl"), ["auto"], {"cpu", "cl"}),
        (("cpu", "cl"), ["cl"], {"cl"}),
        (("cl",), None, {"cl"}),
        (("cpu", "cuda"), None, {"cpu", "cuda"}),
    ],
)
def test_a_run_measures_opencl_only_if_it_is_asked_to_or_there_is_nothing_else(found, asked, measured):
    info = ImplementationInfo("x/loss", "builtin", "x", "1", ("eager",), ("loss",))
    cells = choose_cells({"x": Description("x", found, (info,))}, ["float32"], devices=asked)
    assert {cell.device for cell in cells} == measured


def test_a_message_of_a_tensorflow_graph_has_the_reason_and_no_call_stack():
    """The stack has this machine's paths, and the node that is named first differs from run to run."""
    tf = pytest.importorskip("tensorflow")

    def loss(x, t):
        return tf.gather(x, t, batch_dims=1) + tf.gather(-x, t, batch_dims=1)

    for graph in (tf.function(loss), framework("tensorflow").in_mode(loss, "graph")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="__inference") as raised:
            graph(tf.zeros((2, 3)), tf.constant([-2, 1]))
        message = format_error(raised.value, message_of=framework("tensorflow").message)
        reason = message.removeprefix("InvalidArgumentError: ").removeprefix("Graph execution error: ")
        assert reason == "indices[0] = -2 is not in [0, 3)"
