"""A run on a Dask cluster gives the table of one machine, bit for bit, even if workers die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process

from logitlab import runner
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.execution.executors import opened
from logitlab.execution.executors._survey import Survey, differences, hosts, together
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.storage.store import Run
from logitlab.storage.verification import verify

if find_spec("distributed") is None:
    pytest.skip("the extra dask is not installed", allow_module_level=True)

PLAN = {
    "cases": ["seed/*", "masks/first", "gap/5_low"],
    "implementations": ["numpy/naive", "numpy/lse", "numpy/log1p"],
    "dtypes": ["float16", "float32"],
}
PATIENCE = 60


@contextmanager
def cluster(environment=None, **options):
    """Return workers on this machine, and the executor's name for them."""
    import dask
    import distributed

    # Dask would set the numbers of threads, and a run distinguishes environments by these.
    quiet = {"distributed.nanny.pre-spawn-environ": {}, "distributed.admin.system-monitor.gil.enabled": False}
    asked = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"} | options
    with dask.config.set(quiet), distributed.LocalCluster(processes=True, env=environment, **asked) as running:
        running.executor = running.scheduler_address.replace("tcp", "dask", 1)
        yield running


@pytest.fixture(scope="module")
def two():
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def local():
    with calls_in_this_process():
        return runner.run(**PLAN)


def assert_same(found, expected):
    found, expected = found.drop(columns="run"), expected.drop(columns="run")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    for column in found.select_dtypes("float64"):
        bits, wanted = (table[column].to_numpy().view(np.int64) for table in (found, expected))
        np.testing.assert_array_equal(bits, wanted)


def pids(running) -> dict:
    import distributed

    with distributed.Client(running.scheduler_address, set_as_default=False) as client:
        return client.run(os.getpid)


def test_a_cluster_gives_the_table_of_one_machine_bit_for_bit(two, local, tmp_path):
    calls = []
    found = runner.run(
        **PLAN, executor=two.executor, out=tmp_path / "run", progress=lambda done, total, _: calls.append((done, total))
    )
    assert_same(found, local)
    assert verify(tmp_path / "run").sound
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.cluster
def test_a_worker_with_many_threads_gives_that_table_too(two, tmp_path):
    """Threads share the precision of exact answers, so these must be computed one at a time."""
    plan = {"cases": ["padding/*", "random/*"], "implementations": PLAN["implementations"], "dtypes": "float32"}
    with one_more(two, threads=4):
        found = runner.run(**plan, executor=two.executor)
    assert_same(found, runner.run(**plan))


@pytest.mark.cluster
def test_a_file_read_in_pieces_gives_that_table_too(two, tmp_path, monkeypatch):
    monkeypatch.setattr("logitlab.cases.inputs._logits_file.PIECE", 2**8)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", logits=rng.normal(0, 50, (100, 10)), targets=rng.integers(0, 10, 100))
    asked = {"logits": tmp_path / "mine.npz", "implementations": PLAN["implementations"], "dtypes": PLAN["dtypes"]}
    assert_same(runner.run(**asked, executor=two.executor), runner.run(**asked))


@pytest.mark.cluster
def test_the_manifest_names_the_workers_that_measured(two, tmp_path):
    runner.run(**PLAN, executor=two.executor, out=tmp_path / "run")
    manifest = Run(tmp_path / "run").manifest
    (host,) = manifest.cluster["hosts"]
    assert manifest.cluster["workers"] == host["workers"] == 2
    assert host["host"]
    assert host["versions"] == manifest.versions
    assert host["frameworks"]["numpy"]["numpy"] == np.__version__
    assert host["hardware"] == manifest.hardware


@pytest.mark.cluster
def test_the_processes_of_a_run_end_with_it(two, local):
    before = {pid: children(pid) for pid in pids(two).values()}
    assert_same(runner.run(**PLAN, executor=two.executor), local)
    wait_for_no_processes(before)


