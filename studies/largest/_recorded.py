"""The largest finite error of each implementation, dtype and quantity in a table of measurements."""

from collections.abc import Iterable, Sequence

from ...reports.tables.errors import largest_errors
from ...storage.querying import Measurements
from ._entry import Recorded


def recorded_in(found: Measurements, source: str = "") -> list[Recorded]:
    """Return the largest finite error of each implementation, dtype and quantity, over its modes and devices.

    Args:
        found: the measurements.
        source: the name of their source; by default the run of each.
    """
    return [
        Recorded(
            line["implementation"], line["dtype"], line["mode"], line["device"], line["quantity"], line["case"],
            int(line["row"]), float(line["ulp"]), str(line["version"]), source or str(line["run"]),
        )
        for line in largest_errors(found).to_dict("records")
    ]  # fmt: skip


def joined(recorded: Iterable[Recorded]) -> list[Recorded]:
    """Return the largest error of each implementation, dtype and quantity; of equal errors the first."""
    worst: dict[tuple[str, str, str], Recorded] = {}
    for each in recorded:
        key = each.implementation, each.dtype, each.quantity
        if key not in worst or each.ulp > worst[key].ulp:
            worst[key] = each
    return list(worst.values())


def leading(recorded: Sequence[Recorded], limit: int | None) -> list[Recorded]:
    """Return the ``limit`` largest errors of each dtype and quantity; all for None."""
    found: list[Recorded] = []
    for dtype, quantity in dict.fromkeys((r.dtype, r.quantity) for r in recorded):
        group = [r for r in recorded if (r.dtype, r.quantity) == (dtype, quantity)]
        found += sorted(group, key=lambda r: -r.ulp)[:limit]
    return found
