"""A line of the measurements table, for tests of comparisons."""


def line(**changes):
    """Return a line of grade A of a loss, with these changes."""
    base = {
        "case": "f/a", "family": "f", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "dtype": "float32", "device": "cpu", "mode": "eager", "version": "1", "quantity": "loss",
        "out_dtype": "float32", "status": "ok", "grade": "A", "verdict": "correct",
        "finite": True, "expected_finite": True, "value": 1.0, "exact": 1.0, "max_ulp": 0.5, "bits": 7,
    }  # fmt: skip
    return base | changes
