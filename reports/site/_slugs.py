"""File names of pages, made from arbitrary names."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

LONGEST = 80


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a unique file name for each name, of ``a-z``, ``0-9``, ``.``, ``_`` and ``-`` only.

    A file name has no separator and no dot at either end, so it cannot leave its folder. The same set of names gives
    the same file names.
    """
    found = {name: _plain(name) for name in names}
    while shared := {slug for slug, count in Counter(found.values()).items() if count > 1}:
        found = {name: _marked(name, slug) if slug in shared else slug for name, slug in found.items()}
    return found


def _plain(name: str) -> str:
    words = re.sub(r"[^a-z0-9._]+", "-", name.lower().replace("/", "-")).strip("-._")
    return words if 0 < len(words) <= LONGEST else _marked(name, words[:LONGEST].strip("-._"))


def _marked(name: str, slug: str) -> str:
    """The slug with a digest of itself and the name; a digest of the name only could collide again."""
    digest = hashlib.blake2b(f"{slug}\0{name}".encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{slug[:LONGEST]}-{digest}".lstrip("-")
