"""The programs of `logitlab reproduce` for hidden states print what the call returned, bit for bit."""

import numpy as np
import printed_programs
import pytest
from in_process import InThisProcess
from test_reproduce import numbers, printed

import logitlab
from logitlab import linear_reference
from logitlab.cases import LinearCase, get_case
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import Status
from logitlab.execution import registry
from logitlab.execution.plan import single_group
from logitlab.execution.worker import evaluated
from logitlab.studies import _session
from logitlab.studies.reproduce import Reproducer, ReproduceRequest, run_program

SMALL = (
    "linear_sizes/h2_c3_s10", "linear_sizes/h16_c10", "linear_extremes/product_beyond_float16",
    "linear_extremes/logit_beyond_float16", "linear_cancellation/large_pair", "linear_cancellation/to_nothing",
)  # fmt: skip
OPTIONS = (
    "linear_ignored/two_mean", "linear_layers/class_weights", "linear_layers/smoothing", "linear_layers/softcap",
    "linear_layers/z_loss", "linear_layers/logit_scale", "linear_ignored/two_none",
)  # fmt: skip
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(_session, "Pools", InThisProcess)


def returned(framework, implementation, case, dtype, mode):
    """Return the quantities of a call in this process."""
    batch = single_group(get_case(case), FORMATS[dtype]).batch()
    outcome = evaluated(framework, implementation, batch, "cpu", mode)
    return outcome, dict(outcome.values)


