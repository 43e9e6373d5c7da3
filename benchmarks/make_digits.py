"""Make ``cases/catalogue/digits.npz``: logits of a classifier driven to extremes by its learning rate.

The classifier is a softmax regression on scikit-learn's digits (1,797 images of 8 x 8 pixels, values 0 to 16). It is
trained in float64 by plain gradient descent on the raw pixels. A sane, a large and an absurd rate give logits of a few
units, of thousands and of millions, like a real run on its way to NaN. The steps are few, since training at the large
rate is chaotic. After many steps, another order of summation would lead to other logits.

    python benchmarks/make_digits.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

RATES = {"sane": 0.01, "large": 10.0, "absurd": 1e5}
STEPS = 20
ROWS = 24


def train(images: np.ndarray, labels: np.ndarray, rate: float) -> np.ndarray:
    """Return the weights (64, 10) after full-batch gradient descent."""
    weights = np.zeros((images.shape[1], 10))
    onehot = np.eye(10)[labels]
    for _ in range(STEPS):
        weights -= rate * images.T @ (softmax(images @ weights, axis=1) - onehot) / len(images)
    return weights


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(images, labels, random_state=0, stratify=labels)
    kept = {"targets": unseen_labels[:ROWS].astype(np.int64)}
    for name, rate in RATES.items():
        logits = unseen @ train(seen, seen_labels, rate)
        right = (logits.argmax(1) == unseen_labels).mean()
        # The file stores float32. After this, the stored numbers count as exact.
        kept[name] = logits[:ROWS].astype(np.float32)
        print(f"{name}: rate {rate:g}, largest |logit| {abs(logits).max():.3g}, accuracy {right:.3f}")
    np.savez_compressed(Path(__file__).parent.parent / "cases" / "catalogue" / "digits.npz", **kept)


if __name__ == "__main__":
    main()
