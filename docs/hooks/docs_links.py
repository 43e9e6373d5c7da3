"""MkDocs hooks: pages that stand by themselves, without the sources and without a network.

A link from a page to a file of the source, outside ``docs``, becomes the file's name.

In the sources such a link leads somewhere; the built documentation does not carry the sources.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")
FETCHED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>", re.IGNORECASE)


def on_post_page(output: str, *, page: Page, **_: object) -> None:
    """PluginError for a page that would fetch something from elsewhere when it is opened."""
    if fetched := FETCHED.search(output):
        raise PluginError(f"{page.file.src_path} needs a network: {fetched[0]}")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """The page without links that leave ``docs``; PluginError for one that leads to nothing."""
    docs = Path(config["docs_dir"])

    def named(match: re.Match[str]) -> str:
        target = (docs / page.file.src_path).parent.joinpath(match[2]).resolve()
        if target.is_relative_to(docs):
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_path}: the link to {match[2]} leads to nothing")
        return f"`{target.relative_to(docs.parent)}`"

    return OUTSIDE.sub(named, markdown)
