"""The cache: its content, the files removed when it exceeds its limit, and files of other programs, which stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from logitlab.cli import main
from logitlab.core import cache_limit, files
from logitlab.core.cache_folder import CacheKind, program_folder
from logitlab.core.cache_limit import cache_entries, clear_cache, trim_cache, trim_if_due
from logitlab.core.errors import UsageError
from logitlab.core.finding import Finding
from logitlab.oracle import cache, reference
from logitlab.oracle._answer import Exact, Reference
from logitlab.oracle.transform import PLAIN
from logitlab.studies import doctor

MIB = 2**20
DAY = 24 * 3600
LARGE = np.linspace(-30.0, 30.0, 5000).reshape(2, 2500)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    root = tmp_path / "cache"
    root.mkdir()
    monkeypatch.setenv("LOGITLAB_CACHE", str(root))
    monkeypatch.delenv("LOGITLAB_CACHE_LIMIT", raising=False)
    return root


def kept(path: Path, seconds_ago: float, size: int = MIB) -> Path:
    """Write a file of this size, last used this long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


def reference_file(root: Path, number: int, seconds_ago: float, size: int = MIB) -> Path:
    name = f"{number:064x}"
    return kept(root / "references" / name[:2] / f"{name}.npz", seconds_ago, size)


def environment(root: Path, name: str, seconds_ago: float) -> Path:
    folder = root / "environments" / name
    kept(folder / "lib" / "module.py", seconds_ago)
    os.utime(folder, (time.time() - seconds_ago,) * 2)
    return folder


def sizes() -> dict[str, float]:
    """Return the MiB of each kind."""
    return {kind.value: sum(e.size for e in cache_entries(kind)) / MIB for kind in CacheKind}


def doctors_line() -> Finding:
    """Return what `doctor` reports about the cache, without examining the frameworks."""
    return next(finding for finding in doctor.examine() if finding.subject == "cache")


# --- what is there ----------------------------------------------------------------------------------------------------


def test_each_kind_is_counted_and_shown(root, capsys):
    reference_file(root, 1, 0)
    kept(program_folder("jax") / "jit_sum-cache", 0, 2 * MIB)
    kept(program_folder("torch") / "fxgraph" / "ab" / "program", 0, 3 * MIB)
    kept(program_folder("tinygrad") / "kernels.db", 0, 4 * MIB)
    environment(root, "0123456789abcdef", 0)
    kept(root / "checks" / f"{1:064x}.json", 0, 5 * MIB)
    kept(root / "checks" / "mine.json", 0, MIB)
    expected = {"references": 1, "jax": 2, "torch": 3, "tinygrad": 4, "environments": 1, "checks": 5}
    assert sizes() == pytest.approx(expected, abs=0.1)
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(root) in shown
    for words in (
        "references 1 1.0 exact",
        "jax 1 2.0",
        "torch 1 3.0",
        "tinygrad 1 4.0",
        "environments 1 1.0",
        "checks 1 5.0",
        "the limit is 2 GiB",
    ):
        assert words in " ".join(shown.split()), shown


def test_doctor_shows_it_in_a_line(root):
    reference_file(root, 1, 0)
    assert doctors_line().message == f"{root}, 1 MiB of 2 GiB, 1 references; for details, run `logitlab cache`"


def test_a_cache_that_is_switched_off_is_empty(monkeypatch, capsys):
    monkeypatch.setenv("LOGITLAB_CACHE", "")
    assert cache_entries() == []
    assert trim_cache() == clear_cache() == 0
    trim_if_due(written=2**40)
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == "the cache is off, because LOGITLAB_CACHE is empty\n"


# --- the limit --------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_files_are_removed_first(root, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", str(3.5 / 1024))
    paths = [reference_file(root, i, seconds_ago=100 * i) for i in range(4)]
    program = kept(program_folder("jax") / "jit_sum-cache", 250)
    # From the youngest: 0, 1, 2, the program, 3.
    assert trim_cache() == pytest.approx(2 * MIB, abs=0.1 * MIB)
    assert [path.exists() for path in (*paths[:3], program, paths[3])] == [True, True, True, False, False]
    assert trim_cache() == 0


