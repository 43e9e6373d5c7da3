"""The failing lines of a check, and which of them are due to the presentation of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ....core.vocabulary import Grade, Quantity
from ..batches._presentation import CATALOGUED, Arrangement, CallKind
from ..measuring._lines import Mask

ROW = ["dtype", "case", "row"]
KEYS = [*ROW, "quantity"]


@dataclass(frozen=True, eq=False)
class Failures:
    """The lines of a check, and which of them failed.

    The masks are computed once, since every property needs them.
    """

    lines: pd.DataFrame
    failed: Mask

    @cached_property
    def plainly(self) -> Mask:
        """Which lines are of rows of the catalogue in its own arrangement, with loss options or without."""
        once, catalogued = self.once, self.lines["arrangement"].eq(Arrangement.CATALOGUED).to_numpy(bool)
        return once & catalogued

    @cached_property
    def catalogued(self) -> Mask:
        """Which lines are of rows in the catalogue's own presentation."""
        catalogued: Mask = self.lines["how"].eq(str(CATALOGUED)).to_numpy(bool)
        return catalogued

    @cached_property
    def unwritten(self) -> Mask:
        """Which lines failed otherwise than by writing into an argument, after which the values may be correct."""
        return self.failed & self.lines["written"].isna().to_numpy(bool)

    @cached_property
    def only_so(self) -> Mask:
        """Which failures are caused by the presentation: another one counts only if the catalogue's own is correct.

        Another kind of call counts only if a first call with the same arrangement is correct.
        """
        elsewhere = self.also(self.failed & self.plainly, KEYS)
        arranged = self.failed & self.once & ~self.plainly
        arranged_so = ~self.once & self.also(arranged, [*KEYS, "arrangement"])
        return self.unwritten & (self.plainly | ~(elsewhere | arranged_so))

    @cached_property
    def wrong_as_catalogued(self) -> Mask:
        """Which lines are of a row that is wrong in the catalogue's own presentation.

        A grade C there does not count: the order of a sum changes the last digits.
        """
        return self.also(self.unwritten & self.plainly & ~self.lines["grade"].eq(Grade.C).to_numpy(), KEYS)

    @property
    def subjects(self) -> pd.Series[str]:
        """The subject of each line: a case, or the batch if the line is of the batch's one loss."""
        return self.lines["case"].where(~self.whole, self.lines["batch"])

    @cached_property
    def whole(self) -> Mask:
        """Which lines are of the one loss of a batch."""
        whole = self.lines["batch"].notna() & self.lines["quantity"].eq(Quantity.LOSS)
        return whole.to_numpy(bool)

    @cached_property
    def once(self) -> Mask:
        """Which lines are of one ordinary call."""
        once: Mask = self.lines["call"].eq(CallKind.ONCE).to_numpy(bool)
        return once

    def also(self, these: Mask, keys: list[str]) -> Mask:
        """Return whether a line's row is among those of these lines, or the batch whose one loss it is part of."""
        lines, whole = self.lines, self.whole
        found: Mask = self.among(these & ~whole, keys) & ~whole
        if whole.any():
            same = whole if "quantity" in keys else lines["batch"].notna().to_numpy(bool)
            more = [key for key in keys if key == "arrangement"]
            found |= same & self.among(these & whole, ["dtype", "batch", *more])
        return found

    def among(self, these: Mask, keys: list[str]) -> Mask:
        """Return which lines have the keys of some of these lines."""
        if not these.any():  # usual; a table has 100,000 lines
            return np.zeros(len(these), bool)
        some = self.lines.loc[these, keys].drop_duplicates()
        found: Mask = pd.MultiIndex.from_frame(self.lines[keys]).isin(pd.MultiIndex.from_frame(some))
        return found
