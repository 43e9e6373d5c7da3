"""torch.compile with Inductor: a program for each shape, kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from ._cache import program_folder


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled anew for each shape, dtype and set of options that it meets.

    Raises, when it is called, what Inductor raises: where there is no C++ compiler, it says so.
    """
    _set_up()
    # A program for symbolic shapes is made with the first of them in view, and nothing promises that another order of
    # calls gives the same one. A full graph, since what cannot be compiled would else be run eagerly without a word.
    program: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False)
    return program


@cache
def _set_up() -> None:
    # Imported here: they take seconds, and eager calls need none of them.
    import torch._dynamo.config as dynamo  # noqa: PLC0415
    import torch._inductor.config as inductor  # noqa: PLC0415

    # Beyond the default of 8 shapes Dynamo gives up.
    dynamo.cache_size_limit = dynamo.accumulated_cache_size_limit = 2**20
    # The programs come one by one: a pool of compiling processes would only wait.
    inductor.compile_threads = 1
    folder = program_folder("torch")
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    if folder is None:
        inductor.force_disable_caches = True
    else:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