def test_a_reference_that_is_read_counts_as_used(root, monkeypatch):
    old, new = LARGE, LARGE + 1
    reference(old, [7, 2400])
    (first,) = (e.path for e in cache_entries())
    reference(new, [7, 2400])
    for entry in cache_entries():
        os.utime(entry.path, (time.time() - (2 if entry.path == first else 1) * DAY,) * 2)
    reference(old, [7, 2400])
    sizes = {e.path: e.size for e in cache_entries()}
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", str(sizes[first] / 2**30))
    trim_cache()
    assert [e.path for e in cache_entries()] == [first]


def test_an_environment_used_today_stays_and_does_not_count(root, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", str(1.5 / 1024))
    today = environment(root, "0123456789abcdef", seconds_ago=3600)
    program = kept(program_folder("torch") / "fxgraph" / "program", 3600, 2 * MIB)
    answer = reference_file(root, 1, seconds_ago=4 * DAY)
    trim_cache()
    assert today.exists()
    assert program.exists()
    assert answer.exists()
    old = environment(root, "fedcba9876543210", seconds_ago=5 * DAY)
    unfinished = environment(root, "building-abc", seconds_ago=6 * DAY)
    trim_cache()
    assert (today.exists(), answer.exists(), old.exists(), unfinished.exists()) == (True, True, False, False)


def test_inf_means_no_limit(root, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", "inf")
    reference_file(root, 1, seconds_ago=400 * DAY)
    assert trim_cache() == 0


@pytest.mark.parametrize("given", ["much", "-1", "nan"])
def test_a_wrong_limit_is_reported_and_does_not_stop_a_run(root, monkeypatch, capsys, given):
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", given)
    with pytest.raises(UsageError, match="set it to a number of GiB"):
        cache_limit.cache_limit()
    assert main(["cache"]) == 2
    assert (
        capsys.readouterr().err == f"logitlab: LOGITLAB_CACHE_LIMIT is {given!r}; set it to a number of GiB, or inf\n"
    )
    assert doctors_line().state == "broken"
    answer = reference_file(root, 1, seconds_ago=0)
    trim_cache()
    assert answer.exists()


def test_the_folder_is_examined_once_an_hour_or_after_many_writes(root, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", "0")
    monkeypatch.setattr(cache_limit, "_written", 0)

    def is_trimmed(seconds_ago: float, written: int) -> bool:
        answer = reference_file(root, 1, seconds_ago=0)
        os.utime(root, (time.time() - seconds_ago,) * 2)
        trim_if_due(written)
        return not answer.exists()

    assert not is_trimmed(seconds_ago=1800, written=MIB)
    assert is_trimmed(seconds_ago=4000, written=MIB)
    assert not is_trimmed(seconds_ago=1800, written=63 * MIB)
    assert is_trimmed(seconds_ago=1800, written=MIB)
    assert not is_trimmed(seconds_ago=1800, written=63 * MIB)


@pytest.mark.usefixtures("in_this_process")
def test_a_run_trims_the_cache_when_it_ends(root, monkeypatch, tmp_path):
    old = reference_file(root, 1, seconds_ago=DAY)
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", "0")
    os.utime(root, (time.time() - 4000,) * 2)
    run = ["run", "--case", "seed/article", "--implementation", "numpy/lse", "--dtype", "float32"]
    assert main([*run, "--out", str(tmp_path / "run")]) == 0
    assert not old.exists()


def test_answers_stay_right_while_other_threads_trim_and_clear(root, monkeypatch):
    """The limit is 0: another thread removes each file as soon as it is written."""
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", "0")
    monkeypatch.setattr(cache_limit, "BYTES_BETWEEN_SCANS", 1)
    batches = [LARGE + i for i in range(3)]
    expected = [reference(x, [7, 2400], keep=False).gradient.lo.tobytes() for x in batches]
    with ThreadPoolExecutor(6) as threads:
        clearing = threads.submit(lambda: [clear_cache() for _ in range(50)])
        found = list(threads.map(lambda i: reference(batches[i % 3], [7, 2400]).gradient.lo.tobytes(), range(24)))
    clearing.result()
    assert found == [expected[i % 3] for i in range(24)]


# --- clearing ---------------------------------------------------------------------------------------------------------


def test_kinds_are_cleared_by_name(root, capsys):
    answer, built = reference_file(root, 1, 0), environment(root, "0123456789abcdef", 0)
    program = kept(program_folder("jax") / "jit_sum-cache", 0)
    assert main(["cache", "clear", "environments", "jax"]) == 0
    assert capsys.readouterr().out == "freed 2.0 MiB\n"
    assert (answer.exists(), built.exists(), program.exists()) == (True, False, False)
    assert main(["cache", "clear"]) == 0
    assert not answer.exists()
    assert main(["cache", "clear", "letters"]) == 2


def test_files_of_other_programs_stay(root, monkeypatch, capsys):
    """LOGITLAB_CACHE may be set to a home folder by mistake."""
    strangers = [
        kept(root / "references" / "thesis.pdf", 9 * DAY),
        kept(root / "references" / "ab" / "paper.npz", 9 * DAY),
        kept(root / "jax-experiments" / "data", 9 * DAY),
        kept(root / "environments" / "mine" / "pyvenv.cfg", 9 * DAY),
        kept(root / "letters" / "letter", 9 * DAY),
        kept(root / "notes.txt", 9 * DAY),
    ]
    away = kept(root.parent / "elsewhere" / "file", 9 * DAY)
    (root / "environments" / "0123456789abcdef").symlink_to(away.parent, target_is_directory=True)
    (root / "torch-0123456789ab").symlink_to(away.parent, target_is_directory=True)
    monkeypatch.setenv("LOGITLAB_CACHE_LIMIT", "0")
    assert cache_entries() == []
    assert trim_cache() == clear_cache() == 0
    assert all(path.exists() for path in (*strangers, away))
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    for name in ("letters", "jax-experiments"):
        assert f"{name} does not belong to LogitLab; it is neither counted nor cleared" in shown


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_kept_answer_has_every_bit_and_is_small(root):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (40, 1000)).astype(np.float16).astype(float)
    found = reference(logits, rng.integers(0, 1000, 40))
    raw = 4 * found.probabilities.hi.nbytes
    (entry,) = cache_entries()
    assert entry.size < raw / 2
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.7e308, *rng.normal(0, 1, 4992)])
    special = special.reshape(2, 2500)
    exact = Exact(special, special[::-1].copy())
    ones = np.ones(2)
    whole = Reference(Exact(ones, -ones), exact, Exact(-special, special), ones, ones > 0, ones, np.array(0.5),
                      np.array([1, -1]), PLAIN, inner=special / 3)  # fmt: skip
    cache.save("a" * 64, whole)
    again = cache.load("a" * 64, PLAIN)
    for part in ("loss", "probabilities", "gradient"):
        for half in ("hi", "lo"):
            assert getattr(getattr(again, part), half).tobytes() == getattr(getattr(whole, part), half).tobytes()
    assert again.inner.tobytes() == whole.inner.tobytes()
    again.inner[0, 0] = again.gradient.hi[0, 0] = again.probabilities.lo[0, 0] = 1.0  # separate arrays


def test_several_processes_write_one_file_at_once(root):
    """At any moment the file is complete and from one writer, and no other file is left."""
    code = (
        "import sys; from pathlib import Path; from logitlab.core import files\n"
        "for _ in range(50): files.write(Path(sys.argv[1]), sys.argv[2].encode() * 100_000, in_cache=True)"
    )
    path = root / "file"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "abc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 100_000
            seen |= {bytes([letter]) for letter in set(data)}
            assert len(set(data)) == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen <= {b"a", b"b", b"c"}
    assert list(root.iterdir()) == [path]


def test_a_failed_write_leaves_no_file(root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(root / "file", b"x", in_cache=True)
    assert list(root.iterdir()) == []