def wait_for_no_processes(before: dict[int, set[int]]) -> None:
    end = time.monotonic() + PATIENCE
    while any(children(pid) - before[pid] for pid in before):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    """Return the child processes of a worker, without Python's helpers."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # of a thread that has ended since
            found |= {int(word) for word in (task / "children").read_text().split()}
    return {p for p in found if b"resource_tracker" not in Path(f"/proc/{p}/cmdline").read_bytes()}


@pytest.mark.cluster
@pytest.mark.parametrize("workers", [1, 2], ids=["the only one", "one of two"])
def test_a_killed_worker_loses_no_measurement(local, tmp_path, workers):
    with cluster(n_workers=workers) as running:
        victims = list(pids(running).values())[:1]

        def kill(done, _total, _label):
            while victims and done:
                os.kill(victims.pop(), signal.SIGKILL)

        assert_same(runner.run(**PLAN, executor=running.executor, out=tmp_path / "run", progress=kill), local)
        assert not victims
    assert verify(tmp_path / "run").complete


@pytest.mark.cluster
def test_a_stopped_run_resumes_and_measures_only_the_rest(two, local, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(_done, _total, _label):
        raise StoppedError

    before = {pid: children(pid) for pid in pids(two).values()}
    with pytest.raises(StoppedError):
        runner.run(**PLAN, executor=two.executor, out=tmp_path / "run", progress=stop)
    wait_for_no_processes(before)
    kept = {path: path.stat().st_mtime_ns for path in Run(tmp_path / "run").parts()}
    assert 0 < len(kept) < 6
    words = [f"--{name.removesuffix('s')}={value}" for name, values in PLAN.items() for value in values]
    assert main(["run", *words, "--executor", two.executor, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_same(Run(tmp_path / "run").read(), local)


# --- workers that are not alike ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def only(tmp_path_factory, distribution):
    """Return a package whose framework, `only`, can be imported where an environment variable allows it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "only.py").write_text(
        "import os\n"
        "if 'HAS_ONLY' not in os.environ:\n"
        "    raise ImportError('not on this worker')\n"
        "import numpy as np\n"
        "from logitlab.frameworks.numpy import lse\n"
        "from logitlab.frameworks import Framework, Implementation\n"
        "class Only(Framework):\n"
        "    name = 'only'\n"
        "    implementations = [Implementation('only/lse', 'builtin', None, 'numpy', differentiable=False)]\n"
        "    def unsupported(self, error):\n"
        "        return False\n"
        "    def evaluate(self, implementation, batch, device, mode):\n"
        "        with np.errstate(all='ignore'):\n"
        "            yield 'loss', lse(batch.logits, batch.targets)\n"
        "FRAMEWORK = Only()\n"
    )
    distribution(folder, "only", "only = only:FRAMEWORK")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@contextmanager
def one_more(running, threads=1, **environment):
    """Another worker of the cluster, with these environment variables, started as people do."""
    import distributed

    command = [sys.executable, "-m", "distributed.cli.dask_worker", running.scheduler_address, f"--nthreads={threads}"]
    with distributed.Client(running.scheduler_address, set_as_default=False) as client:
        there = set(client.scheduler_info(n_workers=-1)["workers"])
        with started([*command, "--no-nanny", "--no-dashboard"], os.environ | environment):
            client.wait_for_workers(len(there) + 1, timeout=PATIENCE)
            (address,) = set(client.scheduler_info(n_workers=-1)["workers"]) - there
            yield address


@contextmanager
def started(command, environment):
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.mark.cluster
def test_a_worker_without_the_framework_is_skipped(only, two, tmp_path):
    with one_more(two, PYTHONPATH=str(only), HAS_ONLY="1"):
        found = runner.run(
            cases="seed/article", frameworks=["numpy", "only"], implementations=["numpy/lse", "only/lse"],
            dtypes="float32", executor=two.executor, out=tmp_path / "run",
        )  # fmt: skip
    assert set(found["status"]) == {"ok"}, found["detail"].unique()
    losses = found[found["quantity"] == "loss"].groupby("implementation", observed=True)["bits"].agg(list)
    assert losses["only/lse"] == losses["numpy/lse"]
    cluster = Run(tmp_path / "run").manifest.cluster
    assert sorted((h["workers"], "only" in h["frameworks"]) for h in cluster["hosts"]) == [(1, True), (2, False)]


