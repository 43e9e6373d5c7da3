"""What all tests share: Hypothesis draws the same examples each time, and the user's cache is left alone."""

import os

import pytest
from hypothesis import settings

settings.register_profile("logitlab", derandomize=True, deadline=None)
settings.load_profile("logitlab")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    # One for the worker processes of pytest-xdist together: JAX compiles each program once.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGITLAB_CACHE", str(folder))
        yield folder
