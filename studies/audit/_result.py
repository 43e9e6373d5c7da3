"""The result of an audit."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from ...core.location import Location
from ._changes import Change
from ._kinds import Kind

NOTICED, MISSED, ACCEPTED, REJECTED = "noticed", "missed", "accepted", "rejected"
COLUMNS = ("loss", "kind", "wrong", "outcome", "status", "message", "description", "source")
FINDING_COLUMNS = ("loss", "finding", "kind", "message")


@dataclass(frozen=True, eq=False)
class Audited:
    """The result of an audit of a test.

    Attributes:
        name: the test's name.
        framework, version: the framework of the losses.
        dtypes: the dtypes of the test, in which a fault counts.
        returns: what the losses gave to the test: ``rows``, ``mean`` or ``sum``.
        table: a line for each loss that was tried, with the columns `COLUMNS`. ``wrong`` is ``loss`` or ``gradient``,
            and missing for a sound loss. ``outcome`` is ``noticed`` or ``missed`` for a fault, ``accepted`` or
            ``rejected`` for a sound loss, and missing if the test did not end in time. ``source`` is the public thread
            that a fault was modelled on, if any.
        uncounted: how many faults of the corpus do not count in these dtypes.
        changes: the smallest changes to the test that would notice the faults it misses.
        place: the file and line of the test, if known.
    """

    name: str
    framework: str
    version: str
    dtypes: tuple[str, ...]
    returns: str
    table: pd.DataFrame
    uncounted: int = 0
    changes: tuple[Change, ...] = field(default=())
    place: Location | None = None

    @property
    def passed(self) -> bool:
        """Whether the test notices all faults that count, rejects no sound loss, and ended on each in time."""
        return bool(self.table["outcome"].isin([NOTICED, ACCEPTED]).all())

    @cached_property
    def faults(self) -> pd.DataFrame:
        """The lines of the faults."""
        return self.table[self.table["wrong"].notna()]

    @cached_property
    def missed(self) -> pd.DataFrame:
        """The lines of the faults that the test misses."""
        return self.table[self.table["outcome"].eq(MISSED)].reset_index(drop=True)

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """The lines of the sound losses that the test rejects."""
        return self.table[self.table["outcome"].eq(REJECTED)].reset_index(drop=True)

    @cached_property
    def unfinished(self) -> pd.DataFrame:
        """The lines of the losses on which the test did not end in time."""
        return self.table[self.table["outcome"].isna()].reset_index(drop=True)

    @cached_property
    def kinds(self) -> pd.DataFrame:
        """A line for each kind of fault: ``kind``, ``faults``, ``noticed``."""
        faults = Counter(map(str, self.faults["kind"]))
        noticed = Counter(map(str, self.faults.loc[self.faults["outcome"].eq(NOTICED), "kind"]))
        found = [(kind.value, faults[kind.value], noticed[kind.value]) for kind in Kind if faults[kind.value]]
        return pd.DataFrame(found, columns=["kind", "faults", "noticed"])

    @cached_property
    def findings(self) -> pd.DataFrame:
        """A line for each fault missed, sound loss rejected, and loss without an end, with `FINDING_COLUMNS`."""
        parts = [
            table.assign(finding=finding, message=table[message])
            for finding, table, message in (
                ("fault missed", self.missed, "description"),
                ("sound loss rejected", self.rejected, "message"),
                ("not finished", self.unfinished, "message"),
            )
        ]
        return pd.concat(parts, ignore_index=True)[list(FINDING_COLUMNS)]


def row_of(**values: Any) -> dict[str, Any]:
    """Return a line of the table with all its columns."""
    return {name: values.get(name) for name in COLUMNS}
