"""A program that runs other programs, one after the other, and answers what each prints.

Standard input has a JSON list of programs; the answer is a JSON list of texts. Starting TensorFlow or JAX for each
program would take minutes. Each program gets a separate namespace, and the settings of a new process.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import warnings
from importlib.util import find_spec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def printed(program: str) -> str:
    if "jax" in sys.modules:  # the last program may have set it
        sys.modules["jax"].config.update("jax_enable_x64", False)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings(action="ignore"):
        try:
            exec(compile(program, "reproduce.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - the programs under test
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    return out.getvalue()


if __name__ == "__main__":
    programs = json.load(sys.stdin)
    keras = any("tensorflow" in program or "keras" in program for program in programs)
    if keras and find_spec("triton") is not None:
        importlib.import_module("triton")  # TensorFlow must not be imported before it; see `conftest.py`
    sys.modules["logitlab"] = None
    answers = [printed(program) for program in programs]
    json.dump(answers, sys.stdout)
