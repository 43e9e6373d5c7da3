"""Targets outside the classes: the table records the result of each implementation."""

import numpy as np
import pytest

from logitlab.core.invalid_targets import conduct_of_detail
from logitlab.core.vocabulary import Conduct
from logitlab.grading import invalid_target_answers

LOGITS = np.array([[2.0, 1.0, 0.1]])


@pytest.fixture(scope="module")
def invalid_of(float32_of):
    def of(framework):
        df = float32_of(framework)
        return df[df["family"] == "invalid"]

    return of


def what(df, implementation, case):
    rows = df[(df["implementation"] == implementation) & (df["case"] == case) & (df["quantity"] == "loss")]
    first = rows.iloc[0]
    return first["status"], first["detail"]


@pytest.mark.parametrize(
    ("loss", "target", "detail", "conduct"),
    [
        (np.nan, 3, "target 3 gave NaN", Conduct.NAN),
        (np.inf, 3, "target 3 gave inf", Conduct.NUMBER),
        (0.0, -100, "target -100 gave 0, as if the row were ignored", Conduct.ZERO),
        (2.31703, -1, "target -1 was read from the end: the loss of class 2", Conduct.WRAPS),
        (2.31703, 7, "target 7 gave the loss of class 2", Conduct.NUMBER),
        (5.0, 7, "target 7 gave 5, the loss of no class", Conduct.NUMBER),
        (0.5, 7, "target 7 gave 0.5, the loss of no class", Conduct.NUMBER),
    ],
)
def test_the_detail_says_what_the_loss_did_and_is_read_back(loss, target, detail, conduct):
    (answer,) = invalid_target_answers(np.array([loss]), LOGITS, np.array([target]))
    assert answer.detail == detail
    assert conduct_of_detail(detail) is conduct


def test_a_valid_target_has_no_answer():
    assert invalid_target_answers(np.array([0.417]), LOGITS, np.array([0])) == [None]


@pytest.mark.parametrize("framework", ["numpy", "torch", "jax", "tensorflow"])
def test_invalid_targets_are_not_graded_and_do_not_crash(invalid_of, framework):
    float32 = invalid_of(framework)
    assert float32[float32["quantity"] != "probabilities"]["grade"].isna().all()
    outside_autocast = float32["detail"].fillna("").str.contains("autocast makes logits of float16")
    assert set(float32[~outside_autocast]["status"]) <= {"ok", "raised"}
    assert not float32.empty


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
def test_the_installed_versions_behave_as_recorded(invalid_of, implementation, case, status, words):
    now = what(invalid_of(implementation.split("/")[0]), implementation, case)
    assert now[0] == status, f"{implementation} on {case} was measured {status!r}, and is now {now}"
    assert words in now[1], f"{implementation} on {case} was measured {words!r}, and is now {now}"
