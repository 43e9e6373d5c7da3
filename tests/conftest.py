"""What all tests share: Hypothesis draws the same examples each time, and the user's cache is left alone."""

import pytest
from hypothesis import settings

settings.register_profile("logitlab", derandomize=True, deadline=None)
settings.load_profile("logitlab")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGITLAB_CACHE", str(folder))
        yield folder
