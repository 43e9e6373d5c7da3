"""`check` of losses in the forms of libraries: layouts, one-hot targets, argument orders, factories, files."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.cli import main
from logitlab.studies.check import assigned, load_framework, named, output_named
from logitlab.studies.check.forms._factory import parse
from logitlab.studies.check.forms._form import CallForm, Layout, TargetDtype
from logitlab.studies.check.forms._layout import positions, rows_of, shaped_logits, shaped_targets
from logitlab.studies.check.judging._properties import SOFT

FEW = ["seed/*", "check/width_5", "layout/*[!7]"]
SOME = ["seed/*", "check/width_5"]


def checked(loss, **options):
    return logitlab.check(loss, "torch", "float32", **({"cases": FEW, "shrink": False} | options))


def broken(result):
    table = result.properties
    return set(table.loc[~table["held"], "property"])


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def classes_last(x, t):
    return F.cross_entropy(x.transpose(1, 2), t, reduction="none")


def classes_last_flat(x, t):
    return F.cross_entropy(x.flatten(0, 1), t.flatten(), reduction="none")


def of_probabilities(x, y):
    log_p = torch.log_softmax(x, -1)
    return -torch.where(y == 0, 0, y * log_p).sum(-1)


def of_indices(x, y):
    return sound(x, y.argmax(1))


# --- layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        pytest.param(sound, {"layout": "bct"}, marks=pytest.mark.full),
        (classes_last, {"layout": "btc"}),
        pytest.param(classes_last_flat, {"layout": "btc"}, marks=pytest.mark.full),
        (of_probabilities, {"layout": "btc", "targets": "onehot"}),
        pytest.param(
            lambda x, t: sound(x, t.long()), {"layout": "bct", "target_dtype": "int32"}, marks=pytest.mark.full
        ),
    ],
    ids=["classes second", "classes last", "flat losses", "one-hot, classes last", "int32, classes second"],
)
def test_a_sound_loss_of_positions_passes(loss, options):
    result = checked(loss, **options)
    assert result.passed, str(result)
    assert set(result.grades_by_quantity["float32"]) == {"loss", "gradient"}
    held = result.properties.set_index("property")
    for name in ("right in every layout", "gradient passed on from above", "rows independent of each other"):
        assert held.loc[name, "rows"] > 0


def positions_swapped(x, t):
    rows = sound(x, t)
    return rows.T.reshape(rows.shape)


def position_ignored(x, t):
    return torch.cat([sound(x, t)[:, :1], sound(x.roll(1, 2), t)[:, 1:]], 1)


def gradient_of_contiguous_logits_alone(x, t):
    return sound(x if x.is_contiguous() else x.swapaxes(1, 2).contiguous().view(x.shape), t)


@pytest.mark.parametrize(
    ("loss", "property_"),
    [
        (positions_swapped, "rows independent of each other"),
        (position_ignored, "rows independent of each other"),
        (gradient_of_contiguous_logits_alone, "right in every layout"),
    ],
)
def test_a_fault_of_positions_is_found(loss, property_):
    result = checked(loss, layout="bct", cases=SOME)
    assert not result.passed
    assert property_ in broken(result), str(result)


def test_the_positions_and_batch_are_both_more_than_one_where_they_can_be():
    for rows in (4, 6, 33, 1025, 65_539):
        for classes in (4, 5):
            batch, length = positions(rows, classes)
            assert batch * length == rows
            prime = all(rows % n for n in range(2, int(rows**0.5) + 1))
            assert min(batch, length) > 1 or prime
    assert positions(7, 2)[::-1] == positions(7, 3)
    assert positions(0, 3)[0] * positions(0, 3)[1] == 0


@pytest.mark.parametrize("layout", Layout)
def test_an_array_in_a_layout_is_contiguous_and_comes_back(layout):
    logits = np.arange(30.0).reshape(6, 5)
    found = shaped_logits(logits, CallForm(layout=layout))
    assert found.flags.c_contiguous
    assert found.shape == {"bc": (6, 5), "btc": (2, 3, 5), "bct": (2, 5, 3)}[layout]
    assert (rows_of(found, CallForm(layout=layout)) == logits).all()


def wrong_mean_of_positions(x, t):
    return sound(x, t).sum() / x.shape[0]


@pytest.mark.parametrize(
    ("loss", "options", "passed"),
    [
        (torch.nn.CrossEntropyLoss(), {"layout": "bct"}, True),
        (torch.nn.CrossEntropyLoss, {"factory": True, "layout": "bct"}, True),
        pytest.param(
            functools.partial(F.cross_entropy, reduction="mean"), {"layout": "bct"}, True, marks=pytest.mark.full
        ),
        (lambda x, y: of_probabilities(x, y).mean(), {"layout": "btc", "targets": "soft", "cases": "soft/*"}, True),
        (wrong_mean_of_positions, {"layout": "bct"}, False),
    ],
)
def test_a_mean_over_positions_is_measured(loss, options, passed):
    assert checked(loss, returns="mean", first=True, **({"cases": SOME} | options)).passed == passed


# --- targets ----------------------------------------------------------------------------------------------------


def test_a_loss_of_one_hot_targets_is_measured():
    assert checked(of_probabilities, targets="onehot", cases=SOME).passed
    result = checked(lambda x, y: -(y * torch.log_softmax(x, 1)).sum(1), targets="onehot", cases="check/width_5")
    assert "masks" in broken(result), "0 times infinity is NaN"


def test_a_loss_of_class_probabilities_is_measured_on_them_too():
    cases = ["seed/*", "soft/*"]
    result = checked(of_probabilities, targets="soft", cases=cases)
    assert result.passed, str(result)
    tried = set(result.lines["case"])
    assert {"soft/optimum", "soft/tiny_share", "soft/some_on_mask", "seed/article"} <= tried
    assert not {"soft/nothing", "soft/less_than_one", "soft/more_than_one"} & tried, "these do not sum to 1"
    assert not checked(of_probabilities, targets="onehot", cases="seed/*").lines["has_soft"].any()
    wrong = checked(of_indices, targets="soft", cases=cases, shrink=True, run_script=False)
    assert broken(wrong) >= {SOFT}
    assert wrong.smallest.property == SOFT
    (given, _), (exact, _) = printed(wrong.script)[:2]
    assert (given, exact) == ("given", "exact")


def test_one_hot_losses_get_no_ignored_index_and_no_weighted_mean():
    def loss(x, y, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        return F.cross_entropy(x, y, weight=weight, label_smoothing=label_smoothing, reduction=reduction)

    result = checked(loss, targets="onehot", cases=["check/*_3", "weights/*", "ignored/*"])
    assert result.options == ("label_smoothing", "weight", "reduction")
    reduced = {how for how in result.lines["how"] if "weight" in how and "reduction" in how}
    assert reduced
    assert not any("reduction=mean" in how for how in reduced)


@pytest.mark.parametrize("dtype", ["int32", "logits"])
def test_class_indices_have_the_dtype_that_is_asked(dtype):
    seen = set()

    def loss(x, t):
        seen.add((x.dtype, t.dtype))
        return sound(x, t.long())

    assert logitlab.check(loss, "torch", ["float16", "float32"], target_dtype=dtype, cases=SOME, shrink=False).passed
    assert seen >= {(d, d if dtype == "logits" else torch.int32) for d in (torch.float16, torch.float32)}
    assert {t for _, t in seen} == ({x for x, _ in seen} if dtype == "logits" else {torch.int32})


def test_a_class_that_the_dtype_of_the_logits_cannot_hold_is_left_out():
    def loss(x, t):
        return sound(x, t.long())

    cases = ["check/width_1000"]
    result = logitlab.check(loss, "torch", "bfloat16", target_dtype="logits", cases=cases, shrink=False)
    assert result.passed, str(result)
    targets = result.lines["target"]
    assert targets[targets > 256].mod(4).eq(0).any()
    assert not targets[targets > 256].mod(2).any()
    form = CallForm(target_dtype=TargetDtype.LOGITS)
    assert shaped_targets(np.array([255, 257]), np.zeros((2, 300), np.float16), form).tolist() == [255, 257]


# --- outputs and arguments --------------------------------------------------------------------------------------


class Output:
    def __init__(self, loss):
        self.loss = loss


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (lambda x, t: (None, sound(x, t)), {"output": 1}),
        pytest.param(lambda x, t: [sound(x, t), None], {"output": -2}, marks=pytest.mark.full),
        (lambda x, t: {"loss": sound(x, t)}, {"output": "loss"}),
        (lambda x, t: Output(sound(x, t)), {"output": "loss"}),
        (lambda x, t: -sound(x, t), {"negate": True}),
        pytest.param(lambda x, t: (-sound(x, t),), {"negate": True, "output": 0}, marks=pytest.mark.full),
        (lambda labels, logits: sound(logits, labels), {}),
        pytest.param(lambda y_true, y_pred: sound(y_pred, y_true), {}, marks=pytest.mark.full),
        pytest.param(lambda target, input: sound(input, target), {}, marks=pytest.mark.full),  # noqa: A006 - its name
        (lambda a, b: sound(b, a), {"targets_first": True}),
        pytest.param(lambda t, x: sound(t, x + 0), {"targets_first": False}, marks=pytest.mark.full),
        (lambda x, t, *, scale: sound(x, t) * scale, {"keywords": {"scale": 1.0}}),
        pytest.param(
            lambda x, t, **more: sound(x, t) * more["scale"], {"keywords": {"scale": 1.0}}, marks=pytest.mark.full
        ),
        (torch.nn.CrossEntropyLoss(reduction="none"), {}),
    ],
)
def test_a_sound_loss_in_another_form_passes_and_a_wrong_one_fails(loss, options):
    result = checked(loss, cases=SOME, **options)
    assert result.passed, str(result)
    assert result.options == ()


def test_the_keywords_of_a_partial_are_not_passed_again():
    loss = functools.partial(F.cross_entropy, reduction="none", label_smoothing=0.0)
    result = checked(loss, cases=["check/*_3"])
    assert result.passed, str(result)
    assert result.name == "cross_entropy"
    assert result.options == ("weight", "ignore_index")


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (sound, {"negate": True}),
        (lambda x, t: (sound(x, t) * 2, sound(x, t)), {"output": 0}),
        (lambda x, t, scale=1.0: sound(x, t) * scale, {"keywords": {"scale": 2.0}}),
        (lambda labels, logits: sound(logits, labels) * 2, {}),
    ],
)
def test_a_wrong_loss_in_another_form_fails(loss, options):
    assert not checked(loss, cases=SOME, first=True, **options).passed


def test_options_have_other_names_in_other_libraries():
    def loss(logits, labels, smoothing=0.0, lse_square_scale=0.0, ignored_index=-100):
        rows = F.cross_entropy(logits, labels, ignore_index=ignored_index, label_smoothing=smoothing, reduction="none")
        z = lse_square_scale * torch.logsumexp(logits, 1) ** 2 if lse_square_scale else torch.zeros_like(rows)
        return rows + torch.where(labels == ignored_index, 0, z)

    cases = ["check/*_3", "smoothing/*"]
    result = checked(loss, cases=cases)
    assert set(result.options) == {"label_smoothing", "ignore_index", "z_loss"}
    assert {f"with {name}" for name in result.options} <= set(result.properties["property"])
    wrong = checked(lambda x, t, ignored_index=-100: sound(x, t.clamp(min=0)), cases=cases, first=True)
    assert wrong.passed is False


# --- factories --------------------------------------------------------------------------------------------------


def test_a_factory_is_given_the_loss_options():
    cases = ["check/*_3", "weights/*", "smoothing/*"]
    result = checked(torch.nn.CrossEntropyLoss, factory=True, cases=cases)
    assert result.passed, str(result)
    assert result.options == ("label_smoothing", "weight", "ignore_index", "reduction")

    def forgets_weight(weight=None, reduction="mean"):
        return torch.nn.CrossEntropyLoss(reduction=reduction)

    assert broken(checked(forgets_weight, factory=True, cases=cases)) >= {"with weight"}


def test_a_factory_is_given_the_number_of_classes():
    asked = set()

    class Loss:
        def __init__(self, num_classes):
            asked.add(num_classes)
            self.num_classes = num_classes

        def __call__(self, targets, logits):
            assert logits.shape[1] == self.num_classes
            return sound(logits, targets)

    assert checked(Loss, factory=True, cases=["seed/*", "check/width_5", "check/width_2"]).passed
    assert asked >= {2, 3, 5}


def test_a_factory_that_raises_for_some_options_fails_there_alone():
    def make(label_smoothing=0.0):
        if label_smoothing:
            raise ValueError("no smoothing yet")
        return sound

    result = checked(make, factory=True, cases=["check/width_3", "check/label_smoothing_3"])
    assert broken(result) == {"with label_smoothing"}
    assert "ValueError: no smoothing yet" in set(result.failures["detail"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss", ("loss", None, "")),
        ("a.b", ("a.b", None, "")),
        ("Loss()", ("Loss", ((), {}), "")),
        ("a.Loss(1, reduction='none').loss.f", ("a.Loss", ((1,), {"reduction": "none"}), "loss.f")),
    ],
)
def test_an_expression_is_read(text, expected):
    found = parse(text)
    assert (found.name, found.call, found.attribute) == expected


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("torch.nn:CrossEntropyLoss(reduction=none)", "none is not a Python literal"),
        ("torch.nn:CrossEntropyLoss(", "cannot be read"),
        ("torch.nn:3", "is not a name"),
        ("torch.nn:f()()", "is not one call of a name"),
        ("torch.nn:f(**{})", "is not one call of a name"),
        ("torch.nn:Absent()", "torch.nn has no 'Absent'"),
        ("absent.py:loss", "absent.py is not a file"),
        ("torch.nn", "is not MODULE:FUNCTION"),
    ],
)
def test_an_expression_that_cannot_be_read_is_reported(path, words):
    with pytest.raises(logitlab.UsageError) as caught:
        named(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (torch.nn.CrossEntropyLoss, {}, "'torch.nn:CrossEntropyLoss()'"),
        (torch.nn.CrossEntropyLoss(), {}, "--returns mean"),
        (lambda x, t: (sound(x, t), None), {}, "--output 0"),
        (lambda x, t: (sound(x, t), None), {"output": 2}, "the loss is tuple, which has no output 2"),
        (sound, {"output": "loss"}, "which has no output 'loss'"),
        (lambda x, t, *, from_logits: sound(x, t) * from_logits, {}, "--set from_logits=VALUE"),
        (sound, {"keywords": {"from_logits": True}}, "unexpected keyword argument 'from_logits'"),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), {}, "is given label_smoothing=0.1; leave it out"),
        (F.cross_entropy, {"keywords": {"reduction": "mean"}}, 'or give reduction="none"'),
        (F.cross_entropy, {"keywords": {"ignore_index": 0}}, "is given ignore_index=0"),
        (lambda: 3, {"factory": True}, "makes 3, which cannot be called"),
        (lambda size: sound, {"factory": True}, "missing 1 required positional argument: 'size'"),
        (sound, {"layout": "btc", "cases": "check/width_5"}, "(b, t) of logits (b, t, C) and targets (b, t)"),
        (lambda x, t: sound(x, t)[None], {"layout": "bct"}, "one number a row"),
        (sound, {"layout": "tbc"}, "layout"),
        (sound, {"targets": "hot"}, "targets"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_in_one_line(loss, options, words):
    with pytest.raises(logitlab.UsageError) as caught:
        checked(loss, **({"cases": "seed/article"} | options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "words"), [("triton", "--framework torch"), ("theano", "choose one of")])
def test_a_framework_that_logitlab_lacks_is_refused_with_advice(name, words):
    with pytest.raises(logitlab.UsageError, match=words):
        load_framework(name)


def test_keywords_and_outputs_are_read():
    assert assigned(["a=True", "b='c'", "d=1.5"]) == {"a": True, "b": "c", "d": 1.5}
    assert [output_named(text) for text in (None, "0", "-1", "loss")] == [None, 0, -1, "loss"]
    for text in ("a", "=3", "a=b"):
        with pytest.raises(logitlab.UsageError):
            assigned([text])


# --- the command and its program --------------------------------------------------------------------------------

LOSSES = """
import torch
import torch.nn.functional as F

