"""The written formulas among a framework's implementations, which take computed logits too."""

from collections.abc import Sequence

from .._batch import Implementation


def written(implementations: Sequence[Implementation]) -> dict[str, Implementation]:
    """Return the implementations of formulas by the formula's name: not built-ins, nor those of divided logits."""
    return {i.formula: i for i in implementations if i.formula != "builtin" and "eager" in i.modes}
