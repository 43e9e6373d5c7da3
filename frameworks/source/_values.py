"""The values of expressions while a function is inlined: code, and the value itself where it is known."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LITERALS = (bool, int, float, str, type(None))
# The attributes of an array that do not depend on its numbers.
OF_ARRAYS = ("dtype", "ndim", "shape", "device")


@dataclass(frozen=True, eq=False)
class Value:
    """An expression of a program.

    Attributes:
        node: its code; None for a known value that no code was found for yet.
        known: whether ``value`` is the value itself.
        value: the value; of an array that the program creates, which is not known, an array like it.
        is_array: whether it is such an array.
        parts: the elements of a tuple, or the entries of keywords.
    """

    node: ast.expr | None
    known: bool = False
    value: Any = None
    is_array: bool = False
    parts: "tuple[Value, ...] | Mapping[str, Value] | None" = None

    @property
    def is_literal(self) -> bool:
        return self.known and is_literal(self.value)

    @property
    def is_simple(self) -> bool:
        """Whether the code may stand in several places."""
        if self.is_literal:
            return True
        node = self.node
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and (self.known or isinstance(self.node, ast.Name))


@dataclass(frozen=True)
class Inlined:
    """The lines of a call and the expression of its result; ``parts`` are those of a tuple."""

    lines: tuple[str, ...]
    result: str
    value: Value


def is_literal(value: Any) -> bool:
    """Return whether the value is a plain number, string or None, or a list or tuple of them."""
    if type(value) in (list, tuple):
        return all(map(is_literal, value))
    return type(value) in LITERALS


def variable(name: str) -> Value:
    """Return a variable of the program."""
    return Value(ast.Name(name, ast.Load()))


def array(name: str, like: Any) -> Value:
    """Return a variable of the program that is an array like this one."""
    return Value(ast.Name(name, ast.Load()), value=like, is_array=True)


def constant(value: Any) -> Value:
    """Return a known value."""
    return Value(None, known=True, value=value)
