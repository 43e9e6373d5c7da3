"""The help texts: verbs in groups, a short line for each, and examples that the parser accepts."""

import re
import shlex

import pytest
from command_line import parsed, verbs

from logitlab.cli import main
from logitlab.cli._help import GROUPS

EXAMPLE = re.compile(r"^  Example: logitlab (.*)$", re.MULTILINE)
WIDTH = 80


@pytest.fixture
def help_of(capsys, monkeypatch):
    """Return a function that gives a verb's help on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))

    def shown(*words):
        assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return shown


def test_the_help_lists_every_verb_in_one_group_and_gives_each_group_an_example(help_of):
    sections = re.split(r"^(\S.*):\n", help_of(), flags=re.MULTILINE)
    groups = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(groups) == ["Options", *GROUPS]
    listed = {title: re.findall(r"^  ([a-z]\S*) ", groups[title], re.MULTILINE) for title in GROUPS}
    assert sorted(name for names in listed.values() for name in names) == sorted({words[0] for words in verbs()})
    for title in GROUPS:
        (found,) = EXAMPLE.findall(groups[title])
        arguments = shlex.split(found)
        assert arguments[0] in listed[title]
        assert parsed(arguments).name == arguments[0]


def test_no_line_of_the_overview_is_cut_off(help_of):
    assert not re.search(r"\w\.\.\.$", help_of(), re.MULTILINE)


@pytest.mark.parametrize("words", list(verbs()), ids=" ".join)
def test_the_help_of_a_verb_ends_with_an_example_of_it_that_parses(words, help_of):
    last = help_of(*words).rstrip().splitlines()[-1]
    found = EXAMPLE.fullmatch(last)
    assert found is not None, last
    arguments = shlex.split(found[1])
    assert tuple(arguments[: len(words)]) == words
    assert parsed(arguments).name


def test_without_arguments_the_help_is_shown(help_of, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == help_of()
