"""The plan of a run: its cells, the groups of cases that share a call, and the calls."""

from ._calls import Call, GradedCall, PlannedCall
from ._cells import (
    Cell,
    choose_cells,
    choose_dtypes,
    choose_frameworks,
    choose_oracle,
    matches_name,
    not_installed,
    owners,
)
from ._grouping import groups, single_group
from ._groups import Group
from ._linear_groups import LinearGroup
from ._order import ordered

__all__ = [
    "Call", "Cell", "GradedCall", "Group", "LinearGroup", "PlannedCall", "choose_cells", "choose_dtypes",
    "choose_frameworks", "choose_oracle", "groups", "matches_name", "not_installed", "ordered", "owners",
    "single_group",
]  # fmt: skip
