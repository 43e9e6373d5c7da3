"""JUnit XML, which services of continuous integration read as the results of tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class JunitTest:
    """A test of a suite.

    Attributes:
        suite, name: the names that the service shows.
        failure: one line about the failure; None if the test passes.
        kind: the kind of the failure, one word.
        detail: further lines about the failure.
    """

    suite: str
    name: str
    failure: str | None = None
    kind: str = "failure"
    detail: str = ""


def junit(name: str, tests: Iterable[JunitTest]) -> str:
    """Return an XML document with the tests, whose suites follow one another; ``name`` is the command."""
    suites = [(suite, list(some)) for suite, some in groupby(tests, lambda test: test.suite)]
    every = [test for _, some in suites for test in some]
    root = ET.Element("testsuites", {"name": name, **_counts(every)})
    for suite, some in suites:
        inside = ET.SubElement(root, "testsuite", {"name": printable(suite), **_counts(some), "skipped": "0"})
        for test in some:
            case = ET.SubElement(inside, "testcase", classname=printable(suite), name=printable(test.name))
            if test.failure is not None:
                failure = ET.SubElement(case, "failure", type=test.kind, message=printable(test.failure))
                failure.text = printable(test.detail)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(tests: list[JunitTest]) -> dict[str, str]:
    failures = sum(test.failure is not None for test in tests)
    return {"tests": str(len(tests)), "failures": str(failures), "errors": "0"}


def printable(text: str) -> str:
    """Return the text without the control characters and surrogates that XML excludes."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
