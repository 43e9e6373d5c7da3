"""What a call leaves otherwise than it found it is seen, in each framework's own settings too."""

import sys

import jax
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


@pytest.mark.parametrize("told", TORCH)
def test_what_pytorch_computes_with(told):
    change, new, old = TORCH[told]
    found = changed("torch", lambda: change(new), lambda: change(old))
    assert next(f for f in found if f.startswith("setting")).startswith(f"setting {told}")


def test_whether_jax_has_float64():
    registry.load("jax")  # which turns it on; another test may have turned it off since
    is_on = jax.config.values["jax_enable_x64"]

    def turn(on):
        return lambda: jax.config.update("jax_enable_x64", on)

    told = {True: "on", False: "off"}
    assert changed("jax", turn(not is_on), turn(is_on)) == (f"setting x64 from {told[is_on]} to {told[not is_on]}",)


def test_settings_that_can_no_longer_be_told_have_changed():
    def fails():
        raise RuntimeError

    assert ProcessState(fails).changes(ProcessState(dict)) == ("setting from {} to unknown, RuntimeError",)


def test_what_an_import_sets_is_not_held_against_the_call_that_needed_it(monkeypatch):
    before = ProcessState()
    monkeypatch.setenv("LOGITLAB_SET_BY_AN_IMPORT", "1")
    assert ProcessState().changes(before) == ("environment variable LOGITLAB_SET_BY_AN_IMPORT from none to 1",)
    monkeypatch.setitem(sys.modules, "a_module_that_sets_a_variable", sys)
    assert ProcessState().changes(before) == ()
