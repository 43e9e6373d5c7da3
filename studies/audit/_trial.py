"""One trial: a user's test of one loss of the corpus, in a new process."""

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import UsageError, format_error
from ...core.formats import FORMATS
from ...core.location import Location, location_of
from ..check import Returns, load_framework, named
from .corpus import Planted

Test = Callable[[Any], Any]


@dataclass(frozen=True)
class Trial:
    """The arguments of a trial.

    Attributes:
        framework: the framework of the loss.
        module, name: the loss in the corpus, such as ``torch.tiles`` and ``last_tile_reads_zeros``.
        test: ``MODULE:TEST`` or ``FILE.py:TEST``, or a callable object that can be sent to a process.
        returns: what the loss gives to the test: ``rows``, ``mean`` or ``sum``.
        watched: whether to record the dtypes in which the test calls the loss; only for sound losses.
    """

    framework: str
    module: str
    name: str
    test: str | Test
    returns: Returns
    watched: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer of a test about a loss.

    Attributes:
        raised: whether it raised.
        message: the exception, on one line; empty if it did not raise.
        asserted: whether the exception is an assertion.
        called: whether the test called the loss, and ``dtypes``: those of its logits; only of watched trials.
        unusable: why there is no such test; empty otherwise.
        place: the file and line of the test, if known; only of watched trials.
    """

    raised: bool = False
    message: str = ""
    asserted: bool = False
    called: bool = False
    dtypes: tuple[str, ...] = ()
    unusable: str = ""
    place: Location | None = None


def run(trial: Trial) -> Verdict:
    """Run the test on the loss; its exceptions are verdicts. This function is called once in a process."""
    adapter = load_framework(trial.framework)
    planted: Planted = getattr(importlib.import_module(f"{__package__}.corpus.{trial.module}"), trial.name).planted
    seen: list[str] = []
    loss = planted.loss if trial.returns is Returns.ROWS else _reduced(planted.loss, trial.returns, adapter.reduce)
    if trial.watched or planted.gradient is not None:
        loss = _watched(loss, seen)
    if planted.gradient is not None:
        loss.gradient = planted.gradient  # type: ignore[attr-defined]
    try:
        test = named(trial.test, "a loss")[1] if isinstance(trial.test, str) else trial.test
    except UsageError as error:
        return Verdict(unusable=str(error))
    place = location_of(test) if trial.watched else None
    try:
        test(loss)
    except BaseException as error:  # the failures of pytest are not of the class Exception
        skipped = type(error).__name__ == "Skipped"  # by pytest.skip
        asserted = isinstance(error, AssertionError)
        return Verdict(not skipped, format_error(error), asserted, bool(seen), _formats(seen), place=place)
    return Verdict(called=bool(seen), dtypes=_formats(seen), place=place)


def _watched(loss: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    """Return the loss as a function that records the dtype of its logits, with the signature of the loss."""

    def watched(logits: Any, *arguments: Any, **options: Any) -> Any:
        dtype = getattr(logits, "dtype", None)
        seen.append(str(getattr(dtype, "name", dtype)).rpartition(".")[2])
        return loss(logits, *arguments, **options)

    return _like(loss, watched)


def _formats(seen: list[str]) -> tuple[str, ...]:
    return tuple(name for name in FORMATS if name in seen)


def _reduced(loss: Callable[..., Any], returns: Returns, reduce: Callable[[Any, str], Any]) -> Callable[..., Any]:
    """Return the loss as a function to its mean or sum over the rows that count."""
    parameters = _signature(loss).parameters
    if "reduction" in parameters:
        return _like(loss, functools.partial(loss, reduction=str(returns)))

    def reduced(logits: Any, targets: Any, *arguments: Any, **options: Any) -> Any:
        rows = loss(logits, targets, *arguments, **options)
        counted = None
        if "weight" in parameters and options.get("weight") is not None:
            counted = options["weight"][targets].sum()
        elif "ignore_index" in parameters:
            counted = (targets != options.get("ignore_index", parameters["ignore_index"].default)).sum()
        if returns is Returns.SUM or counted is None:
            return reduce(rows, str(returns))
        return reduce(rows, "sum") / counted

    return _like(loss, reduced)


def _signature(loss: Callable[..., Any]) -> inspect.Signature:
    # A loss made of a gradient function wraps it, and does not have its signature.
    return inspect.signature(loss, follow_wrapped=False)


def _like(loss: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the name and the signature of the loss."""
    functools.update_wrapper(function, loss)
    function.__signature__ = _signature(loss)  # type: ignore[attr-defined]
    del function.__wrapped__  # type: ignore[attr-defined]
    return function
