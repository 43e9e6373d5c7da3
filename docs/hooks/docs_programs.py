"""The programs on the pages of the documentation, each with the output that the page shows."""

import re

_PROGRAM = re.compile(r"^```python\n(.*?)^```$.*?^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page: str) -> list[tuple[str, str]]:
    """Return the program and the output of each Python block that a text block follows."""
    return _PROGRAM.findall(page)