@pytest.mark.cluster
def test_workers_whose_environment_changes_numbers_are_refused_by_name(two, tmp_path, capsys):
    with one_more(two, OMP_NUM_THREADS="7") as address:
        command = ["run", "--framework=numpy", "--executor", two.executor, "--out", str(tmp_path / "run")]
        assert main(command) == 2
    line = capsys.readouterr().err
    assert " differ: " in line
    assert "OMP_NUM_THREADS is not set" in line
    assert f"7 on {os.uname().nodename} ({address})" in line
    assert not (tmp_path / "run").exists()


def survey(address, torch=None, devices=("cpu",), package="torch", **also):
    """What a worker says that has PyTorch of this version, or has none."""
    info = ImplementationInfo("torch/lse", "lse", package, torch, ("eager",))
    present = Description("torch", devices, (info,), (("torch", torch),))
    described = Description("torch", missing="cannot be imported") if torch is None else present
    facts = {"host": "a", "hardware": {"python": "3.12.1"}, "versions": {"logitlab": "0.1.0"}, "variables": {}} | also
    return Survey(address=address, frameworks={"torch": described}, **facts)


def differences_of(*surveys):
    return differences({s.name: s.packages for s in surveys})


def test_a_worker_with_another_version_is_named_with_that_version():
    alike = [survey("tcp://a:1", "2.13.0"), survey("tcp://a:2", "2.13.0"), survey("tcp://a:3")]
    assert differences_of(*alike) == []
    (line,) = differences_of(*alike, survey("tcp://b:1", "2.12.0", host="b"))
    assert line == "torch is 2.13.0 on a (tcp://a:1) and 1 more, but 2.12.0 on b (tcp://b:1)"
    (line,) = differences_of(*alike, survey("tcp://b:1", hardware={"python": "3.11.9"}))
    assert line.startswith("Python is 3.12.1 on") and line.endswith("3.11.9 on a (tcp://b:1)")  # noqa: PT018
    (line,) = differences_of(*alike, survey("tcp://b:1", versions={"logitlab": "0.2.0"}))
    assert "logitlab is 0.1.0 on" in line


def test_a_framework_is_there_if_one_worker_has_it():
    of_cpu, of_gpu, without = survey("1", "2.13.0"), survey("2", "2.13.0", ("cpu", "cuda")), survey("3")
    assert together(["torch"], [without])["torch"].missing == "cannot be imported"
    found = together(["torch"], [without, of_cpu, of_gpu])["torch"]
    assert found == of_gpu.frameworks["torch"]
    assert together(["torch"], [of_cpu, of_cpu])["torch"] == of_cpu.frameworks["torch"]
    assert [h["workers"] for h in hosts([of_cpu, of_cpu, of_gpu])] == [2, 1]


def cell(device):
    from logitlab.execution.plan import Cell

    return Cell(
        "torch", ImplementationInfo("torch/lse", "lse", "torch", "2.13.0", ("eager",)), "float32", device, "eager"
    )


def test_a_cell_goes_only_to_workers_with_its_device_and_version():
    both = survey("2", "2.13.0", ("cpu", "cuda"))
    assert [both.can(cell(d)) for d in ("cpu", "cuda")] == [True, True]
    assert not survey("1", "2.13.0").can(cell("cuda"))
    assert not survey("1", "2.12.0").can(cell("cpu"))
    assert not survey("1").can(cell("cpu"))


