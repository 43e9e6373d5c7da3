"""What all tests share: Hypothesis draws the same examples each time, and the user's cache is left alone."""

import os
import shutil

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


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run of a few cases and a sweep, in NumPy."""
    from logitlab import runner
    from logitlab.store import Run

    folder = tmp_path_factory.mktemp("small") / "run"
    runner.run(
        cases=["seed/*", "masks/*"], sweeps="offset=1:1e4:3log", frameworks="numpy", dtypes=["float32", "float64"],
        out=folder,
    )  # fmt: skip
    return Run(folder)


@pytest.fixture(scope="session")
def small_site(small_run, tmp_path_factory):
    """Its site."""
    from logitlab import reports

    (first,) = reports.write(small_run, ["html"], tmp_path_factory.mktemp("site"))
    return first.parent


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, or Google Chrome, driven by Playwright."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no browser: install Debian's chromium, or Google Chrome, to test the site in one")
    from playwright.sync_api import sync_playwright

    arguments = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()
