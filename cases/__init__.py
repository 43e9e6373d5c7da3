"""WHAT is computed: the catalogue of extreme logits. Imports no framework."""

from ._case import Case, make
from ._catalogue import catalogue, content_hash, named, select

__all__ = ["Case", "catalogue", "content_hash", "make", "named", "select"]
