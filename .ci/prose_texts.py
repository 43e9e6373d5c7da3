"""Read the prose in a file: paragraphs of Markdown and HTML; docstrings, comments, messages and names of Python."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

CODE = "Xx"  # stands for code, a formula or a computed value: one word of a sentence
MARKDOWN = MarkdownIt("commonmark").enable("table")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
MATH = re.compile(r"\$\$.+?\$\$|\$[^$\n]+?\$", re.DOTALL)
LITERAL = re.compile(r"``.+?``|`[^`\n]+`", re.DOTALL)
# The lines after "::" that are indented further than it are code.
CODE_BLOCK = re.compile(r"^([ \t]*)(?P<above>.*::)\n(?:[ \t]*\n|\1[ \t]+\S.*(?:\n|\Z))+", re.MULTILINE)
DIRECTIVE = re.compile(r"^#!|^# (noqa|type:|fmt:|ruff:|mypy:|pragma|%%|---)")
# A list item, the heading of a docstring's section, or an entry of one: each is a paragraph.
ITEM = re.compile(
    r"^\s*(?:(?:Args|Attributes|Raises|Returns|Yields|Examples?):\s*$|(?=[-*] |[\w.*, ]+(?: \([^)\n]*\))?: \S))",
    re.MULTILINE,
)
# A string with fewer words is a name, a key or a label.
FEWEST_WORDS = 4


@dataclass(frozen=True)
class Text:
    """One paragraph: the line it starts on, what it is, and its words with code replaced by `CODE`."""

    line: int
    kind: str  # paragraph, heading, docstring, comment, string, name
    words: str


def texts(path: Path) -> list[Text]:
    """Return the prose of a file, by its extension."""
    source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".md":
            return markdown_texts(source)
        case ".html":
            return html_texts(source)
        case ".ipynb":
            return notebook_texts(source)
        case _:
            return python_texts(source)


def _blank(match: re.Match[str], word: str = "") -> str:
    """Return a replacement with as many line ends as the match."""
    return word + "\n" * match[0].count("\n")


def _without_jinja(source: str) -> str:
    return JINJA.sub(lambda m: _blank(m, CODE if m[0].startswith("{{") else ""), source)


def _inline(token: Token) -> str:
    parts = []
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "code_inline":
            parts.append(CODE)
        elif child.type == "text":
            parts.append(child.content)
    return "".join(parts)


def markdown_texts(source: str, first_line: int = 1) -> list[Text]:
    """Return headings, paragraphs, list items and table cells. Code blocks and HTML are left out."""
    source = _without_jinja(FRONT_MATTER.sub(_blank, source))
    source = MATH.sub(lambda m: _blank(m, CODE), source)
    found = []
    opener = ""
    for token in MARKDOWN.parse(source):
        if token.nesting == 1:
            opener = token.type
        if token.type == "inline" and token.map:
            kind = "heading" if opener in ("heading_open", "th_open") else "paragraph"
            found.append(Text(first_line + token.map[0], kind, _inline(token)))
    return found


def notebook_texts(source: str) -> list[Text]:
    """Return the Markdown and the comments of a notebook's cells, all on line 1."""
    cells = json.loads(source)["cells"]
    readers = {"markdown": markdown_texts, "code": python_texts}
    found = [t for c in cells if c["cell_type"] in readers for t in readers[c["cell_type"]]("".join(c["source"]))]
    return [Text(1, text.kind, text.words) for text in found]


class _Html(HTMLParser):
    """Collects the text between block elements."""

    HEADINGS = frozenset(("h1", "h2", "h3", "h4", "th"))
    BLOCKS = HEADINGS | frozenset((
        "p", "li", "td", "div", "section", "summary", "figcaption", "caption", "dt", "dd",
        "label", "option", "button",
    ))  # fmt: skip
    SKIPPED = frozenset(("script", "style", "svg"))

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Text] = []
        self._words, self._line, self._skipped, self._code = "", 1, 0, 0

    def _end_block(self, kind: str = "paragraph") -> None:
        if self._words.strip():
            self.found.append(Text(self._line, kind, self._words.strip()))
        self._words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in self.SKIPPED
        if tag == "code":
            self._code += 1
            self._words += CODE
        if tag in self.BLOCKS:
            self._end_block()

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in self.SKIPPED
        self._code -= tag == "code"
        if tag in self.BLOCKS:
            self._end_block("heading" if tag in self.HEADINGS else "paragraph")

    def handle_data(self, data: str) -> None:
        if self._skipped or self._code:
            return
        if not self._words.strip():
            self._line = self.getpos()[0] + len(data) - len(data.lstrip("\n"))
            data = data.lstrip()
        self._words += data

    def close(self) -> None:
        super().close()
        self._end_block()


