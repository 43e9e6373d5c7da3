"""``logitlab history``: grades and errors of each implementation over versions, and the version of each change."""

from ._chart import charts
from ._history import History, history
from ._text import results_table, steps_table
from ._write import FORMATS, write

__all__ = ["FORMATS", "History", "charts", "history", "results_table", "steps_table", "write"]
