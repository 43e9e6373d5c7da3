"""Check the prose of the repository: `python .ci/prose.py [PATH ...]`; exit code 1 if a rule is broken.

Without paths it reads every page, template, notebook and Python file that git tracks or would add. `--counts` prints a
number for each folder instead of the findings. A word or sentence in a code span is not checked.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prose_texts import Text, texts

ROOT = Path(__file__).resolve().parents[1]
EXCLUDED = ("tests/test_prose.py",)  # it quotes bad sentences
SUFFIXES = (".md", ".py", ".html", ".ipynb")
MAX_WORDS = 30  # in one sentence
MAX_AVERAGE = 20  # words a sentence, over a file of AVERAGED sentences or more
AVERAGED = 10
SENTENCES = ("paragraph", "comment", "string")
ALL = ("paragraph", "heading", "docstring", "comment", "string")


class Rule(NamedTuple):
    """A pattern that no sentence may match, and the plain wording."""

    name: str
    pattern: str
    advice: str
    kinds: tuple[str, ...] = ALL


# The words that a reader of English as a second language stumbles over, and the plain ones.
WORDS = {
    r"told": "reported, shown, said",
    r"mend(s|ed|ing)?": "fix",
    r"offences?": "defect, violation",
    r"begun": "started",
    r"anew": "again",
    r"lest": "so that ... not",
    r"(there|where)(of|upon)|whilst|hitherto|henceforth": "a plain conjunction",
    r"somebody|whosoever|whoever": "the thing's name: the framework, the user, the worker",
}
RULES = [
    *(Rule("word", rf"\b({word})\b", f"write: {plain}") for word, plain in WORDS.items()),
    Rule("of its own", r"\bof (its|their|his|one's) own\b", "write: its own ..., a separate ..., or leave it out"),
    Rule("what is", r"\b[Ww]hat (is|are|was|were)\b(?!.*\?$)", "name the thing"),
    Rule("opens with what", r"^(What|Who|Whatever|Whoever) (?!.*\?$)", "put the subject first", SENTENCES),
    Rule("whether there", r"^Whether there (is|are|was)\b", "write: Return whether ..."),
    Rule("is none", r"(?<![Tt]here )\b(is|are|was|were|be) none\b(?!,)", "say what it is"),
    Rule(
        "is no",
        r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|more\b|less\b|better\b|worse\b)",
        "write: is not a ...",
    ),
    Rule("for nothing", r"\bcounts? (for )?nothing\b", "write: is ignored"),
    Rule("says so", r"\b(say|says|said|saying) so\b", "name the message or status"),
    Rule("goes on", r"\b(go|goes|going|went|gone) on\b", "write: continue, resume"),
    Rule("from here on", r"\b[Ff]rom here on\b", "write: after this"),
    Rule("without a word", r"\bwithout a word\b|\bin silence\b", "write: silently"),
    Rule(
        "inversion",
        r"\b(and|but|,) (so|neither|nor) (it )?(is|are|was|were|do|does|did|has|have|had|can|will|must|may)\b",
        "subject first: X is ... too",
    ),
]
NAMES = re.compile(r"(?:^|_)(told|mend\w*|offences?|begun|spent|lane)(?:_|$)")
# A docstring's first sentence says what the function returns or does; one that opens so does not.
RIDDLE = re.compile(r"^(What|Who|Where|Why|When|If)\b(?!.*\?$)")
# A full stop, then a capital: but not in "e.g. X", "3.5" or after an initial.
END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[#]*[A-Z0-9])")
ABBREVIATED = re.compile(r"(\b(e\.g|i\.e|cf|vs|etc|al|No|Fig|Eq|Sec|[A-Z])\.)$")
WORD = re.compile(r"[^\W_][\w.,'/+*^-]*")


class Finding(NamedTuple):
    """A sentence that breaks a rule."""

    path: Path
    line: int
    rule: str
    sentence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.sentence!r} ({self.advice})"


def sentences(text: Text) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a paragraph, each with its line."""
    start = 0
    ends = [m.span() for m in END.finditer(text.words)]
    ends.append((len(text.words),) * 2)
    for end, following in ends:
        sentence = text.words[start:end]
        if ABBREVIATED.search(sentence) and following < len(text.words):
            continue
        line = text.line + text.words[:start].count("\n")
        if sentence.strip():
            yield line, " ".join(sentence.split())
        start = following


def broken(path: Path, text: Text) -> Iterator[Finding]:
    """Yield the rules that a paragraph or a name breaks."""
    if text.kind == "name":
        if found := NAMES.search(text.words):
            yield Finding(path, text.line, "name", text.words, f"{found[1]!r} is not a programmer's word")
        return
    for number, (line, sentence) in enumerate(sentences(text)):
        for rule in RULES:
            if text.kind in rule.kinds and re.search(rule.pattern, sentence):
                yield Finding(path, line, rule.name, sentence, rule.advice)
        count = len(WORD.findall(sentence))
        if count > MAX_WORDS and text.kind != "heading":
            yield Finding(path, line, "long sentence", sentence, f"{count} words, at most {MAX_WORDS}: split it")
        if number == 0 and text.kind == "docstring" and path.parts[0] != "tests" and RIDDLE.search(sentence):
            yield Finding(path, line, "first line", sentence, "say what the function returns or does")


def check(path: Path) -> list[Finding]:
    """Return every rule that a file breaks."""
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    found = texts(path)
    lengths = [len(WORD.findall(s)) for t in found if t.kind in ("paragraph", "docstring") for _, s in sentences(t)]
    findings = [f for text in found for f in broken(shown, text)]
    if len(lengths) >= AVERAGED and sum(lengths) > MAX_AVERAGE * len(lengths):
        average = f"{sum(lengths) / len(lengths):.1f} words a sentence"
        findings.append(Finding(shown, 1, "average", average, f"at most {MAX_AVERAGE}: write shorter sentences"))
    return findings


def files(paths: Iterable[Path]) -> list[Path]:
    """Return the files to read: the given ones and those in given folders, or all that git knows or would add."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *map(str, paths)]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(
        {ROOT / name for name in names if name.endswith(SUFFIXES) and name not in EXCLUDED and (ROOT / name).is_file()}
    )


def main(arguments: list[str]) -> int:
    """Print what breaks a rule; return the exit code."""
    paths = [Path(a).resolve() for a in arguments if a != "--counts"]
    findings = [finding for path in files(paths) for finding in check(path)]
    if "--counts" in arguments:
        rooms = Counter(f.path.parts[0] if len(f.path.parts) > 1 else str(f.path) for f in findings)
        rules = Counter(f.rule for f in findings)
        print(*(f"{count:5} {name}" for name, count in [*rooms.most_common(), *rules.most_common()]), sep="\n")
    else:
        print(*findings, sep="\n")
    print(f"prose: {len(findings)} findings")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
