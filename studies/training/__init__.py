"""``logitlab train-demo``: the training step at which a loss that is not finite reaches the gradient and the weights.

Each framework trains a linear and a two-layer classifier on images of digits at rising learning rates, from the same
start and on the same batches. Only the loss differs.
"""

import lazy_loader

# Imported at the first use: the workers import this package and need neither pandas nor a chart.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
