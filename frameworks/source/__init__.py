"""A framework's call as the lines that a user would write, from the source of the function that is measured."""

from ._definitions import Definitions, NoSourceError
from ._inline import inlined
from ._values import Inlined, Value, array, constant, variable

__all__ = ["Definitions", "Inlined", "NoSourceError", "Value", "array", "constant", "inlined", "variable"]
