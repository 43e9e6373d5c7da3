"""Targets that are none of the classes: the table records what each implementation does."""

import numpy as np
import pytest

from logitlab import runner
from logitlab.grading import told_of_invalid

LOGITS = np.array([[2.0, 1.0, 0.1]])


@pytest.fixture(scope="module")
def float32():
    asked = ["numpy/lse", "torch/*", "tensorflow/nn*", "jax/optax.softmax*"]
    return runner.run(cases="invalid/*", dtypes="float32", modes="eager", implementations=asked)


def what(df, implementation, case):
    rows = df[(df["implementation"] == implementation) & (df["case"] == case) & (df["quantity"] == "loss")]
    first = rows.iloc[0]
    return first["status"], first["detail"]


@pytest.mark.parametrize(
    ("loss", "target", "words"),
    [
        (np.nan, 3, "target 3 gave NaN"),
        (np.inf, 3, "target 3 gave inf"),
        (0.0, -100, "target -100 gave 0, as if the row were ignored"),
        (2.31703, -1, "target -1 was read from the end: the loss of class 2"),
        (2.31703, 7, "target 7 gave the loss of class 2"),
        (5.0, 7, "target 7 gave 5, the loss of no class"),
        (0.417, 0, ""),
    ],
)
def test_what_came_back_is_told(loss, target, words):
    assert told_of_invalid(np.array([loss]), LOGITS, np.array([target])) == [words]


def test_nothing_is_graded_and_nothing_crashes(float32):
    assert float32[float32["quantity"] != "probabilities"]["grade"].isna().all()
    outside_autocast = float32["detail"].fillna("").str.contains("autocast makes logits of float16")
    assert set(float32[~outside_autocast]["status"]) == {"ok", "raised"}


@pytest.mark.parametrize(
    ("implementation", "case", "status", "words"),
    [
        ("torch/F.cross_entropy", "invalid/classes", "raised", "IndexError: Target 3 is out of bounds"),
        ("torch/F.cross_entropy", "invalid/minus_one", "raised", "IndexError: Target -1 is out of bounds"),
        ("torch/F.cross_entropy", "invalid/torch_ignore", "ok", "gave 0, as if the row were ignored"),
        ("numpy/lse", "invalid/minus_one", "ok", "was read from the end: the loss of class 2"),
        ("numpy/lse", "invalid/classes", "raised", "IndexError"),
        ("jax/optax.softmax_cross_entropy_with_integer_labels", "invalid/minus_one", "ok", "was read from the end"),
        ("jax/optax.softmax_cross_entropy_with_integer_labels", "invalid/classes", "ok", "gave NaN"),
        ("jax/optax.softmax_cross_entropy", "invalid/classes", "ok", "gave 0, as if the row were ignored"),
        ("tensorflow/nn.softmax_cross_entropy_with_logits", "invalid/classes", "ok", "gave 0, as if the row were"),
    ],
)
def test_the_installed_versions_do_what_was_measured(float32, implementation, case, status, words):
    now = what(float32, implementation, case)
    assert now[0] == status, f"{implementation} on {case} was measured {status!r}, and is now {now}"
    assert words in now[1], f"{implementation} on {case} was measured {words!r}, and is now {now}"
