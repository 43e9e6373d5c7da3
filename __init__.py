"""LogitLab: every softmax cross-entropy, run on extreme logits and measured against the exact answer.

::

    import logitlab

    df = logitlab.run(frameworks=["torch"], dtypes=["float32"], cases="overflow/*")
    ref = logitlab.reference(logits, targets)
    logitlab.catalogue()
    logitlab.implementations()
    logitlab.check(my_loss, framework="torch").failures
    logitlab.compare(df_before, df_after).regressions
    logitlab.hunt("torch/F.cross_entropy", "bfloat16", seconds=60).findings
    print(logitlab.reproduce("seed/article", "torch/naive"))  # a program for a bug report
    logitlab.assert_conforms(my_loss, framework="torch", require="B")  # in a test
    logitlab.safety(logitlab.run(quick=True))  # in under a minute: the safe losses, and what breaks the others
    logitlab.style(df)
    logitlab.tables("runs/mine")["grades"]
    logitlab.distributions("runs/mine", by=["dtype", "family", "quantity"])  # quantiles, bias, shares beyond 10 ulp
    logitlab.query("runs/mine", "SELECT dtype, max(max_ulp) FROM measurements GROUP BY dtype")
    logitlab.read("runs/mine", columns=["case", "row", "value"], where="grade = 'F'")
"""

import lazy_loader

from .core.version import __version__ as __version__

# Imported at the first use: worker processes import this package and need neither pandas nor the oracle.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
