"""The names of the command line: a framework, and ``MODULE:LOSS``."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ....core.errors import UsageError, format_error
from ....core.interpreting import DEVICE, INTERPRETED
from ....core.location import Location, location_of
from ....execution import registry
from ....frameworks import Framework
from ._factory import Factory, parse
from ._files import import_file, is_file, split
from ._prints import captured_prints

Loss = Callable[..., Any]

# The advice for a framework that LogitLab does not have.
_INSTEAD = {
    "triton": "a Triton kernel takes PyTorch's tensors: give --framework torch, with --device cuda on a GPU, or with "
    "--mode interpreted",
    "pallas": "a Pallas kernel takes JAX's arrays: give --framework jax, with --device cuda on a GPU, or with "
    "--mode interpreted",
}


def load_framework(name: str, mode: str = "eager") -> Framework:
    """Return the adapter of a framework in this process, without a change of settings.

    A mode that needs this process prepared is entered, for which the user's loss must not be imported yet.

    Raises:
        UsageError: for an unknown framework, or one that cannot be imported, or cannot run the mode in this process.
    """
    if name not in registry.names():
        advice = _INSTEAD.get(name, f"choose one of {', '.join(registry.names())}")
        raise UsageError(f"unknown framework {name!r}; {advice}")
    try:
        framework = registry.imported(name)
    except ImportError as error:
        raise UsageError(
            f"{name} cannot be imported ({error}); for how to install it, see `logitlab doctor`"
        ) from error
    framework.enter_mode(mode)
    return framework


def load_for(framework: str, device: str, mode: str) -> Framework:
    """Return a framework that has the device and the mode.

    Raises:
        UsageError: for an unknown framework, or one that cannot be imported or lacks the device or the mode.
    """
    adapter = load_framework(framework)
    if device not in adapter.devices():
        raise UsageError(f"{framework} finds no device {device!r}; choose one of {', '.join(adapter.devices())}")
    # A sharded loss is given the number of its shards instead.
    modes = list(dict.fromkeys(m for i in adapter.implementations for m in i.modes if m != "sharded"))
    if mode not in modes:
        raise UsageError(f"{framework} has no mode {mode!r}; choose one of {', '.join(modes)}")
    if mode == INTERPRETED and device != DEVICE:
        raise UsageError(f"the mode {mode} runs on the device {DEVICE}, not on {device}; leave out one of the two")
    adapter.enter_mode(mode)
    return adapter


def named(path: str, wanted: str = "logits (B, C) and targets (B,)") -> tuple[str, Loss]:
    """Import ``package.module:loss`` or ``path/file.py:loss``, and return its name and the function.

    Modules are also imported from the current folder. ``MODULE:NAME(arguments)`` gives a `Factory` with these
    arguments, and ``MODULE:NAME(arguments).attribute`` one of an attribute. ``wanted`` says in messages what the
    function takes.

    Raises:
        UsageError: if it does not exist or is not callable.
    """
    place, text = split(path)
    written = parse(text)
    found: Any = _imported(place)
    for part in written.name.split("."):
        if not hasattr(found, part):
            there = ", ".join(n for n, v in vars(found).items() if inspect.isfunction(v) and not n.startswith("_"))
            fix = f"choose one of {there}" if there else f"define a function of {wanted}"
            raise UsageError(f"{place} has no {written.name!r}; {fix}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{path} is {type(found).__name__}; give a function of {wanted}")
    if written.call is None:
        return written.title, found
    return written.title, Factory(found, *written.call, written.attribute)


def location(loss: Loss) -> Location | None:
    """Return the file and line that define a loss, or the class or function that makes it; None if unknown."""
    return location_of(loss.make if isinstance(loss, Factory) else loss)


def _imported(place: str) -> ModuleType:
    """Import a module or a file."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    check = f"python {place}" if is_file(place) else f"python -c 'import {place}'"
    try:
        with captured_prints() as printed:
            return import_file(place) if is_file(place) else importlib.import_module(place)
    except ImportError as error:
        raise UsageError(
            f"cannot import {place!r}: {error}; run logitlab in the folder of the module, or set PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # the module is the user's code and may raise anything
        raise UsageError(
            f"{place!r} raises {format_error(error)}{printed.words}; fix it so that this works: `{check}`"
        ) from error
