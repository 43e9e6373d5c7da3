"""The result of a check in each format: text and Markdown for people, the others for programs and services."""

from ._render import DOCUMENTS, FORMATS, file_names, write_formats

__all__ = ["DOCUMENTS", "FORMATS", "file_names", "write_formats"]
