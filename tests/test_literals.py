"""The programs of a run are written quickly: digits are tried together, names are found once."""

import ast
import sys

import numpy as np
import pytest

from logitlab.core.formats import FORMATS
from logitlab.core.literals import shortest_decimals
from logitlab.core.rounding import quantize, round_to, ulp
from logitlab.execution.program._imports import names_in
from logitlab.frameworks.source import Definitions, _definitions


def one_by_one(value, fmt):
    """Return the number with the fewest digits, tried one count of digits after the other."""
    tried = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return next(number for number in tried if round_to(number, fmt) == value)


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_fewest_digits_are_those_of_a_search_one_by_one(dtype):
    fmt = FORMATS[dtype]
    drawn = np.random.default_rng(1).normal(0, 10.0 ** np.arange(-4, 5).repeat(20))
    edges = [0.5, -2.0, 0.1, 1 / 3, fmt.largest, -fmt.largest, fmt.smallest_normal, fmt.smallest_subnormal]
    held = quantize(np.array([*drawn, *edges]), fmt).astype(np.float64)
    found = shortest_decimals(held, lambda tried, wanted: round_to(tried, fmt) == wanted)
    assert found.tolist() == [one_by_one(value, fmt) for value in held.tolist()]


def test_numbers_without_digits_stay():
    values = np.array([np.inf, -np.inf, np.nan, -0.0])
    found = shortest_decimals(values, lambda tried, wanted: tried == wanted)
    np.testing.assert_array_equal(found, values)
    assert np.signbit(found[3])
    assert shortest_decimals(values[:0], lambda tried, wanted: tried == wanted).size == 0


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_low_part_of_zero_is_the_default(dtype):
    fmt, rng = FORMATS[dtype], np.random.default_rng(1)
    hi = rng.normal(0, 10.0 ** rng.uniform(-50, 50, (20, 30)))
    for function in (round_to, ulp):
        assert function(hi, fmt).tobytes() == function(hi, fmt, np.zeros(hi.shape)).tobytes()


def test_the_names_of_a_text_are_those_of_its_tree():
    text = "import a.b\nx = np.array([[1.0, -inf, f(y)] * 3, [2]])\ndef g(p, q=r):\n    return lambda s: p + z.w[t:u]\n"
    assert names_in(text) == {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
    assert names_in(text) == {"x", "np", "inf", "f", "y", "r", "p", "z", "t", "u"}


def test_a_public_name_is_searched_for_once(monkeypatch):
    module = "logitlab.frameworks.numpy"
    __import__(module)
    monkeypatch.setattr(_definitions, "_found", {})
    searched = []

    def by_its_name(thing, roots):
        searched.append(thing)
        return "np.exp", next(statement for name, _, statement in roots if name == "np")

    monkeypatch.setattr(_definitions, "_by_its_name", by_its_name)
    for _ in range(2):
        definitions = Definitions(frozenset({"logitlab"}))
        assert ast.unparse(definitions.public_name(sys.modules["numpy"].exp, (module,))) == "np.exp"
        assert list(definitions.imports) == ["import numpy as np"]
    assert searched == [sys.modules["numpy"].exp]