from my_neighbour import half

def targets_first(labels, logits, *, scale):
    return {"loss": -scale * F.cross_entropy(logits, labels, reduction="none")}

def second_position(x, t):
    rows = F.cross_entropy(x, t, reduction="none")
    return torch.cat([rows[:, :1], rows[:, 1:] * 1.01], 1)

def smooth(x, y):
    return -(y * torch.log_softmax(x, -1)).sum(-1) * half * 2

class Twice(torch.nn.Module):
    def __init__(self, weight=None, factor=1, reduction="mean"):
        super().__init__()
        self.weight, self.factor, self.reduction = weight, factor, reduction

    def forward(self, input, target):
        weight = self.weight if self.weight is None else self.weight * self.factor
        return F.cross_entropy(input, target, weight=weight, reduction=self.reduction) * self.factor
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "torch.py").write_text(LOSSES)  # a name that a module has
    (tmp_path / "own" / "my_neighbour.py").write_text("half = 0.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("my_neighbour", None)


def printed(script):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, "reproduce.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - the program under test
    return [line.partition(": ")[::2] for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("loss", "options", "status"),
    [
        ("targets_first", ["--set", "scale=1.0", "--output", "loss", "--negate"], 0),
        pytest.param(
            "targets_first", ["--set", "scale=2.0", "--output", "loss", "--negate"], 1, marks=pytest.mark.full
        ),
        pytest.param("second_position", ["--layout", "bct"], 1, marks=pytest.mark.full),
        pytest.param("smooth", ["--layout", "btc", "--targets", "onehot"], 1, marks=pytest.mark.full),
        ("Twice()", [], 0),
        pytest.param("Twice(factor=2)", ["--case", "check/weight_3"], 1, marks=pytest.mark.full),
        pytest.param("Twice(factor=2, reduction='none').forward", ["--logits-first"], 1, marks=pytest.mark.full),
    ],
)
def test_the_command_takes_a_file_and_prints_a_program_that_runs(folder, capsys, loss, options, status):
    asked = ["--framework", "torch", "--dtype", "float32", "--case", "seed/*", "--case", "check/width_2"]
    assert main(["check", f"own/torch.py:{loss}", *asked, *options, "--out", "found"]) == status
    shown = capsys.readouterr().out
    assert shown.startswith(f"{loss.replace('factor=2', '').partition('(')[0]}")
    if not status:
        return
    program = (folder / "found" / "reproduce.py").read_text()
    assert "logitlab" not in program
    (given, value), (exact, wanted) = printed(program)[:2]
    assert (given, exact) == ("given", "exact")
    assert value != wanted


IN_NUMPY = """
import numpy as np

from my_neighbour import half

def smooth(x, y):
    with np.errstate(all="ignore"):
        z = x - x.max(-1, keepdims=True)
        return -(y * (z - np.log(np.exp(z).sum(-1, keepdims=True)))).sum(-1) * half * 2
"""


def test_the_program_of_a_loss_of_numpy_in_a_file_runs(folder, capsys):
    (folder / "own" / "numpy.py").write_text(IN_NUMPY)  # a name that a module has
    asked = ["--framework", "numpy", "--dtype", "float32", "--case", "check/width_2", "--layout", "btc"]
    assert main(["check", "own/numpy.py:smooth", *asked, "--targets", "onehot", "--out", "found"]) == 1
    assert capsys.readouterr().out.startswith("smooth: FAILED")
    program = (folder / "found" / "reproduce.py").read_text()
    assert "logitlab" not in program
    (given, value), (exact, wanted) = printed(program)[:2]
    assert (given, exact) == ("given", "exact")
    assert value != wanted


@pytest.mark.full
def test_the_program_runs_in_a_fresh_process(folder, capsys):
    asked = ["--framework", "torch", "--dtype", "float32", "--case", "check/weight_3", "--out", "found"]
    assert main(["check", "own/torch.py:Twice(factor=2)", *asked]) == 1
    capsys.readouterr()
    blocked = "import sys; sys.modules['logitlab'] = None; exec(open('found/reproduce.py').read())"
    done = subprocess.run(
        [sys.executable, "-c", blocked], cwd=folder, env={**os.environ, "PYTHONPATH": ""}, capture_output=True,
        check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("given: ")


# --- losses of libraries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        pytest.param(
            "torch.nn:CrossEntropyLoss()", "--framework torch --case check/*_3", id="torch, a class",
        ),
        pytest.param(
            "torch.nn.functional:cross_entropy", "--framework torch --layout bct --case check/*_3",
            id="torch, classes second",
        ),
        pytest.param(
            "sklearn._loss.loss:HalfMultinomialLoss().loss",
            "--framework numpy --target-dtype logits --case real/* "
            "--gradient sklearn._loss.loss:HalfMultinomialLoss().gradient",
            id="scikit-learn",
        ),
        pytest.param(
            "optax.losses:softmax_cross_entropy", "--framework jax --targets onehot --case gap/*",
            id="jax, one-hot", marks=pytest.mark.full,
        ),
        pytest.param(
            "tensorflow:nn.softmax_cross_entropy_with_logits", "--framework tensorflow --targets soft --case gap/*",
            id="tensorflow, soft", marks=pytest.mark.full,
        ),
    ],
)  # fmt: skip
def test_a_loss_of_a_library_is_checked_as_it_is(loss, options, capsys):
    asked = options.split()
    for module in {loss.partition(":")[0].partition(".")[0], asked[1]}:
        pytest.importorskip(module)
    assert main(["check", loss, "--dtype", "float32", *asked]) == 0
    assert "passed" in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("keras.losses:sparse_categorical_crossentropy", ["--set", "from_logits=True"]),
        ("keras.losses:SparseCategoricalCrossentropy(from_logits=True)", []),
    ],
)
def test_a_loss_of_keras_is_checked_as_it_is(loss, options):
    pytest.importorskip("keras")
    # A process keeps the first backend of Keras.
    asked = ["--framework", "keras-torch", "--dtype", "float32", "--case", "seed/*", "--case", "check/ignore_index_3"]
    command = [sys.executable, "-m", "logitlab", "check", loss, *asked, *options]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Measured with and without ignore_index" in done.stdout
