"""Every error is one line that names the wrong value and ends with a command or an instruction."""

import re

import pytest
from command_line import verbs

from logitlab.cli import main

pytestmark = pytest.mark.usefixtures("in_this_process")

# A command in backticks as the last words, or a last clause that says what to do.
COMMAND = re.compile(r"`([^`]+)`$")
INSTRUCTION = re.compile(
    r"; (?:choose|give|expected|leave|remove|add|set|run|write|to start a run there, leave) [^;]+$"
)
# An audit tries its first losses before it knows that the function is not a test.
PROGRESS = re.compile(r" *\d+%  ")

# Each bad command line, and the words of it that the error repeats.
BAD = {
    "run --case nope/*": "'nope/*'",
    "run --dtype float8": "'float8'",
    "run --framework mxnet": "'mxnet'",
    "run --implementation numpy/x --framework numpy": "'numpy/x'",
    "run --framework numpy --device abacus": "'abacus'",
    "run --framework numpy --mode fast": "'fast'",
    "run --variant fast": "'fast'",
    "run --oracle tarot": "'tarot'",
    "run --quick --dtype float32": "--dtype",
    "run --sweep size=1": "'size'",
    "run --sweep scale=": "'scale='",
    "run --sweep scale=x": "'x'",
    "run --sweep scale=-1:1:3log": "'scale=-1:1:3log'",
    "run --sweep classes=0": "'classes=0'",
    "run --logits nowhere.npz": "nowhere.npz",
    "run --logits other.csv": "'.csv'",
    "run --case-file nowhere.json": "nowhere.json",
    "run --ignore-index -100": "--ignore-index",
    "run --logits nowhere.npz --reduction average": "'average'",
    "run --logits nowhere.npz --label-smoothing 2": "2.0",
    "run --logits nowhere.npz --weight nowhere.npy": "nowhere.npy",
    "run --resume": "--resume",
    "run --resume --out nowhere": "nowhere",
    "run --timeout 0": "--timeout",
    "run --swift": "--swift",
    "report nowhere": "nowhere",
    "report folder": "folder",
    "report folder --format papyrus": "'papyrus'",
    "pack nowhere packed": "nowhere",
    "compare nowhere folder": "nowhere",
    "compare other.csv other.csv": "other.csv",
    "compare folder folder --factor 0.5": "0.5",
    "compare folder": "BASE and NEW",
    "baseline nowhere file.json": "nowhere",
    "baseline folder other.csv": "other.csv",
    "doctor nowhere": "nowhere",
    "explain seed/* --implementation numpy/lse": "'seed/*'",
    "explain seed/article --implementation numpy/lse --row 9": "9",
    "explain offset/1e30 --implementation numpy/lse --dtype float16": "offset/1e30",
    "explain": "'CASE'",
    "reproduce seed/* --implementation numpy/lse": "'seed/*'",
    "reproduce seed/article --implementation numpy/none": "'numpy/none'",
    "reproduce": "'CASE'",
    "exhaustive --dtype float32": "float32",
    "exhaustive --framework mxnet": "'mxnet'",
    "hunt numpy/lse --by size": "'size'",
    "hunt numpy/lse --quantity accuracy": "'accuracy'",
    "hunt numpy/lse --case weights/*": "weights/*",
    "hunt numpy/lse --out other.csv": "other.csv",
    "largest": "no source",
    "largest nowhere": "nowhere",
    "largest nowhere --quantity accuracy": "'accuracy'",
    "largest nowhere --format html": "'html'",
    "largest --case-file other.csv": "without implementations",
    "check losses --framework numpy": "'losses'",
    "check nowhere:loss --framework numpy": "'nowhere'",
    "check shlex:loss --framework numpy": "'loss'",
    "check math:pi --framework numpy": "math:pi",
    "check shlex:split --framework numpy --require E": "'E'",
    "check shlex:split --framework mxnet": "'mxnet'",
    "audit": "no test",
    "audit shlex:split --shape 4,5": "--shape",
    "audit nowhere:test --framework numpy": "'nowhere'",
    "audit math:pi --framework numpy": "math:pi",
    "audit shlex:split --framework mxnet": "'mxnet'",
    "audit shlex:split --framework numpy --kind speed": "'speed'",
    "audit --shape 4": "'4'",
    "audit --shape 4,5 --values sin": "'sin'",
    "audit --shape 4,5 --format html": "'html'",
    "history": "RUN",
    "history nowhere": "nowhere",
    "history folder": "folder",
    "history nowhere --format latex": "'latex'",
    "matrix --with scipy==1.14.1": "1",
    "matrix --with scipy== --with scipy==1.14.1": "'scipy=='",
    "cases nope": "'nope'",
    "cases --tag nope": "'nope'",
    "cases --family seed --tag field": "field",
    "cases show seed/nope": "'seed/nope'",
    "cases show seed/article --row 9": "9",
    "cases show offset/1e30 --dtype float16": "offset/1e30",
    "train-demo --model three-layer": "'three-layer'",
    "train-demo --rate -1": "-1",
    "train-demo --steps 0": "0",
    "cache clear paddle": "'paddle'",
    "frameworks --all": "--all",
    "schema nope": "'nope'",
    "measure": "'measure'",
}


@pytest.mark.parametrize("line", BAD)
def test_an_error_names_the_wrong_value_and_ends_with_advice(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("1,2\n")
    (tmp_path / "folder").mkdir()
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    lines = [text for text in captured.err.splitlines(keepends=True) if not PROGRESS.match(text)]
    message = "".join(lines).removeprefix("logitlab: ").removesuffix("\n")
    assert captured.out == ""
    assert message.splitlines() == [message]
    assert BAD[line] in message
    command = COMMAND.search(message)
    if command is None:
        assert INSTRUCTION.search(message), message
    elif command[1].startswith("logitlab "):
        assert command[1].split()[1] in {"--help", *(words[0] for words in verbs())}


def test_every_verb_has_a_bad_command_line_here():
    assert {line.split()[0] for line in BAD} >= {words[0] for words in verbs()}