def html_texts(source: str) -> list[Text]:
    """Return the text of each block of a template, without scripts, styles and code."""
    parser = _Html()
    parser.feed(_without_jinja(source))
    parser.close()
    return parser.found


def python_texts(source: str) -> list[Text]:
    """Return docstrings, comments, strings that are sentences, and the names that a module defines."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a notebook's cell may hold a magic command
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value): node
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None and isinstance(node.body[0], ast.Expr)
    }
    return [*_strings(tree, docstrings), *_names(tree), *_comments(source)]


def _strings(tree: ast.AST, docstrings: dict[int, ast.AST]) -> Iterator[Text]:
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.JoinedStr):
            words = "".join(str(v.value) if isinstance(v, ast.Constant) else CODE for v in node.values)
            yield from _sentences_of(node.lineno, words)
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                yield from _docstring(node)
            else:
                yield from _sentences_of(node.lineno, node.value)
        nodes.extend(ast.iter_child_nodes(node))


def _sentences_of(line: int, string: str) -> Iterator[Text]:
    """Yield a string that reads as prose; a program, a table or markup does not."""
    words = LITERAL.sub(lambda m: _blank(m, CODE), string)
    plain = re.findall(r"\b[a-z]+\b", words)
    if len(plain) >= FEWEST_WORDS and not re.search(r"[{}<>=|\\]|\bimport\b|\b(SELECT|CREATE)\b", words):
        yield Text(line, "string", re.sub(r"\s*\n\s*", " ", words.strip()))


def _docstring(node: ast.Constant) -> Iterator[Text]:
    """Yield a docstring's paragraphs: its first is of the kind `docstring`, the others of the kind `paragraph`."""
    body = CODE_BLOCK.sub(lambda m: _blank(m, m["above"]), " " * node.col_offset + str(node.value))
    body = LITERAL.sub(lambda m: _blank(m, CODE), body)
    line = node.lineno
    kind = "docstring"
    for part in re.split(r"(\n[ \t]*\n)", body):
        # A table or an aligned listing is not prose.
        is_aligned = re.search(r"^\s*[|=+-]{2,}|\S {3,}\S", part, re.MULTILINE)
        if part.strip() and not is_aligned:
            start = line + part[: len(part) - len(part.lstrip())].count("\n")
            for item in ITEM.split(part):
                if item.strip():
                    yield Text(start, kind, re.sub(r"\n\s*", "\n", item.strip()))
                start += item.count("\n")
            kind = "paragraph"
        line += part.count("\n")


def _names(tree: ast.AST) -> Iterator[Text]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Text(node.lineno, "name", node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Text(node.lineno, "name", node.id)
        elif isinstance(node, ast.arg):
            yield Text(node.lineno, "name", node.arg)


def _comments(source: str) -> Iterator[Text]:
    """Yield each run of comment lines in one column as one paragraph."""
    run: list[str] = []
    start = column = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or DIRECTIVE.match(token.string):
            continue
        words = token.string.lstrip("#: ")
        row, col = token.start
        if run and (row, col) == (start + len(run), column):
            run.append(words)
            continue
        yield from _comment(start, run)
        run, start, column = [words], row, col
    yield from _comment(start, run)


def _comment(line: int, run: list[str]) -> Iterator[Text]:
    for item in re.split(r"^(?=- )", LITERAL.sub(lambda m: _blank(m, CODE), "\n".join(run)), flags=re.MULTILINE):
        if item.strip():
            yield Text(line, "comment", item)
        line += item.count("\n")
