"""``check`` of a loss of hidden states: its calls, batches, grades, result and program."""

from ._callee import LinearCallee
from ._check import LinearSettings, check_linear
from ._form import LinearForm, WeightLayout
from ._result import LinearCheckResult

__all__ = ["LinearCallee", "LinearCheckResult", "LinearForm", "LinearSettings", "WeightLayout", "check_linear"]
