"""The script for an accelerator, rehearsed on the CPU in two roles."""

import contextlib
import io

import gpu
import pytest
from in_process import calls_in_this_process

from logitlab.storage.store import Run
from logitlab.storage.verification import verify

PLAN = ["--device", "cpu", "--framework", "numpy", "--implementation", "numpy/l*", "--case", "seed/article"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the folder of the script's run, and what it printed."""
    folder, out = tmp_path_factory.mktemp("script") / "gpu", io.StringIO()
    with calls_in_this_process(), contextlib.redirect_stdout(out):
        gpu.main([str(folder), *PLAN])
    return folder, out.getvalue()


def test_the_script_measures_packs_and_compares(measured):
    folder, printed = measured
    assert "cpu against the CPU" in printed
    assert "nothing changed" in printed
    assert "no chosen framework has the mode 'interpreted'" in printed
    packed = folder.with_name("gpu-packed")
    assert verify(packed).sound
    assert len(Run(packed).read()) == len(Run(folder).read()) > 0


def test_a_difference_between_the_device_and_the_cpu_is_printed(
    in_this_process, measured, tmp_path, capsys, monkeypatch
):
    cpu, _ = measured
    read = Run.read

    def worse(self):
        df = read(self).astype({"grade": object})
        if self.folder == tmp_path / "gpu":
            lost = df["implementation"].eq("numpy/lse") & df["quantity"].eq("loss")
            df.loc[lost, "grade"] = "F"
        return df

    monkeypatch.setattr(Run, "read", worse)
    gpu.main([str(tmp_path / "gpu"), *PLAN, "--cpu", str(cpu)])
    printed = capsys.readouterr().out
    assert "numpy/lse" in printed
    assert "nothing changed" not in printed
    assert not (tmp_path / "gpu-cpu").exists()


def test_interpreted_results_are_compared_as_those_of_the_device(measured, tmp_path, capsys, monkeypatch):
    run, _ = measured
    read = Run.read

    def interpreted(self):
        df = read(self)
        return df.assign(mode="interpreted") if self.folder.name == "kernel" else df

    (tmp_path / "kernel").symlink_to(run, target_is_directory=True)
    monkeypatch.setattr(Run, "read", interpreted)
    device = gpu.measurements(run, "cuda", "eager")
    of_kernel = gpu.measurements(tmp_path / "kernel", "cuda", "interpreted")
    assert set(of_kernel["mode"]) == {"eager"}
    assert set(of_kernel["device"]) == {"cuda"}
    gpu.show_comparison("cuda against an interpreter", of_kernel, device)
    assert "nothing changed" in capsys.readouterr().out


def test_a_run_whose_time_is_up_keeps_its_folder(in_this_process, tmp_path, capsys):
    gpu.main([str(tmp_path / "gpu"), *PLAN, "--seconds", "0"])
    printed = capsys.readouterr().out
    assert "the time was up after" in printed
    assert not (tmp_path / "gpu-packed").exists()
    gpu.main([str(tmp_path / "gpu"), *PLAN, "--resume"])
    assert "packed" in capsys.readouterr().out
    assert verify(tmp_path / "gpu-packed").sound


def test_nothing_to_run_ends_with_1(in_this_process, tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu.main([str(tmp_path / "gpu"), "--framework", "numpy", "--device", "cuda"])
    assert "cuda" in capsys.readouterr().out
