"""A number with its noun."""


def count(number: int, word: str) -> str:
    """Return ``1 loss``, ``2 losses``, ``3,000 cases``."""
    plural = "es" if word.endswith("s") else "s"
    return f"{number:,} {word}{plural * (number != 1)}"
