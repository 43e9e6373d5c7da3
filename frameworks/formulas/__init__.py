"""The formulas, a file per framework, and the options of language models around them."""

from ._options import of_transformed, squared, transformed, with_options

__all__ = ["of_transformed", "squared", "transformed", "with_options"]