def requests(framework, implementations, cases, dtypes):
    """Yield calls with each implementation, mode and quantity, over cases and dtypes in turn."""
    count = 0
    for implementation in implementations:
        for mode in implementation.modes:
            for quantity in implementation.quantities:
                for _ in cases:
                    case, dtype = cases[count % len(cases)], dtypes[count // len(cases) % len(dtypes)]
                    count += 1
                    if dtype not in get_case(case).dtypes:
                        continue
                    outcome, values = returned(framework, implementation, case, dtype, mode)
                    if outcome.status is Status.OK and quantity in values:
                        yield ReproduceRequest(case, implementation.name, dtype, None, "cpu", mode, quantity), values
                        break


@pytest.mark.parametrize(
    ("name", "cases", "whole"),
    [
        ("numpy", SMALL, False),
        ("torch", SMALL, False),
        *(pytest.param(name, cases, True, marks=pytest.mark.full) for name in FRAMEWORKS for cases in (SMALL, OPTIONS)),
    ],
    ids=["numpy", "torch", *(f"whole {name}, {cases}" for name in FRAMEWORKS for cases in ("small", "options"))],
)
@pytest.mark.usefixtures("here")
def test_programs_print_the_results_of_the_call(name, cases, whole, tmp_path, monkeypatch):
    """Not of the whole framework: without the libraries that have losses for it, whose imports take seconds."""
    framework = registry.load(name)
    implementations = [i for i in framework.linear_implementations if whole or i.package == name]
    programs, calls = [], []
    with Reproducer([name]) as reproducer:
        for request, values in requests(framework, implementations, cases, tuple(FORMATS)):
            written = reproducer.reproduce(request, with_file=True)
            for array, content in written.arrays.items():
                np.save(tmp_path / f"{array}.npy", content)
            # Programs run in one process, and each case's files in the folder of the last one.
            program = written.program
            for array in written.arrays:
                own = tmp_path / f"{len(programs)}_{array}.npy"
                (tmp_path / f"{array}.npy").rename(own)
                program = program.replace(f"'{array}.npy'", repr(str(own)))
            programs.append(program)
            calls.append((request, values[request.quantity], written))
    assert len(programs) >= 2 * len(implementations)
    # In `make test` in this process: another one would import PyTorch again.
    texts = printed(programs) if whole else [printed_programs.printed(program) for program in programs]
    for (request, value, written), text in zip(calls, texts, strict=True):
        found = numbers(text, request.quantity)
        assert found is not None, (request, written.program, text)
        expected = value.astype(np.float64)
        if found.shape != expected.shape:  # the entry with the largest error
            index = eval(written.program.split(f"{request.quantity}[")[1].split("]")[0])  # noqa: S307 - two numbers
            expected = expected[index]
        np.testing.assert_array_equal(found, expected, err_msg=f"{request}\n{written.program}\n{text}")


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_the_fused_loss_is_one_call_with_all_gradients_of_one_backward_pass():
    program = logitlab.reproduce("linear_sizes/h16_c10", "torch/F.linear_cross_entropy", "bfloat16")
    assert "loss = F.linear_cross_entropy(hidden, weight, t, reduction='none')" in program
    assert "gradient_hidden, gradient_weight = torch.autograd.grad(loss, [hidden, weight]" in program
    # 160 numbers are too many: the entry with the largest error and its exact value are printed.
    case = get_case("linear_sizes/h16_c10")
    assert isinstance(case, LinearCase)
    hidden, weight, _ = case.quantized_inputs(FORMATS["bfloat16"])
    exact = linear_reference(hidden, weight, case.targets)
    quantity, index = program.split("print('")[1].split(":', ")[1].split(".tolist")[0].split("[")
    place = tuple(map(int, index.rstrip("]").split(",")))
    text = run_program(program)
    assert numbers(text, "exact") == getattr(exact, quantity).hi[place]
    error = abs(numbers(text, quantity) - numbers(text, "exact"))
    assert 0 < error < 0.01


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_the_row_selects_loss_and_hidden_state_and_the_weight_needs_the_batch():
    given = "linear_sizes/h2_c3_s10", "torch/F.cross_entropy[linear]", "float32", 2
    loss = logitlab.reproduce(*given, quantity="loss")
    assert numbers(run_program(loss), "loss").shape == (1,)
    assert "t = torch.tensor([0])" in loss
    weight = logitlab.reproduce(*given, quantity="gradient_weight")
    assert "t = torch.tensor([1, 2, 0, 1])" in weight
    assert numbers(run_program(weight), "gradient_weight").shape == (3, 2)


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_long_arrays_go_to_files(tmp_path):
    given = "linear_layers/bias_s1", "torch/F.linear_cross_entropy", "bfloat16"
    with pytest.raises(
        UsageError, match=r"no short expression gives its 40 x 64 weight; give --out FOLDER for .* file$"
    ):
        logitlab.reproduce(*given)
    program = logitlab.reproduce(*given, quantity="gradient_bias", out=tmp_path / "new")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["reproduce.py", "weight.npy"]
    framework = registry.load("torch")
    implementation = next(i for i in framework.linear_implementations if i.name == given[1])
    _, values = returned(framework, implementation, given[0], "bfloat16", "eager")
    printed_now = numbers(run_program(program, tmp_path / "new"), "gradient_bias")
    np.testing.assert_array_equal(printed_now, values["gradient_bias"].astype(np.float64))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("case", "name", "keywords", "message"),
    [
        ("seed/article", "torch/F.linear_cross_entropy", {}, "seed/article has logits"),
        ("linear_sizes/h2_c3", "torch/naive", {}, "torch/naive is a loss of logits"),
        ("linear_sizes/h2_c3", "torch/naive[linear]", {"quantity": "gradient"}, "returns no gradient"),
        ("linear_sizes/h2_c3", "torch/naive[linear]", {"quantity": "gradient_bias"}, "has no bias"),
        ("linear_sizes/h2_c3", "torch/naive[linear]", {"row": 9}, "or -1 for the whole batch"),
        ("linear_ignored/two_mean", "torch/F.cross_entropy[linear]", {"row": 1, "quantity": "loss"}, "--row -1"),
        ("linear_ignored/two_mean", "torch/naive[linear]", {}, "no mean over weighted or ignored rows"),
    ],
)
def test_refusals_are_one_line(case, name, keywords, message):
    with pytest.raises(UsageError, match=message) as refused:
        logitlab.reproduce(case, name, **keywords)
    assert "\n" not in str(refused.value)
