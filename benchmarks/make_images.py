"""Make ``studies/training/digits.npz``: scikit-learn's digits, 1,797 images of 8 x 8 pixels from 0 to 16.

They are the test set of the UCI Optical Recognition of Handwritten Digits data (Alpaydin and Kaynak, 1998). The file
stores bytes, so that `logitlab train-demo` does not need scikit-learn.

    python benchmarks/make_images.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    out = Path(__file__).parent.parent / "studies" / "training" / "digits.npz"
    np.savez_compressed(out, images=images.astype(np.uint8), labels=labels.astype(np.uint8))
    print(f"{len(images)} images, {out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
