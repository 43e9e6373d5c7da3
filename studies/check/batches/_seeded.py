"""Seeded rows that test kernels: widths near the sizes of tiles, each with targets, masks, maxima and NaN in several
places; and gaps of every size.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....cases import Case, all_cases, make
from ..forms._options import REDUCTION, set_in

Logits = NDArray[np.float64]

SEEDED = "check/"  # the start of their names

# Below, at and above the vectors and tiles of kernels, powers of two and others, and vocabularies in use.
WIDTHS = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 97, 100, 127, 128, 129, 192, 200,
    255, 256, 257, 384, 500, 511, 512, 513, 768, 1000, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 3072, 4096, 4097, 8192,
    8193, 16385, 30522, 32000, 32768, 32769, 50257, 65536, 65537, 128256, 151936, 262145,
)  # fmt: skip
# The widths tried if each shape is compiled, beside the catalogue's own.
FEW_WIDTHS = (
    1, 2, 3, 4, 5, 8, 9, 10, 17, 32, 33, 64, 65, 127, 128, 129, 256, 257, 513, 1000, 1024, 1025, 2049, 4096, 4097,
    50257, 65537,
)  # fmt: skip
NARROW = 8  # up to this width every class is the target of a row, and the largest of another
VOCABULARY = 20_000  # from this width on, only a few rows
# Gaps between two logits: thresholds of exp, log and softplus in each dtype, and values between them.
GAPS = (
    0.0, 2.0**-20, 1e-3, 0.1, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 7.0, 8.0, 9.0, 9.7, 10.4, 11.1, 12.0, 13.0, 14.0, 15.0,
    16.0, 16.6, 17.3, 18.0, 20.0, 21.0, 23.0, 24.0, 25.0, 28.0, 30.0, 33.0, 36.0, 36.7, 37.4, 40.0, 45.0, 50.0, 55.0,
    60.0, 64.0, 70.0, 75.0, 80.0, 85.0, 87.0, 88.0, 89.0, 93.0, 98.0, 100.0, 103.0, 104.0, 110.0, 128.0, 200.0, 256.0,
    300.0, 500.0, 700.0, 709.0, 744.0, 750.0, 1000.0, 1100.0, 2000.0, 5000.0, 12000.0, 40000.0,
)  # fmt: skip
FAR = (1e5, 3e6, 1e9, 1e30)  # offsets beyond float16
FAR_WIDTHS = (2, 16, 65, 1025)
OPTION_WIDTHS = (1, 2, 3, 5, 33, 300)  # kernels pad a row whose width is not a power of two
REDUCED_WIDTHS = (3, 33)


@cache
def seeded_cases() -> tuple[Case, ...]:
    """Return seeded rows of each width, gaps of each size, and large offsets."""
    of_width = (_case(width) for width in WIDTHS)
    return (*of_width, *_gaps(), *(_far(width) for width in FAR_WIDTHS))


def _case(width: int) -> Case:
    rng = np.random.default_rng(width)
    rows = list(_vocabulary(width, rng) if width > VOCABULARY else _kinds(width, rng))
    rows += _every_class(width, rng) if width <= NARROW else ()
    logits, targets = np.array([row for row, _ in rows]), np.array([target % width for _, target in rows])
    return make(f"check/width_{width}", f"Rows of {width} classes.", logits, targets, tags=("seeded",))


def _coarse(width: int, rng: np.random.Generator) -> Logits:
    """Return normal logits that every dtype holds exactly."""
    found: Logits = np.round(rng.normal(scale=2.0, size=width) * 16) / 16
    return found


def _fine(width: int, rng: np.random.Generator) -> Logits:
    """Return normal logits with all digits, but few distinct values, so that the exact answer is fast."""
    found: Logits = np.round(rng.normal(scale=2.0, size=width) * 24) / 24 * rng.uniform(0.9, 1.1) + rng.uniform(-1, 1)
    return found


def _kinds(width: int, rng: np.random.Generator) -> Iterator[tuple[Logits, int]]:
    """Yield one row of each kind, with its target."""
    inf, places, last = np.inf, np.arange(width), width - 1
    anywhere = int(rng.integers(width))
    yield _coarse(width, rng), 0
    yield _coarse(width, rng), last
    row = _fine(width, rng)
    yield row, int(row.argmax())
    yield _fine(width, rng), anywhere
    row = _fine(width, rng) * 30
    yield row, int(row.argmin())
    row = _fine(width, rng)
    yield np.where(places == anywhere, row.max() + 16, row), anywhere
    # Masked: the first half, the last half, random classes, all but two, all but the target, the target itself.
    yield np.where(places < width // 2, -inf, _coarse(width, rng)), last
    yield np.where(places > width // 2, -inf, _coarse(width, rng)), 0
    yield np.where((rng.random(width) < 0.5) & (places != anywhere), -inf, _fine(width, rng)), anywhere
    yield np.where((places > 0) & (places < last), -inf, _fine(width, rng)), last
    yield np.where(places == anywhere, 3.0, -inf), anywhere
    if width > 1:
        yield np.where(places == anywhere, -inf, _fine(width, rng)), anywhere
    # The largest logit first, last, twice, everywhere; rising and falling logits.
    yield np.where(places == 0, 100.0, _coarse(width, rng)), last
    yield np.where(places == last, 100.0, _coarse(width, rng)), 0
    yield np.where((places == 0) | (places == last), 9.0, _coarse(width, rng)), last
    yield np.full(width, 2.0), width // 2
    yield np.round(np.linspace(-60, 60, width)), 0
    yield np.round(np.linspace(60, -60, width)), last
    # NaN in the last class, and in the middle.
    yield np.where(places == last, np.nan, _coarse(width, rng)), 0
    yield np.where(places == width // 2, np.nan, _coarse(width, rng)), last
    # Far from zero.
    yield _coarse(width, rng) - 20_000, anywhere
    yield _coarse(width, rng) * 64 + 20_000, anywhere


def _vocabulary(width: int, rng: np.random.Generator) -> Iterator[tuple[Logits, int]]:
    places = np.arange(width)
    yield _fine(width, rng), width - 1
    yield _fine(width, rng), 65_535 % width
    yield np.where(places < width // 2, -np.inf, _coarse(width, rng)), width - 2
    yield np.where(places == width - 1, 20.0, _coarse(width, rng)), 32_768 % width
    yield np.where(places == width - 1, np.nan, _coarse(width, rng)), 0


def _every_class(width: int, rng: np.random.Generator) -> Iterator[tuple[Logits, int]]:
    for target in range(width):
        yield _coarse(width, rng), target
    for target in range(width):
        yield np.where(np.arange(width) == target, 8.0, _coarse(width, rng)), target
    # One row of logits with each class as target.
    same = _coarse(width, rng)
    for target in range(width):
        yield same, target


def _gaps() -> Iterator[Case]:
    for width in (2, 5):
        logits, targets = [], []
        for gap in GAPS:
            for top in (0.0, gap / 2, gap):
                for target in (0, width - 1):
                    logits.append([top, *[-np.inf] * (width - 2), top - gap])
                    targets.append(target)
        yield make(f"check/gaps_{width}", "Two logits that differ by a gap, of every size.", logits, targets)
    # All other classes lie about the same gap below the first: each term is small, but their sum is not. The gaps
    # differ a little, since equal terms would all round to the same side.
    rng = np.random.default_rng(0)
    wide = [[0.0, *(np.round(rng.normal(size=1024) * 16) / 16 - gap)] for gap in GAPS if 5 <= gap <= 40]
    yield make("check/gaps_1025", "All classes but one lie a gap below it.", wide, np.zeros(len(wide), np.int64))


def _far(width: int) -> Case:
    rng = np.random.default_rng([width, 1])
    rows = [_coarse(width, rng) * 2.0 ** np.floor(np.log2(far) - 9) + sign * far for far in FAR for sign in (-1, 1)]
    why = f"{width} classes far from zero, beyond float16."
    return make(f"check/far_{width}", why, rows, rng.integers(width, size=len(rows)), tags=("seeded",))


# --- with loss options ------------------------------------------------------------------------------------------


def option_cases(names: Sequence[str]) -> Iterator[Case]:
    """Yield seeded rows with each option, with all of them together, and with a reduction."""
    values = [name for name in names if name in ("weight", "ignore_index") or (name != REDUCTION and _catalogued(name))]
    together = [(), *((name,) for name in values), *([tuple(values)] if len(values) > 1 else [])]
    for place, width in enumerate(OPTION_WIDTHS):
        yield from (_seeded(width, place, some, "none") for some in together if some)
        if REDUCTION in names and width in REDUCED_WIDTHS:
            yield from (_seeded(width, place, some, how) for some in together for how in ("mean", "sum"))
        if "ignore_index" in names and width > 1:
            yield from (_ignored(width, how) for how in ("none", "mean")[: 1 + (REDUCTION in names)])


def _seeded(width: int, place: int, names: Collection[str], reduction: str) -> Case:
    rng = np.random.default_rng([width, 2])
    rows = [(row, target) for row, target in _kinds(width, rng) if not np.isnan(row).any()]
    if reduction != "none":  # an infinite reduced loss hides the errors of its rows
        rows = [(row, target) for row, target in rows if np.isfinite(row).all()]
    logits, targets = np.array([row for row, _ in rows]), np.array([target % width for _, target in rows])
    options = {name: _value(name, width, place, rng) for name in names}
    if "ignore_index" in options:
        targets[::3] = options["ignore_index"]
    few = ["options"] if len(names) > 1 else list(names)
    name = "_".join([*few, *([reduction] if reduction != "none" else [])])
    why = f"Rows of {width} classes with {', '.join([*names, reduction])}."
    return make(f"check/{name}_{width}", why, logits, targets, reduction=reduction, tags=("seeded",), **options)


def _ignored(width: int, reduction: str) -> Case:
    """Return rows of which every second one is ignored and holds NaN, infinities, only masks, or large numbers."""
    rng = np.random.default_rng([width, 3])
    places, inf = np.arange(width), np.inf
    ignored = [
        np.where(places == 0, np.nan, _coarse(width, rng)),
        np.where(places == width - 1, np.nan, _coarse(width, rng)),
        np.full(width, np.nan),
        np.where(places == 0, inf, _coarse(width, rng)),
        np.full(width, inf),
        np.full(width, -inf),
        np.where(places == 0, -inf, inf),
        _coarse(width, rng) * 2000,
    ]
    logits = [row for each in ignored for row in (_coarse(width, rng), each)]
    targets = rng.integers(width, size=len(logits))
    targets[1::2] = -100
    name = "_".join(["ignored", *([reduction] if reduction != "none" else [])])
    why = f"Rows of {width} classes beside ignored rows with NaN and infinities."
    return make(f"check/{name}_{width}", why, logits, targets, reduction=reduction, tags=("seeded",), ignore_index=-100)


def _value(name: str, width: int, place: int, rng: np.random.Generator) -> Any:
    """Return a value of an option: a seeded one if it depends on the rows, else one of the catalogue's.

    The catalogue's smallest and largest values are left out; its own rows test them.
    """
    if name == "weight":
        # Not 0: the product with the infinite loss of a masked target has no agreed value.
        return rng.integers(4, 33, size=width) / 16
    if name == "ignore_index":
        return -100 if place % 2 else width - 1 if width > 1 else -100
    known = _catalogued(name)
    known = known[1:-1] or known
    return known[place % len(known)]


@cache
def _catalogued(name: str) -> tuple[float, ...]:
    """Return the values of an option in the catalogue's cases."""
    return tuple(sorted({float(getattr(case, name)) for case in all_cases() if name in set_in(case)}))
