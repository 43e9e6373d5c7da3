"""File names of pages, made from names that may hold anything."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

LONGEST = 80


def slugs(names: Iterable[str]) -> dict[str, str]:
    """For each name a file name of ``a-z``, ``0-9``, ``.``, ``_`` and ``-``, no two alike in any case of letters.

    It has neither a separator nor a dot at an end, so that it stays in its folder, and is the same for the same set of
    names.
    """
    found = {name: _plain(name) for name in names}
    while shared := {slug for slug, count in Counter(found.values()).items() if count > 1}:
        found = {name: _marked(name, slug) if slug in shared else slug for name, slug in found.items()}
    return found


def _plain(name: str) -> str:
    words = re.sub(r"[^a-z0-9._]+", "-", name.lower().replace("/", "-")).strip("-._")
    return words if 0 < len(words) <= LONGEST else _marked(name, words[:LONGEST].strip("-._"))


def _marked(name: str, slug: str) -> str:
    """With a digest of the name, and of what it is called already, for that may collide again."""
    digest = hashlib.blake2b(f"{slug}\0{name}".encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{slug[:LONGEST]}-{digest}".lstrip("-")