@pytest.mark.cluster
def test_a_cell_of_a_gpu_needs_a_worker_that_declares_a_gpu(two, tmp_path, monkeypatch):
    from logitlab.execution.executors import _cluster
    from logitlab.execution.executors._worker_runtime import Setting

    monkeypatch.setattr(_cluster, "PATIENCE", 0)
    found = _cluster.Cluster(two.scheduler_address.removeprefix("tcp://"), Setting("run", ("torch",), 60, None))
    monkeypatch.setattr(found, "update", lambda: None)
    found.surveys = {"here": survey("here", "2.13.0", ("cpu", "cuda"))}
    found._resources = {"here": {"GPU": 1}}
    assert found.able(cell("cuda")) == {"here"}
    found._resources = {"here": {}}
    assert found.able(cell("cpu")) == {"here"}
    with pytest.raises(UsageError, match="--resources GPU=1"):
        found.able(cell("cuda"))
    assert _cluster.required_resources(cell("cuda")) == {"GPU": 1}
    assert _cluster.required_resources(cell("cpu")) is None


# --- what goes wrong before anything is started -----------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["dusk://a:1", "dask://a", "dask://:1", "local", ""])
def test_an_unknown_executor_is_refused_with_the_choices(tmp_path, asked):
    with pytest.raises(UsageError, match="dask://HOST:PORT"):
        opened(asked, ["numpy"], tmp_path, 60)


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("logitlab.execution.executors._cluster.PATIENCE", 1)
    assert main(["run", "--framework=numpy", "--executor=dask://127.0.0.1:9", f"--out={tmp_path / 'run'}"]) == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_dask_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "logitlab.execution.executors._dask", None)
    with pytest.raises(UsageError, match=r"pip install 'logitlab\[dask\]'"):
        opened("dask://127.0.0.1:9", ["numpy"], tmp_path, 60)


# --- machines of their own, as far as one machine has them ------------------------------------------------------------


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)  # noqa: S607


@pytest.fixture
def network():
    """Two namespaces, each with a network and a host name, and a bridge between them and this machine."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("no ip and unshare: network namespaces need iproute2 and util-linux")
    tag = f"ll{os.getpid() % 10**6}"
    with ExitStack() as undo:
        try:
            ip("link", "add", f"{tag}b", "type", "bridge")
            undo.callback(ip, "link", "del", f"{tag}b")
            ip("addr", "add", "10.213.77.1/24", "dev", f"{tag}b")
            ip("link", "set", f"{tag}b", "up")
            for number in (2, 3):
                space, outer, inner = f"{tag}n{number}", f"{tag}o{number}", f"{tag}i{number}"
                ip("netns", "add", space)
                undo.callback(ip, "netns", "del", space)
                ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
                ip("link", "set", outer, "master", f"{tag}b", "up")
                ip("-n", space, "addr", "add", f"10.213.77.{number}/24", "dev", inner)
                ip("-n", space, "link", "set", inner, "up")
                ip("-n", space, "link", "set", "lo", "up")
            subprocess.run(["unshare", "--uts", "true"], check=True, capture_output=True, timeout=10)  # noqa: S607
        except (OSError, subprocess.SubprocessError) as error:
            message = getattr(error, "stderr", b"") or str(error).encode()
            pytest.skip(f"network namespaces cannot be running here (they need root): {message.decode().strip()}")
        yield {f"machine-{n}": f"{tag}n{n}" for n in (2, 3)}


@pytest.mark.cluster
def test_workers_in_separate_networks_measure_together(network, local, tmp_path):
    import distributed

    with ExitStack() as workers, cluster(n_workers=0, host="10.213.77.1") as running:
        for name, space in network.items():
            worker = (
                f"hostname {name} && exec {sys.executable} -m distributed.cli.dask_worker {running.scheduler_address} "
            )
            command = ["ip", "netns", "exec", space, "unshare", "--uts", "sh", "-c", worker + "--nthreads 1"]
            workers.enter_context(started(command, os.environ))
        with distributed.Client(running.scheduler_address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        assert_same(runner.run(**PLAN, executor=running.executor, out=tmp_path / "run"), local)
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())["cluster"]
    assert [(h["host"], h["workers"]) for h in facts["hosts"]] == [("machine-2", 1), ("machine-3", 1)]
