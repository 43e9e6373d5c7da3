"""Run a workflow on this machine with `act`, which interprets workflows as GitHub does, without its network.

Steps with `run:` run as they are. The actions of GitHub that download something are replaced by ones that record what
they are given; `actions/checkout` is act's own, which copies the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

# The actions that are replaced, with the inputs that their own action.yml declares.
REPLACED = {
    "actions/setup-python@v5": ["python-version"],
    "actions/cache@v4": ["path", "key", "restore-keys"],
    "actions/upload-artifact@v4": ["name", "path"],
}
RECORDER = """
import json, os, pathlib, shutil
name, given = os.environ["NAME"], json.loads(os.environ["GIVEN"])
folder = pathlib.Path(os.environ["RECORD"], name)
folder.mkdir()
(folder / "inputs.json").write_text(json.dumps(given))
if name == "upload-artifact":
    shutil.copytree(given["path"], folder / "files")
"""
# GitHub's command line, which records its arguments and the comment, and knows of no earlier one.
GH = """#!/bin/sh
echo "$@" >> "$RECORD/gh"
for word in "$@"; do
  case "$word" in body=@*) cp "${word#body=@}" "$RECORD/comment.md" ;; esac
done
"""


@dataclass(frozen=True)
class Done:
    """A workflow that has run.

    Attributes:
        code: 0 if every job succeeded.
        log: the output of act.
        record: the folder with the inputs of the replaced actions, the artifact and the comment.
    """

    code: int
    log: str
    record: Path

    def inputs(self, action: str) -> dict[str, str]:
        """Return the inputs that a replaced action got, by its name without its owner."""
        return json.loads((self.record / action / "inputs.json").read_text())

    @property
    def artifact(self) -> Path:
        return self.record / "upload-artifact" / "files"

    @property
    def comment(self) -> str:
        return (self.record / "comment.md").read_text()

    @property
    def annotations(self) -> list[str]:
        """The workflow commands that GitHub shows as annotations."""
        return [line[line.index("::") :] for line in self.log.splitlines() if "::error" in line or "::notice" in line]


def tool(name: str) -> str:
    """Return a program of the extra `dev`, beside this Python or on the PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found is not None, f"{name} is not installed; `make lint` installs it with the extra dev"
    return found


def commit(folder: Path) -> None:
    """Make the folder a git repository of one commit."""
    git = [shutil.which("git") or "git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "files"]):
        subprocess.run([*git, *words], check=True, capture_output=True)


def checkout(root: Path, folder: Path) -> None:
    """Copy the files of a repository that git knows or would add, as a fresh checkout has them."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)


def run_workflow(workspace: Path, scratch: Path, python: Path, event: str = "pull_request") -> Done:
    """Run the workflows of a repository.

    Args:
        workspace: the repository, with a commit.
        scratch: an empty folder for everything that the run writes.
        python: the folder of the `python` that steps run.
        event: the event that starts it.
    """
    record, path = scratch / "record", scratch / "bin"
    record.mkdir()
    path.mkdir()
    (path / "gh").write_text(GH)
    (path / "gh").chmod(0o755)
    (scratch / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    command = [
        tool("act"), event, "--platform", "ubuntu-latest=-self-hosted", "--action-offline-mode", "--no-cache-server",
        "--action-cache-path", str(scratch / "actions"), "--eventpath", str(scratch / "event.json"),
        "--env", f"RECORD={record}", "--secret", "GITHUB_TOKEN=none",
    ]  # fmt: skip
    for name, inputs in REPLACED.items():
        command += ["--local-repository", f"{name}={_recorder(scratch / 'replaced', name, inputs)}"]
    environment = os.environ | {"PATH": os.pathsep.join([str(python), str(path), os.environ["PATH"]])}
    # A shim of another Python's environment would win over the given one.
    environment.pop("PYTHONHOME", None)
    done = subprocess.run(
        command, cwd=workspace, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    return Done(done.returncode, done.stdout + done.stderr, record)


def _recorder(folder: Path, name: str, inputs: list[str]) -> Path:
    """Write an action that records its inputs, and return its folder."""
    place = folder / name.partition("@")[0]
    place.mkdir(parents=True)
    short = place.name
    step = {
        "shell": "bash", "run": f"python - <<'END'\n{RECORDER}\nEND\n",
        "env": {"NAME": short, "GIVEN": "${{ toJSON(inputs) }}"},
    }  # fmt: skip
    declared = {name: {"description": name} for name in inputs}
    action = {
        "name": short, "description": short, "inputs": declared, "runs": {"using": "composite", "steps": [step]}
    }  # fmt: skip
    (place / "action.yml").write_text(yaml.safe_dump(action))
    commit(place)
    return place
