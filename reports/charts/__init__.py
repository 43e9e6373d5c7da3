"""Shared style of all charts: colours, scales, sizes, line styles."""
