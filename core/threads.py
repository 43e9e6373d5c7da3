"""The wait policy of idle OpenMP threads."""

import os


def let_idle_threads_sleep() -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` unless the variable is set; call it before the first import of a framework.

    Several processes share the cores. GNU's OpenMP, which PyTorch and scikit-learn use, spins by default while it
    waits. That took two thirds of the processor time of PyTorch's wide rows. The setting changes no number.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
