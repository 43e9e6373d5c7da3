"""The prose check: each rule reports a sentence that breaks it and accepts the plain one, in every kind of file."""

import json
import subprocess
import sys

import prose
import prose_texts
import pytest

BAD_AND_GOOD = {
    "word": ("New cells are told.", "New cells are reported."),
    "of its own": ("Each call has a process of its own.", "Each call has its own process."),
    "what is": ("It keeps what is finished.", "It keeps finished parts."),
    "opens with what": ("What the system refuses becomes an error.", "An OSError becomes a UsageError."),
    "whether there": ("Whether there is a run to continue.", "Whether the folder holds a run."),
    "is none": ("They are reported and are none.", "There are none in the run."),
    "is no": ("That value is no class.", "That value is not a class, and there is no limit."),
    "for nothing": ("A truncated line counts for nothing.", "A truncated line is ignored."),
    "says so": ("The table says so.", "The table has the status `unsupported`."),
    "goes on": ("The search goes on.", "The search continues."),
    "from here on": ("From here on it ends with its parent.", "It ends when its parent dies."),
    "without a word": ("It trains without a word.", "It trains silently."),
    "inversion": ("A loss is finite, and so is its gradient.", "A loss and its gradient are finite."),
    "long sentence": (" ".join(["word"] * 31) + ".", " ".join(["word"] * 30) + "."),
}


def rules(path):
    return [finding.rule for finding in prose.check(path)]


def test_every_rule_has_an_example():
    assert {rule.name for rule in prose.RULES} <= set(BAD_AND_GOOD)


@pytest.mark.parametrize("rule", BAD_AND_GOOD)
def test_each_rule_reports_the_bad_sentence_alone(rule, tmp_path):
    bad, good = BAD_AND_GOOD[rule]
    page = tmp_path / "page.md"
    page.write_text(f"{good}\n\n{bad}\n")
    assert [(f.rule, f.line) for f in prose.check(page)] == [(rule, 3)]


@pytest.mark.parametrize("word", ["told", "mend", "mends", "mended", "offence", "offences", "begun", "anew", "whoever"])
def test_words_of_the_style_guide_are_reported(word, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"The run is {word} here.\n")
    assert rules(page) == ["word"]


def test_a_word_in_code_is_not_checked(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("The name `told` is old.\n\n```\nThis is told.\n```\n\n{% set told = 1 %}\n")
    assert rules(page) == []


def test_a_long_page_has_a_limit_on_the_average(tmp_path):
    page = tmp_path / "page.md"
    sentence = " ".join(["Word"] * 21) + ".\n\n"
    page.write_text(sentence * (prose.AVERAGED - 1))
    assert rules(page) == []
    page.write_text(sentence * prose.AVERAGED)
    assert rules(page) == ["average"]


MODULE = '''"""What this holds."""

# A run that is told.
LIMIT = 1  # told


def told(spent, plain):
    """Return the sum.

    Args:
        spent: told in seconds
    """
    raise ValueError(f"the value {plain} is told to the user")
'''


def test_python_docstrings_comments_messages_and_names_are_read(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    assert sorted((f.line, f.rule) for f in prose.check(module)) == [
        (1, "first line"), (3, "word"), (4, "word"), (7, "name"), (7, "name"), (11, "word"), (13, "word"),
    ]  # fmt: skip


def test_a_docstring_that_says_what_is_returned_is_accepted(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('def f():\n    """Return the value.\n\n    What a caller needs: nothing.\n    """\n')
    assert rules(module) == ["opens with what"]
    module.write_text('def f():\n    """Return the value."""\n')
    assert rules(module) == []


def test_a_query_or_a_program_in_a_string_is_not_prose():
    for query in ("SELECT what is told FROM the table WHERE it is old", "CREATE the table that is told of old"):
        assert prose_texts.python_texts(f'q = "{query}"') == [prose_texts.Text(1, "name", "q")]


def test_code_after_two_colons_in_a_docstring_is_not_prose():
    block = "It is read.\n\n    Run it::\n\n        told = 1\n\n        told += 1\n\n    It is fixed."
    found = prose_texts.python_texts(f'def f():\n    """{block}"""\n')
    assert [(t.line, t.words) for t in found if t.kind != "name"] == [
        (2, "It is read."), (4, "Run it::"), (10, "It is fixed."),
    ]  # fmt: skip


def test_the_headings_of_a_template_may_open_with_what(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<h2>What breaks them</h2>\n<p>What breaks them</p>\n<p>One <b>more</b> line</p>")
    assert [(f.rule, f.line) for f in prose.check(page)] == [("opens with what", 2)]


def test_templates_are_read_without_scripts_and_jinja(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<h1>Title</h1>\n<p>\nThis is {{ told }} and\ntold.</p><script>told is told</script>{# told #}")
    assert [(f.rule, f.line) for f in prose.check(page)] == [("word", 3)]


def test_markdown_cells_and_comments_of_a_notebook_are_read(tmp_path):
    cells = [("markdown", "It is told."), ("code", "x = 1  # the value is told"), ("raw", "told")]
    book = {"cells": [{"cell_type": kind, "source": [source]} for kind, source in cells]}
    page = tmp_path / "page.ipynb"
    page.write_text(json.dumps(book))
    assert rules(page) == ["word", "word"]


def test_table_cells_and_list_items_are_sentences_by_themselves(tmp_path):
    words = " ".join(["word"] * 20)
    page = tmp_path / "page.md"
    page.write_text(f"| a | b |\n|---|---|\n| {words} | {words} |\n\n- {words}\n- {words}\n")
    assert rules(page) == []


def test_abbreviations_and_numbers_do_not_end_a_sentence():
    text = prose_texts.Text(1, "paragraph", "Losses, e.g. NaN, are 3.5 by N. J. Higham. The next\nbegins. And ends.")
    assert list(prose.sentences(text)) == [
        (1, "Losses, e.g. NaN, are 3.5 by N. J. Higham."), (1, "The next begins."), (2, "And ends."),
    ]  # fmt: skip


def test_the_command_line_prints_file_line_rule_and_sentence(tmp_path):
    inside = prose.ROOT / "docs" / "index.md"
    done = subprocess.run(
        [sys.executable, prose.ROOT / ".ci" / "prose.py", inside], capture_output=True, text=True, check=False
    )
    found = len(prose.check(inside))
    assert done.stdout.splitlines()[-1] == f"prose: {found} findings"
    assert done.returncode == (found > 0)
    finding = prose.Finding(inside, 3, "word", "New cells are told.", "write: reported")
    assert str(finding).endswith("index.md:3: word: 'New cells are told.' (write: reported)")
