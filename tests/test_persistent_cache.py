"""The cache of the tests: a run gives the same table without it, and old caches are removed."""

import os

import pandas as pd
import persistent_cache
import pytest

from logitlab import runner

PLAN = {
    "cases": ["seed/article", "ties/50257"], "implementations": ["numpy/lse", "jax/lse"], "dtypes": "float32",
    "modes": "eager",
}  # fmt: skip


@pytest.mark.full
def test_a_run_that_starts_without_a_cache_gives_the_same_table_and_fills_it(cache_folder, tmp_path, monkeypatch):
    kept = runner.run(**PLAN)
    cold = tmp_path / "cold"
    assert cold != cache_folder
    monkeypatch.setenv("LOGITLAB_CACHE", str(cold))
    fresh = runner.run(**PLAN)
    pd.testing.assert_frame_equal(fresh.drop(columns="run"), kept.drop(columns="run"), check_exact=True)
    assert any(cold.glob("references/*/*.npz"))
    assert any(file.is_file() for folder in cold.glob("jax-*") for file in folder.rglob("*"))


@pytest.mark.parametrize(
    ("versions", "sources"),
    [
        ({"numpy": "2.1", "torch": "2.5"}, {"oracle/balls.py": b"x = 1"}),
        ({"numpy": "2.0"}, {"oracle/balls.py": b"x = 1"}),
        ({"numpy": "2.0", "torch": "2.5"}, {"oracle/balls.py": b"x = 2"}),
        ({"numpy": "2.0", "torch": "2.5"}, {"oracle/other.py": b"x = 1"}),
    ],
    ids=["another version", "one package less", "another source", "another file"],
)
def test_another_version_or_source_has_another_cache(versions, sources):
    known = persistent_cache.digest({"numpy": "2.0", "torch": "2.5"}, {"oracle/balls.py": b"x = 1"})
    assert persistent_cache.digest({"torch": "2.5", "numpy": "2.0"}, {"oracle/balls.py": b"x = 1"}) == known
    assert persistent_cache.digest(versions, sources) != known


def test_every_source_that_computes_references_counts():
    found = persistent_cache.sources()
    assert {"oracle/balls.py", "oracle/bulk.py", "oracle/cache.py", "core/formats.py"} <= set(found)
    assert persistent_cache.installed()["numpy"]


def test_caches_that_nobody_used_for_a_day_go_but_for_the_last_three(tmp_path):
    now, day = 10**9, 24 * 3600
    for name, age in {"new": 0, "hour": 3600, "two": 2 * day, "three": 3 * day, "four": 4 * day}.items():
        (tmp_path / name / "references").mkdir(parents=True)
        os.utime(tmp_path / name, (now - age, now - age))
    persistent_cache.remove_old(tmp_path, now)
    assert {p.name for p in tmp_path.iterdir()} == {"new", "hour", "two"}
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (now - 60, now - 60))
    persistent_cache.remove_old(tmp_path, now)
    assert {p.name for p in tmp_path.iterdir()} == {"new", "hour", "a", "b", "c"}


def test_this_session_uses_the_cache_of_its_versions_and_sources(cache_folder):
    assert cache_folder.name == persistent_cache.digest(persistent_cache.installed(), persistent_cache.sources())
    assert os.environ["LOGITLAB_CACHE"] == str(cache_folder)
