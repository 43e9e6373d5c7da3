"""The report as a web site: pages that work from disk, without a network or a server."""

from ._write import write_site

__all__ = ["write_site"]
