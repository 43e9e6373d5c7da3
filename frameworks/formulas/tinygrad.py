"""The formulas written in tinygrad, which has no log1p."""

from typing import Any

from tinygrad import Tensor


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return values.gather(1, targets.reshape(-1, 1)).reshape(-1)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = logits.exp()
    return e / e.sum(axis=1, keepdim=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -pick(naive_probabilities(logits), targets).log()


def naive_logsumexp(logits: Tensor) -> Tensor:
    return logits.exp().sum(axis=1).log()


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    return lse_logsumexp(logits) - pick(logits, targets)


def lse_logsumexp(logits: Tensor) -> Tensor:
    m = logits.max(axis=1, keepdim=True)
    return m.reshape(-1) + (logits - m).exp().sum(axis=1).log()


def tanh(values: Any) -> Any:
    return values.tanh()
