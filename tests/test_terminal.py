"""Output in a pull request, a terminal and a notebook: its length, its width, and its words without colour."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import logitlab
from logitlab import reports
from logitlab.core.errors import UsageError
from logitlab.reports import _markdown, _overview, _terminal
from logitlab.reports.charts.palette import GRADE_COLOURS
from logitlab.storage.manifest import Manifest
from logitlab.storage.store import Run, typed

# The longest names of a default run, and enough of them.
LONG = [
    "keras-torch/losses.SparseCategoricalCrossentropy[from_logits,dtype]",
    "tensorflow/keras.losses.sparse_categorical_crossentropy[from_logits]",
    "jax/optax.softmax_cross_entropy_with_integer_labels",
    "torch/F.linear_cross_entropy[chunked,accurate]",
]
NAMES = [*LONG, *(f"framework{i % 7}/module{i}.function_of_many_words_{i}[option]" for i in range(56))]
DTYPES = ("float16", "bfloat16", "float32", "float64")
MODES = ("eager", "graph", "compiled")
WIDTHS = (80, 100)
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def manifest(**changes):
    return Manifest.parse({
        "run": "2026-01-01", "frameworks": {"torch": {"torch": "2.13.0+cpu"}}, "versions": {"logitlab": "0.1.0"},
        "missing": {}, "left_out": [], "complete": True, "catalogue": {"cases": ["f/a"], "hash": "abc" * 20},
        "hardware": {"processor": "A processor", "machine": "", "system": "Linux"},
    } | changes)  # fmt: skip


def large():
    """Return 60 different implementations in 4 dtypes and 3 modes, with an error in each."""
    random = np.random.default_rng(0)
    lines = [
        (name, dtype, mode, quantity, case)
        for name in NAMES for dtype in DTYPES for mode in MODES for quantity in ("loss", "gradient")
        for case in ("seed/article", f"family_{len(name) % 9}/a_long_name_of_a_case", "sweep_scale/1", "sweep_scale/9")
    ]  # fmt: skip
    df = pd.DataFrame(lines, columns=["implementation", "dtype", "mode", "quantity", "case"])
    df["grade"] = random.choice(list("ABCDF"), len(df))
    df["framework"] = df["implementation"].str.partition("/")[0]
    df["family"] = df["case"].str.partition("/")[0]
    df["max_ulp"] = np.where(df["grade"] == "F", np.inf, random.uniform(0, 1e7, len(df)))
    df["finite"] = df["grade"] != "F"
    df = df.assign(
        row=0, classes=3, device="cpu", formula="builtin", status="ok", expected_finite=True, n_nan=0, value=0.417
    )
    faults = [
        {"status": "raised", "grade": None, "case": f"g/{i}", "detail": f"Error {i}: {'long ' * 200}"}
        for i in range(40)
    ]
    return typed(
        pd.concat([df, pd.DataFrame([df.iloc[i].to_dict() | f for i, f in enumerate(faults)])], ignore_index=True)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run.create(tmp_path_factory.mktemp("runs") / "run", manifest())
    made.write(0, large())
    return made


@pytest.fixture(scope="module")
def page(run):
    return reports.make_report([run])


# --- a pull request ---------------------------------------------------------------------------------------------


def few(**changes):
    base = {
        "case": "f/a", "family": "f", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "formula": "builtin", "dtype": "float32", "device": "cpu", "mode": "eager", "quantity": "loss", "status": "ok",
        "grade": "A", "finite": True, "expected_finite": True, "n_nan": 0, "max_ulp": 0.5, "value": 1.0, "exact": 1.0,
    }  # fmt: skip
    return base | changes


def markdown(tmp_path, *lines, whole=False, **facts):
    run = Run.create(tmp_path / "run", manifest(**facts))
    run.write(0, typed(pd.DataFrame(list(lines))))
    return _markdown.markdown(reports.make_report([run]), whole=whole)


def cells_of(text):
    """Return the cells of the tables in Markdown."""
    lines = [line.strip("| ") for line in text.split("\n") if line.startswith("|")]
    return [cell.strip().replace("\\|", "|") for line in lines for cell in re.split(r"(?<!\\)\|", line)]


def test_the_markdown_of_the_largest_run_fits_one_screen(page):
    text = _markdown.markdown(page)
    assert text.count("\n") <= _markdown.MAX_LINES == 40
    assert max(map(len, cells_of(text))) <= _markdown.MAX_CELL == 80
    assert "`logitlab report RUN --all` prints every table." in text
    for title in ("## Losses by grade", "## Losses of each grade by dtype, mode and device", "## Not measured"):
        assert title in text


def test_three_findings_stand_on_top_of_the_markdown(page):
    findings = [line for line in _markdown.markdown(page).split("\n") if re.match(r"\d\. ", line)]
    assert [line[:2] for line in findings] == ["1.", "2.", "3."]
    assert f"of {len(NAMES)} losses are safe in float32**" in findings[0]
    assert "get F on `" in findings[1]


def test_every_loss_is_counted_in_the_markdown(page):
    rows = re.search(r"## Losses by grade\n\n(.*?)\n\n", _markdown.markdown(page), re.DOTALL).group(1).split("\n")[2:]
    assert sum(int(row.split(" | ")[1]) for row in rows) == len(NAMES)


def test_all_gives_the_markdown_every_name(page):
    text = _markdown.markdown(page, whole=True)
    assert all(f"`{name}`" in text for name in NAMES)
    assert " more" not in text


def test_losses_of_one_grade_and_case_are_one_line_the_worst_first(tmp_path):
    text = markdown(
        tmp_path, few(), few(implementation="x/b"), few(implementation="y/c", framework="y"),
        few(implementation="x/bad", grade="F", finite=False, case="f/worst", verdict="nan", value=np.nan),
    )  # fmt: skip
    table = re.search(r"## Losses by grade\n\n(.*?)\n\n", text, re.DOTALL).group(1).split("\n")
    assert table[0] == "| grade | count | losses | case | result |"
    assert table[2:] == [
        "| **F** | 1 | `x/bad` | `f/worst` | the loss is NaN where 1 is exact |",
        "| A | 3 | `x/loss`, `x/b`, `y/c` |  |  |",
    ]


def test_other_modes_are_counted_by_grade(tmp_path):
    same, worse = few(mode="compiled"), few(implementation="x/b", mode="compiled", grade="F", finite=False)
    text = markdown(tmp_path, few(), same, few(implementation="x/b"), worse, few(implementation="x/eager_alone"))
    table = text.partition("## Losses of each grade by dtype, mode and device\n\n")[2].split("\n\n")[0].split("\n")
    assert table[2:] == ["| `float32` | 3 | 0 | 0 | 0 | 0 |", "| `float32 compiled` | 1 | 0 | 0 | 0 | 1 |"]


def test_faults_are_listed_and_unsupported_calls_counted(tmp_path):
    text = markdown(
        tmp_path, few(), few(case="f/b", status="raised", grade=None, detail="ValueError: no"),
        few(case="f/c", status="unsupported", grade=None, detail="no weight"),
    )  # fmt: skip
    assert "| `x/loss` | raised | `ValueError: no` | 1 |" in text
    assert "Reported as unsupported by the framework: 1 measurement." in text


def test_provenance_is_one_line_that_says_when_a_run_is_not_complete(tmp_path):
    text = markdown(tmp_path, few(), complete=False)
    (line,) = [line for line in text.split("\n") if line.startswith("Run ")]
    for word in ("2026-01-01", "LogitLab 0.1.0", "torch 2.13.0+cpu", "A processor", "1 case", "NOT COMPLETE"):
        assert word in line


def test_a_run_without_a_grade_is_reported(tmp_path):
    assert "Nothing could be graded." in markdown(tmp_path, few(status="crashed", grade=None, detail="died"))


HOSTILE = "x/<script>alert(1)</script> `code` | [link](javascript:x) @someone #12\n# heading " + "w" * 10_000


def test_words_that_are_data_stay_data(tmp_path):
    text = markdown(
        tmp_path,
        few(implementation=HOSTILE),
        few(device=r"<script>\|", mode="@someone", implementation="a"),
        few(case="f/b", status="raised", grade=None, detail=HOSTILE),
    )
    assert text.count("\n") <= _markdown.MAX_LINES
    assert max(map(len, cells_of(text))) <= _markdown.MAX_CELL
    assert not any(line.startswith("# heading") for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) < 600
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "script" not in outside
    assert "@someone" not in outside
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().split("\n")}
        assert len(widths) == 1


# --- a terminal -------------------------------------------------------------------------------------------------


def screen(page, width):
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(_overview.overview(page, width), soft_wrap=True)
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_of_the_largest_run_fits_one_screen(page, width):
    lines = screen(page, width).splitlines()
    assert len(lines) <= _overview.MAX_LINES == 45
    assert max(len(line) for line in lines if not line.startswith("  logitlab ")) <= width


def test_the_summary_counts_every_loss(page):
    text = screen(page, 100)
    assert f"of {len(NAMES)} losses are safe in float32" in text
    counted = [int(number) for number in re.findall(r"\((\d+) loss(?:es)?\)$", text, re.MULTILINE)]
    left = [int(number) for number in re.findall(r"^and (\d+) more loss", text, re.MULTILINE)]
    assert sum(counted + left) == len(NAMES)


def test_the_summary_ends_with_the_commands_to_run_next(page):
    commands = [line.split() for line in screen(page, 100).splitlines() if line.startswith("  logitlab ")]
    folder = str(page.folders[0])
    assert commands[0][:2] == ["logitlab", "explain"]
    assert commands[1:] == [["logitlab", "report", folder, "--all"], ["logitlab", "report", folder, "--format", "html"]]


def test_the_summary_of_a_damaged_run_still_fits_one_screen(run):
    damaged = replace(reports.make_report([run]), damage=[f"part {i} is damaged {'very ' * 60}" for i in range(9)])
    lines = screen(damaged, 100).splitlines()
    assert len(lines) <= _overview.MAX_LINES
    assert lines[0].startswith("This report is partial: part 0 is damaged")
    assert "This report is partial: 6 more faults; `logitlab doctor RUN` lists them" in lines


def test_the_summary_is_what_a_report_prints_and_all_prints_the_tables(small, capsys):
    reports.write(small, ["text"])
    summary = capsys.readouterr().out
    reports.write(small, ["text"], whole=True)
    tables = capsys.readouterr().out
    assert "losses are safe in float32" in summary
    assert "Errors of the loss" not in summary
    assert "Errors of the loss" in tables


def printed(page, width, **options):
    file = io.StringIO()
    Console(file=file, width=width, **options).print(_terminal.text(page, width))
    return file.getvalue()


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """Return a report of the longest names, and of a few others."""
    df = large()
    made = Run.create(tmp_path_factory.mktemp("runs") / "names", manifest())
    made.write(0, df[df["implementation"].isin(NAMES[:8]) & df["mode"].isin(MODES[:2])])
    return reports.make_report([made])


@pytest.fixture(scope="module", params=WIDTHS)
def text(request, long_names):
    return request.param, printed(long_names, request.param, color_system=None)


def test_no_line_is_wider_than_the_terminal(text):
    width, words = text
    assert max(map(len, words.split("\n"))) <= width


@pytest.mark.parametrize("name", LONG)
def test_a_long_name_is_folded_and_not_cut(text, name):
    _, words = text
    first_column = "".join(line[:33].rstrip().removeprefix(" ").removeprefix("  ") for line in words.split("\n"))
    pieces = [piece for piece in re.split(r"(?<=[/._,])|(?=\[)", name) if len(piece) <= 12]
    assert all(piece in first_column for piece in pieces)
    assert "…" not in words


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_broken(long_names, width):
    (section,) = [s for s in long_names.sections if s.name == "errors_loss"]
    whole = {word for cell in section.shown[list(DTYPES)].to_numpy().ravel() for word in cell.split()}
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(_terminal._table(section, width))
    numbers = [
        word for line in file.getvalue().split("\n")[4:] for word in line.split() if re.match(r"[\d.]+e?|inf", word)
    ]
    assert set(numbers) <= whole


def test_grades_are_coloured_where_the_terminal_has_colours(small_page):
    text = printed(small_page, 100, force_terminal=True, color_system="truecolor", no_color=False)
    red, green, blue = (int(GRADE_COLOURS["F"][i : i + 2], 16) for i in (1, 3, 5))
    assert f"\x1b[1;38;2;{red};{green};{blue}mF\x1b[0m" in text


def test_no_color_removes_the_colours_and_keeps_the_words(small_page, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    page = small_page
    text = printed(page, 100, force_terminal=True, color_system="truecolor")
    assert not re.search(r"\x1b\[[\d;]*[34]8;", text)
    assert ESCAPE.sub("", text) == printed(page, 100, color_system=None)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = Run.create(tmp_path_factory.mktemp("runs") / "small", manifest())
    made.write(
        0,
        typed(
            pd.DataFrame(
                [few(implementation=n, dtype=d, grade=g) for n in LONG for d, g in zip(DTYPES, "ABCF", strict=True)]
            )
        ),
    )
    return made


@pytest.fixture(scope="module")
def small_page(small):
    return reports.make_report([small])


def test_a_pipe_gets_no_escapes_and_a_hundred_columns(small, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    reports.write(small, ["text"])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    # A command is not wrapped, so that it can be copied.
    assert max(len(line) for line in text.split("\n") if not line.startswith("  logitlab ")) <= 100
    assert max(map(len, text.split("\n"))) > 80


def test_a_pipe_is_as_wide_as_columns_says(small, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    reports.write(small, ["text"])
    lines = capsys.readouterr().out.split("\n")
    assert max(len(line) for line in lines if not line.startswith("  logitlab ")) <= 80


def test_markup_in_a_name_is_shown_as_text(tmp_path):
    run = Run.create(tmp_path / "run", manifest(run="[bold]r[/bold]"))
    run.write(0, typed(pd.DataFrame([few(implementation="x/[red]loss[/red]")])))
    text = printed(reports.make_report([run]), 100, color_system=None)
    assert "[bold]r[/bold]" in text
    assert "x/[red]loss[/red]" in text


# --- a notebook -------------------------------------------------------------------------------------------------


def test_grades_are_coloured_letters():
    table = pd.DataFrame({"float16": list(GRADE_COLOURS), "float32": ["unsupported", None, "A", "A", "A"]})
    html = logitlab.style(table).to_html()
    for grade, colour in GRADE_COLOURS.items():
        ids = re.search(rf"((?:#T_\w+, )*#T_\w+) \{{\s*background-color: {colour};", html)
        assert ids is not None
        first = ids.group(1).split(", ")[0].removeprefix("#")
        assert re.search(rf'id="{first}"[^>]*>{grade}<', html)


def test_numbers_are_formatted_by_their_kind():
    table = pd.DataFrame(
        {
            "loss largest": [np.inf, 1234567.0, np.nan],
            "finite where it should be": [1.0, 0.5, 0.0],
            "rows": [1234, 5, 6],
        }
    )
    html = logitlab.style(table).to_html()
    cells = re.findall(r"<td [^>]*>([^<]*)</td>", html)
    assert cells == ["∞", "100.0%", "1,234", "1.23e+06", "50.0%", "5", "", "0.0%", "6"]


def test_a_table_of_measurements_is_styled_as_it_comes(page):
    part = page.source.frame().head(20)
    html = logitlab.style(part)._repr_html_()
    assert html.count("<tr>") == 21
    assert GRADE_COLOURS[part["grade"].iloc[0]] in html


def test_words_in_a_styled_table_are_escaped():
    html = logitlab.style(pd.DataFrame({"implementation": ["<script>alert(1)</script>"], "grade": ["A"]})).to_html()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_styling_does_not_change_the_table():
    table = pd.DataFrame({"grade": ["A", "A"]}, index=[3, 3])
    logitlab.style(table).to_html()
    assert table.index.to_list() == [3, 3]


def test_styling_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.setattr("logitlab.reports._style.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="jinja2"):
        logitlab.style(pd.DataFrame())
