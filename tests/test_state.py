"""Changes that a call makes to its process are noticed, including each framework's settings."""

import sys

import pytest
import torch

from logitlab.execution import registry
from logitlab.execution._process_state import ProcessState


def changed(framework, change, back):
    settings = registry.load(framework).settings
    before = ProcessState(settings)
    assert ProcessState(settings).changes(before) == ()
    change()
    try:
        return ProcessState(settings).changes(before)
    finally:
        back()
        assert ProcessState(settings).changes(before) == ()


TORCH = {
    "default dtype from float32 to float64": (torch.set_default_dtype, torch.float64, torch.float32),
    "threads from": (torch.set_num_threads, torch.get_num_threads() + 1, torch.get_num_threads()),
    "subnormals from kept to flushed to zero": (torch.set_flush_denormal, True, False),
    "float32 matmul precision from highest to medium": (torch.set_float32_matmul_precision, "medium", "highest"),
}


@pytest.mark.parametrize("difference", TORCH)
def test_a_changed_setting_of_pytorch_is_reported(difference):
    change, new, old = TORCH[difference]
    found = changed("torch", lambda: change(new), lambda: change(old))
    assert next(f for f in found if f.startswith("setting")).startswith(f"setting {difference}")


def test_switching_float64_in_jax_is_reported():
    import jax

    registry.load("jax")  # which turns it on; another test may have turned it off since
    is_on = jax.config.values["jax_enable_x64"]

    def turn(on):
        return lambda: jax.config.update("jax_enable_x64", on)

    words = {True: "on", False: "off"}
    assert changed("jax", turn(not is_on), turn(is_on)) == (f"setting x64 from {words[is_on]} to {words[not is_on]}",)


def test_settings_that_can_no_longer_be_read_count_as_changed():
    def fails():
        raise RuntimeError

    assert ProcessState(fails).changes(ProcessState(dict)) == ("setting from {} to unknown, RuntimeError",)


def test_a_change_made_by_an_import_is_not_reported_for_the_call(monkeypatch):
    before = ProcessState()
    monkeypatch.setenv("LOGITLAB_SET_BY_AN_IMPORT", "1")
    assert ProcessState().changes(before) == ("environment variable LOGITLAB_SET_BY_AN_IMPORT from none to 1",)
    monkeypatch.setitem(sys.modules, "a_module_that_sets_a_variable", sys)
    assert ProcessState().changes(before) == ()
