"""A program that shows, without LogitLab, one row with other bits in another call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....core.bitwise import Compared, Property
from ....core.vocabulary import Quantity
from ....execution.bitwise import LINES, Plan, Presented
from ..forms._callee import Callee
from ..forms._factory import Factory
from ..forms._form import Layout, TargetDtype
from ..forms._import import Definition, definition
from ..forms._layout import positions
from ..forms._options import PLAIN
from ..forms._wrapper import needs_wrapper, wrapper
from ..measuring._loss import Candidate
from ..reproducing._program import ProgramRun, Shown, run_once

CALLS = 200  # equal calls, at most, until the bits differ
DIFFERS = "numbers differ"  # words of a program that shows a difference
_NONE = "\n0 of "  # and of one that shows none


@dataclass(frozen=True)
class Question:
    """A difference: in a dtype, at a width, in a call of the plan."""

    dtype: str
    classes: int
    found: Compared
    call: Presented

    @property
    def rank(self) -> tuple[bool, int, int, bool]:
        """The order of programs: the least to compute first, and a loss before a gradient.

        Equal calls that differ come before all, since they may cause every other difference.
        """
        size = self.classes * len(self.call.rows)
        is_loss = self.found.quantity == Quantity.LOSS
        return self.found.kind is not Property.REPEATED, self.classes, size, not is_loss


@dataclass(frozen=True)
class BitwiseProgram:
    """A program, and what it printed in a new process; ``run`` is None if it was not run."""

    script: str
    run: ProgramRun | None = None

    @property
    def shows(self) -> bool:
        """Whether it has shown a difference."""
        return self.run is not None and self.run.shown is Shown.FAILURE


def shown(candidate: Candidate, plan: Plan, question: Question, *, run: bool) -> BitwiseProgram:
    """Return the program of a difference, run in a new process if ``run``."""
    program = _write(candidate, plan, question)
    if not run:
        return BitwiseProgram(program)
    ran, missing = run_once(program, raises=False)
    if missing:  # a module that this process alone knows
        copied = _write(candidate, plan, question, copied=True)
        again, missing = run_once(copied, raises=False)
        program, ran = (program, ran) if missing else (copied, again)
    if ran.shown is Shown.FAILURE and (DIFFERS not in ran.printed or _NONE in f"\n{ran.printed}"):
        ran = replace(ran, shown=Shown.NOTHING)
    return BitwiseProgram(program, replace(ran, problem=definition(candidate.loss, candidate.name, "loss").problem))


def _write(candidate: Candidate, plan: Plan, question: Question, *, copied: bool = False) -> str:
    """Return the source of the program."""
    found, call, syntax = question.found, question.call, candidate.framework.syntax
    single = call.alone and found.kind is not Property.ALONE  # a row alone is compared with itself alone
    one = call if single else plan.base
    place = 0 if single else found.row
    imports = [*syntax.imports, *filter(None, [syntax.imports_by_dtype.get(question.dtype)])]
    by_hand = candidate.gradient_callee if found.quantity == Quantity.GRADIENT else None
    loss = _defined(candidate.callee, question, syntax.flat, "loss", candidate.name, copied=copied)
    gradient = by_hand and _defined(by_hand, question, syntax.flat, "gradient_of", "", copied=copied)
    own = [*loss.lines, *(gradient.lines if gradient else ())]
    future = loss.future or bool(gradient and gradient.future)
    other = f"other = of_row({call.code}, {found.place})"
    threads = [] if call.threads is None else [syntax.threads.format(count=call.threads)]
    if found.kind is Property.REPEATED:
        again = [f"for _ in range({CALLS}):", f"    {other}", "    if (one != other).any():", "        break"]
    else:
        again = [*threads, other]
    numbers = "the entry" if found.quantity == Quantity.GRADIENT else "the loss"
    return (
        "\n".join(
            [
                f"# {candidate.name}: other bits of the {found.quantity} in {question.dtype}, {call.words}",
                *["from __future__ import annotations"] * future,
                *dict.fromkeys(["import numpy as np", *imports, *own]),
                f"classes = {question.classes}",
                *LINES,
                *_shapes(candidate, question, one),
                *_of_row(candidate, question, by_hand),
                f"one = of_row({one.code}, {place})  # {one.words}",
                *again,
                "differ = np.flatnonzero(one != other)",
                f"print(len(differ), 'of', one.size, '{DIFFERS}')",
                "for i in differ[:1]:",
                f"    print('{numbers}', {one.words!r} + ':', one[i])",
                f"    print('{numbers}', {call.words!r} + ':', other[i])",
            ]
        )
        + "\n"
    )


def _defined(callee: Callee, question: Question, flat: str, name: str, called: str, *, copied: bool) -> Definition:
    """Return the lines that define a function of the user under a name."""
    function = callee.function
    source = function.make if isinstance(function, Factory) else function
    if not needs_wrapper(callee):
        return definition(source, called, name, copied=copied)
    imported = f"{name}_function"
    found = definition(source, called.partition("(")[0], imported, copied=copied)
    lines = wrapper(callee, PLAIN, question.classes, repr, flat, name=name, imported=imported)
    return replace(found, lines=(*found.lines, *lines))


def _of_row(candidate: Candidate, question: Question, by_hand: Callee | None) -> list[str]:
    """Return the lines of a function that returns the results of one row among chosen ones, as float64 (n,)."""
    syntax, form = candidate.framework.syntax, candidate.form
    device = "" if candidate.device == "cpu" else syntax.device.format(name=candidate.device)
    call = syntax.calls.get(candidate.mode, syntax.calls["eager"])
    call = call.format(x="x", t="t", options=_options(candidate.callee))
    swapped = ".swapaxes(1, 2).copy()" * (form.layout is Layout.BCT)
    t = "np.eye(classes)[targets[chosen]]" if form.dense else "targets[chosen]"
    x = "logits[chosen]"
    if form.layout is not Layout.BC:
        x = f"{x}.reshape(*shapes[len(chosen)], classes){swapped}"
        t = (
            f"{t}.reshape(*shapes[len(chosen)], classes){swapped}"
            if form.dense
            else f"{t}.reshape(shapes[len(chosen)])"
        )
    kind = "int32" if form.target_dtype is TargetDtype.INT32 and not form.dense else question.dtype
    as_index = not form.dense and form.target_dtype is TargetDtype.INT64
    target = syntax.targets if as_index else syntax.array
    lines = [
        f"x = {syntax.leaf.format(x=syntax.array.format(numbers=x, dtype=question.dtype, device=device))}",
        f"t = {target.format(numbers=t, dtype=kind, device=device)}",
        *(line.format(call=call) for line in syntax.tracked),
    ]
    if question.found.quantity == Quantity.LOSS:
        result = f"np.array({syntax.numbers.format(array='rows')}).reshape(-1, 1)"
    else:
        pull = syntax.gradient.format(upstream=syntax.ones, repeatedly="")
        lines.append(f"gradient = {pull if by_hand is None else f'gradient_of(x, t{_options(by_hand)})'}")
        result = f"np.array({syntax.numbers.format(array='gradient')})"
        result += ".swapaxes(1, 2)" * (form.layout is Layout.BCT) + ".reshape(-1, classes)"
    return ["def of_row(chosen, place):", *map("    {}".format, [*lines, f"return {result}[place]"])]


def _shapes(candidate: Candidate, question: Question, one: Presented) -> list[str]:
    """Return the line with the sizes of batch and positions of both calls, for logits with positions."""
    if candidate.form.layout is Layout.BC:
        return []
    sizes = {len(call.rows): positions(len(call.rows), question.classes) for call in (one, question.call)}
    return [f"shapes = {sizes}"]


def _options(callee: Callee) -> str:
    """Return the keywords of a call of the function; none if its definition has them."""
    given = {} if needs_wrapper(callee) else callee.call_keywords(PLAIN)
    return "".join(f", {name}={value!r}" for name, value in given.items())
