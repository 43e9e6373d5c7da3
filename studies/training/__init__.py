"""Training contamination: the step at which a loss that is not finite reaches the gradient and the weights.

A linear and a two-layer classifier are trained on images of digits in each framework, from the same start and on the
same batches, at rising learning rates. What differs is the loss.
"""

import lazy_loader

# Imported when first used: the workers import this package and need neither pandas nor a chart.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
