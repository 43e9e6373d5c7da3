"""``check``: measure a user's loss against the exact answer, on the catalogue and on rows that test kernels."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...core import arguments
from ...core.errors import UsageError
from ...core.formats import FORMATS, get_format
from ...core.interpreting import INTERPRETED
from ...core.progress import Progress, reporting
from ...core.vocabulary import GRADES, Grade, Problem
from .._cells import usual_dtypes
from ._result import CheckResult
from ._tries import Tries, measure_all, plainly_failing_rows, worst_rows
from .batches._chosen import chosen_cases
from .batches._limits import Failed, Limits
from .bitwise import check_bitwise
from .forms._callee import Callee
from .forms._factory import as_factory, made, name_of
from .forms._form import CallForm, Layout, Returns, TargetDtype, TargetKind
from .forms._named import load_for
from .forms._sharding import Sharding
from .judging._failures import Failures
from .judging._warnings import gathered_warnings
from .linear import LinearCallee, LinearForm, LinearSettings, WeightLayout, check_linear
from .measuring._huge import require_huge
from .measuring._lines import Required, fails, table
from .measuring._loss import Candidate, Loss
from .reproducing._program import shapes_before
from .reproducing._shrink import find_smallest


def check(
    loss: Loss,
    framework: str,
    dtypes: object = None,
    require: str = "B",
    *,
    require_loss: str | None = None,
    require_gradient: str | None = None,
    name: str | None = None,
    gradient: Loss | None = None,
    device: str = "cpu",
    mode: str = "eager",
    problem: str = "logits",
    returns: str = "rows",
    weight_layout: str = "ch",
    layout: str = "bc",
    targets: str = "index",
    target_dtype: str = "int64",
    output: int | str | None = None,
    negate: bool = False,
    may_overwrite: bool = False,
    factory: bool = False,
    targets_first: bool | None = None,
    keywords: Mapping[str, Any] | None = None,
    internal: str | None = None,
    cases: str | Sequence[str] | None = None,
    min_classes: int | None = None,
    max_classes: int | None = None,
    max_rows: int | None = None,
    quick: bool = False,
    huge: bool = False,
    repeat: int | None = None,
    bitwise: bool = False,
    retry: CheckResult | Failed | None = None,
    shards: int | None = None,
    even_shards: bool = False,
    shrink: bool = True,
    run_script: bool = True,
    first: bool = False,
    progress: Progress | bool | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> CheckResult:
    """Measure a loss against the exact answer, and return whether it has a grade.

    The loss is called in this process, on the catalogue's cases without loss options and on seeded rows (``check/*``)
    of widths near the block sizes of kernels. The same rows are then tried in other batches, orders, layouts and
    offsets, a second time, and after another batch. They are also tried without a gradient, differentiated twice, and
    with upstream gradients other than 1.

    The signature may name loss options: ``label_smoothing``, ``weight``, ``ignore_index``, ``reduction``, or any other
    option of `logitlab.reference`. The loss is then also called with them, on seeded rows and on the catalogue's cases
    without other options. The options have the meaning of `logitlab.reference`. In all other calls, a loss that names
    ``reduction`` gets ``"none"``.

    Args:
        loss: a function of logits (B, C) and integer targets (B,), in the framework's arrays, that returns the row
            losses (B,); or a callable object such as a PyTorch module. The framework differentiates it.
        framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
        dtypes: the dtypes to check, which the loss must support; by default all four, without those that it does not
            support.
        require: the worst grade that passes, ``A`` to ``D``.
        require_loss: the worst grade of the loss, if not ``require``.
        require_gradient: the worst grade of the gradient, if not ``require``.
        name: the name of the loss in the report; by default its own name.
        gradient: a function of logits and targets that returns the gradient (B, C) of the summed row losses. NumPy
            needs it to check the gradient; the other frameworks differentiate the loss without it.
        device: a device that the framework finds.
        mode: ``eager``, or another mode of the framework: ``compiled``, ``graph``, or ``interpreted`` for a Triton or
            Pallas kernel on the CPU, which tries few rows.
        problem: what the loss is a function of: ``logits``, or ``linear`` for hidden states (B, H) and a weight (C, H).
            See below.
        returns: what the loss returns: ``rows`` (B,), or the ``mean`` or ``sum`` of the batch. A mean or sum is graded
            as one number and its gradient entry by entry.
        weight_layout: the axes of the weight of a loss of hidden states, and of the gradient by it: ``ch`` for (C, H),
            ``hc`` for (H, C).
        layout: the axes of its logits: ``bc`` for (B, C), ``btc`` for (B, T, C), ``bct`` for (B, C, T).
        targets: ``index`` for class indices, ``onehot`` for one-hot rows, ``soft`` for class probabilities.
        target_dtype: the dtype of class indices: ``int64``, ``int32``, or ``logits`` for that of the logits.
        output: the index, key or attribute of the loss in what the function returns, such as 0 for a tuple.
        negate: whether the function returns log-probabilities of the targets, whose negative is the loss.
        may_overwrite: whether the loss may write into its arguments, as kernels do that store the gradient in the
            logits. It then gets copies with the same strides and storage; the property is reported and does not fail.
        factory: whether ``loss`` (and ``gradient``) is a class or function that takes loss options and returns the
            loss, such as ``torch.nn.CrossEntropyLoss``. It is also given the number of classes if it names
            ``n_classes`` or ``num_classes``.
        targets_first: whether the loss takes targets before logits. By default the names of its parameters decide:
            ``(y_true, y_pred)``, ``(labels, logits)`` and ``(target, input)`` have targets first.
        keywords: further keywords of every call, such as ``{"from_logits": True}``.
        internal: the dtype in which the loss computes, such as ``float32``: wider logits are graded by its bounds.
        cases: globs over ``family/name``; by default ``check/*`` and all cases without loss options, or with options
            that the loss names.
        min_classes: the fewest classes of a row.
        max_classes: the most classes of a row.
        max_rows: the most rows of a batch.
        quick: whether to try only a few widths, batches and calls.
        huge: whether to try one batch of more than 2**31 logits too, in the dtype that takes the least memory. It takes
            minutes, and about five times the memory of the logits: 21 GB in 16 bits.
        repeat: how often a narrow, a medium and a large batch are each called in every dtype, to find a race. By
            default four rows are called 4,603 times in the first dtype, which shows a race of 1 in 1,000 calls with
            99 %, and 130 rows 459 times. A framework that compiles each shape calls the four rows 90 times. With
            ``cases`` no call is repeated by default. 0 turns these calls off.
        bitwise: whether to compare bits, and not grades. Each row is called alone, in other batches, at other places,
            beside other rows, again, and with other numbers of threads if the process can set them. It has 5 to 50,257
            classes. The check passes if the bits of its loss and gradient never change; the result is a
            `BitwiseResult`. ``require``, ``cases``, ``first``, ``huge``, ``repeat``, ``internal``, ``returns`` and
            ``problem`` do not apply.
        retry: an earlier result of this loss. Only the dtypes and widths in which it has a failure are measured; of a
            loss of hidden states, the dtypes and cases. Without a failure, everything is measured.
        shards: the number of ranks of a sharded loss. It is a function of the logits of a rank's classes (B, C_local)
            and all targets (B,). Its third argument is the process group, in JAX the name of the axis. See below.
        even_shards: whether to leave out numbers of classes that the shards do not divide evenly.
        shrink: whether to search for the smallest input that still fails.
        run_script: whether to run the program of the smallest input in a new Python process, to show what it prints.
        first: whether to stop at the first batch that fails; the grades then cover the batches tried.
        progress: called with the batches done, the total and the current batch. By default (None or True) a bar if
            standard error is a terminal, and a line in a notebook; False for none.
        on_failure: called with one line about the first row that fails, as soon as it fails.

    A framework that compiles each shape (JAX, and every mode but ``eager``) gets fewer widths and sizes of batches,
    unless ``cases`` names others. Ctrl-C after a row has failed stops the check and returns the result so far; before
    that it raises KeyboardInterrupt.

    With ``problem="linear"`` the loss is a function of hidden states (B, H), a weight (C, H) and targets (B,), and of
    the keywords that it names: ``bias`` (C,), loss options, and ``class_weight`` for class weights. It is measured on
    the catalogue's cases of this problem (``linear_*/*``) and on seeded batches (``check/linear_*``), with its
    gradients by hidden states, weight and bias. The arguments after ``weight_layout`` do not apply, except ``cases``,
    ``quick``, ``shrink``, ``run_script``, ``first``, ``progress`` and ``on_failure``. The framework differentiates the
    loss; in NumPy, which does not, only the loss is graded. The result is a `CheckResult` whose quantities are
    ``loss``, ``gradient_hidden``, ``gradient_weight`` and ``gradient_bias``.

    With ``shards``, each rank of a gloo group calls a PyTorch loss in a separate process, and differentiates it by its
    local logits. JAX calls it under `jax.shard_map` on devices of the CPU, which divide the classes evenly. All ranks
    return the same row losses. A loss that names ``classes`` or ``first_class`` gets the number of all classes or the
    index of its first one, in PyTorch. Fewer widths and kinds of call are tried, and no race is looked for by default.

    Raises:
        UsageError: for an unknown name, a framework that cannot be imported or lacks the device, cases that do not suit
            the loss, or a loss that cannot be measured. A class and a function that does not take logits and targets
            cannot be measured. A function that raises on every batch, or returns something other than row losses on
            every batch, cannot be measured either.
    """
    required = Required(*(_grade(given or require) for given in (require_loss, require_gradient)))
    if bitwise:
        _refuse_arguments(
            "a check of bits", "check without bitwise", shards=shards, even_shards=even_shards, problem=problem,
            require=require, require_loss=require_loss, require_gradient=require_gradient, returns=returns,
            internal=internal, cases=cases, huge=huge, repeat=repeat, first=first,
        )  # fmt: skip
    if arguments.as_choice(problem, Problem, "problem") is Problem.LINEAR:
        _refuse_arguments(
            "a loss of hidden states", "check problem logits", shards=shards, even_shards=even_shards,
            gradient=gradient, layout=layout, targets=targets, target_dtype=target_dtype, output=output, negate=negate,
            may_overwrite=may_overwrite, factory=factory, targets_first=targets_first, keywords=keywords or None,
            internal=internal, min_classes=min_classes, max_classes=max_classes, max_rows=max_rows, huge=huge,
            repeat=repeat,
        )  # fmt: skip
        linear_form = LinearForm(
            arguments.as_choice(returns, Returns, "returns"),
            arguments.as_choice(weight_layout, WeightLayout, "weight_layout"),
        )
        callee = LinearCallee(
            name_of(loss) if name is None else arguments.as_string(name, "name"), made(loss), linear_form
        )
        settings = LinearSettings(
            require, required, usual_dtypes(dtypes),
            tuple(arguments.as_strings(cases, "cases")), quick, first, shrink, run_script,
            _failed_in(retry),
        )  # fmt: skip
        with reporting(progress) as report:
            adapter = load_for(framework, device, mode)
            return check_linear(callee, adapter, device, mode, settings, report, on_failure)
    if weight_layout != "ch":
        raise UsageError("weight_layout is an argument of the linear problem; give problem='linear' (--problem linear)")
    form = CallForm(
        arguments.as_choice(returns, Returns, "returns"), arguments.as_choice(layout, Layout, "layout"),
        arguments.as_choice(targets, TargetKind, "targets"),
        arguments.as_choice(target_dtype, TargetDtype, "target_dtype"),
        output, negate, may_overwrite, factory, None if internal is None else get_format(internal).name,
        targets_first, dict(keywords or {}),
    )  # fmt: skip
    called = name_of(loss) if name is None else arguments.as_string(name, "name")
    loss, sharding = _sharding(
        shards, even_shards, loss, called, framework, gradient=gradient, device=device, mode=mode, layout=layout,
        targets=targets, output=output, factory=factory, targets_first=targets_first, huge=huge,
    )  # fmt: skip
    if factory:
        loss, gradient = as_factory(loss), None if gradient is None else as_factory(gradient)
    _require_callable(loss, gradient, called, form)
    times = _calls_for_a_race(repeat, on_demand=cases is not None or sharding is not None)
    limits = replace(
        Limits.of(min_classes, max_classes, max_rows, quick=quick), huge=huge, repeat=times,
        interpreted=mode == INTERPRETED, named=cases is not None, failed=_failed_in(retry),
    )  # fmt: skip
    asked = usual_dtypes(dtypes)
    if huge:
        require_huge(form, asked or tuple(FORMATS))
    with reporting(progress) as report:
        adapter = load_for(framework, device, mode)
        few_shapes = adapter.compiles_shapes(mode) or sharding is not None
        candidate = Candidate(called, adapter, loss, gradient, device, mode, form, sharding)
        if bitwise:
            return check_bitwise(candidate, asked, limits, report, on_failure, run_script=shrink and run_script)
        named = candidate.callee.options
        every = chosen_cases(cases, named, form, few_shapes=few_shapes)
        chosen = limits.within(every if sharding is None else sharding.fitting(every, named=cases is not None))
        tried = limits.dtypes(asked or tuple(FORMATS))
        tries = Tries(candidate, chosen, tried, few_shapes=few_shapes, limits=limits, required=required)
        with gathered_warnings() as warned:
            found, complete = measure_all(tries, required, report, on_failure, first=first)
        lines = table(found)
        failures = Failures(lines, fails(lines, required))
        smallest, searched = None, False
        if shrink and failures.failed.any():
            if report is not None:
                report(1, 1, "looking for the smallest input that fails")
            try:
                # A program that starts ranks takes too long to run it.
                history = shapes_before(lines, failures.failed) if run_script and sharding is None else None
                with gathered_warnings():
                    for some in (worst_rows, plainly_failing_rows):
                        # A failure of one kind of call may be that of all calls, and yield no other input.
                        smallest = smallest or find_smallest(
                            candidate, list(some(failures, tries)), required, limits, history
                        )
                searched = True
            except KeyboardInterrupt:
                complete = False
    options = tuple(name for name in named if lines["options"].str.contains(name, regex=False).any())
    return CheckResult(
        called, framework, candidate.version, device, str(sharding or mode), require,
        required.loss.value, required.gradient.value, options, lines, asked, smallest, complete, limits, form,
        gradient_checked="gradient" in candidate.quantities, warnings=warned.each(), searched=searched,
    )  # fmt: skip


def _calls_for_a_race(repeat: int | None, *, on_demand: bool) -> int | None:
    """Return how often batches are called to find a race; None for the default."""
    # It takes as long as a few hundred other calls: of cases that the user names, and of ranks, only on demand.
    if repeat is None:
        return 0 if on_demand else None
    return arguments.as_integer(repeat, "repeat")


def _sharding(
    shards: int | None, even: bool, loss: Loss, called: str, framework: str, **other: Any
) -> tuple[Loss, Sharding | None]:
    """Return a sharded loss as a function of whole logits, and its shards; a loss without shards as it is.

    The ``other`` arguments of the check do not apply to a sharded loss.
    """
    if shards is None:
        return loss, None
    _refuse_arguments("a sharded loss", "leave out shards", **other)
    sharding = Sharding.of(loss, called, framework, shards, even=even)
    return sharding.whole, sharding


def _refuse_arguments(of: str, otherwise: str, **given: Any) -> None:
    """Raise a UsageError for an argument that has no meaning for a kind of check."""
    parameters = inspect.signature(check).parameters
    for name, value in given.items():
        if value != parameters[name].default:
            raise UsageError(f"{name} does not apply to {of}; leave it out, or {otherwise}")


def _failed_in(retry: CheckResult | Failed | None) -> Failed | None:
    """Return the failures of an earlier check; None if it has none."""
    return (Failed.of(retry.failures) if isinstance(retry, CheckResult) else retry) or None


def _grade(letter: str) -> Grade:
    if letter not in GRADES[:-1]:
        raise UsageError(f"cannot require grade {letter!r}; choose one of {', '.join(GRADES[:-1])}")
    return Grade(letter)


def _require_callable(loss: Any, gradient: Any, called: str, form: CallForm) -> None:
    """Raise a UsageError if the loss or the gradient cannot be called with logits and targets."""
    Callee("the loss", called, loss, form).require_callable()
    if gradient is not None:
        Callee("the gradient", name_of(gradient), gradient, form).require_callable()
