"""WHAT is computed: the catalogue of extreme logits. Imports no framework."""

from ._case import Case
from ._catalogue import catalogue, content_hash, select

__all__ = ["Case", "catalogue", "content_hash", "select"]
