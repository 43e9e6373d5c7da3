"""Output for papers: figures at column width and LaTeX tables, each with its numbers, and how to reproduce them."""

from ._figures import figures, write_figures
from ._latex import write_latex
from ._reproduce import reproduce, write_reproduce

__all__ = ["figures", "reproduce", "write_figures", "write_latex", "write_reproduce"]
