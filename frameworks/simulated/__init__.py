"""Simulated arithmetic: the formulas with each elementary operation rounded to any format, by any rounding."""

from ._framework import FRAMEWORK

__all__ = ["FRAMEWORK"]
