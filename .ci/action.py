"""The steps of action.yml: `python .ci/action.py start|install|measure|comment`.

It runs before LogitLab is installed, so it needs the standard library only. INPUTS has the action's inputs as JSON.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
MARKER = "<!-- logitlab -->"  # finds the comment again
MAX_COMMENT = 65_000  # characters: a comment of GitHub holds 65,536
VERDICTS = {
    0: "every check passed",
    1: "a loss falls short, or a result is worse than the baseline; the summary and the artifact show where",
    2: "exit code 2: something cannot be measured, so nothing is known about it; the errors say why",
}
INSTALLED = "installed"


def start(inputs: dict[str, str]) -> None:
    """Choose the folders of the results and of the cache."""
    folder = tempfile.mkdtemp(prefix="logitlab-", dir=os.environ["RUNNER_TEMP"])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    output("folder", folder)
    output("cache", str(Path(os.environ["RUNNER_TEMP"]) / "logitlab-cache"))
    output("cache-key", f"logitlab-{sys.platform}-{python}-{inputs['framework'] or 'default'}")


def install(inputs: dict[str, str]) -> None:
    """Install LogitLab with the extras that it needs, and the project."""
    wanted = [] if inputs["version"] == INSTALLED else [requirement(inputs, Path())]
    index = ["--extra-index-url", inputs["torch-index"]] if inputs["torch-index"] else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *index]
    subprocess.run([*pip, *wanted, *shlex.split(inputs["install"])], check=True)


def requirement(inputs: dict[str, str], project: Path) -> str:
    """Return what pip installs as LogitLab: a version, or the action's checkout, with extras."""
    known = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    framework = inputs["framework"] or settings(project).get("framework", "")
    asked = [framework] if framework in known else []  # NumPy needs no extra
    asked += ["report"] if inputs["site"] == "true" else []
    extras = f"[{','.join(asked)}]" if asked else ""
    return f"logitlab{extras}=={inputs['version']}" if inputs["version"] else f"{CHECKOUT}{extras}"


def settings(project: Path) -> dict[str, str]:
    """Return ``[tool.logitlab]`` of the project; LogitLab reads it again and reports its errors."""
    file = project / "pyproject.toml"
    tools = tomllib.loads(file.read_text("utf-8")).get("tool", {}) if file.is_file() else {}
    table: dict[str, str] = tools.get("logitlab", {})
    return table


def measure(inputs: dict[str, str]) -> None:
    """Check the losses, compare with the baseline, make the site, and write the comment and the job's summary."""
    folder = Path(os.environ["FOLDER"])
    codes = [logitlab(command) for command in checks(inputs, folder)]
    if inputs["baseline"] or inputs["site"] == "true":
        codes.append(logitlab(run_command(inputs, folder)))
        measured = codes[-1] == 0
        if inputs["baseline"] and measured:
            base, formats = inputs["baseline"], ["--format", "text", "--format", "github", "--format", "markdown"]
            codes.append(logitlab(["compare", base, str(folder / "run"), *formats, "--out", str(folder / "compare")]))
        if inputs["site"] == "true" and measured:
            codes.append(logitlab(["report", str(folder / "run"), "--format", "html", "--out", str(folder / "site")]))
    # Other codes are signals and crashes, after which nothing is known.
    code = max(code if code in VERDICTS else 2 for code in codes)
    text = comment_text(folder, VERDICTS[code])
    (folder / "comment.md").write_text(text, "utf-8")
    append("GITHUB_STEP_SUMMARY", text)
    output("exit-code", str(code))
    print(f"::{'notice' if code == 0 else 'error'} title=LogitLab::{VERDICTS[code]}")


def checks(inputs: dict[str, str], folder: Path) -> list[list[str]]:
    """Return the arguments of each check: one for each loss of the input, or one for those of the settings."""
    common = options(inputs, "dtypes")
    common += ["--require", inputs["require"]] if inputs["require"] else []
    common += ["--format", "text", "--format", "github", "--format", "markdown", *shlex.split(inputs["arguments"])]
    losses = [line.strip() for line in inputs["loss"].splitlines() if line.strip()]
    if not losses:
        return [["check", *common, "--out", str(folder / "check")]]
    return [["check", loss, *common, "--out", str(folder / f"check-{n}")] for n, loss in enumerate(losses, 1)]


def run_command(inputs: dict[str, str], folder: Path) -> list[str]:
    """Return the arguments of the run that is compared or shown."""
    framework = inputs["framework"] or settings(Path()).get("framework", "")
    given = options(inputs | {"framework": framework}, "dtypes")
    return ["run", *given, *shlex.split(inputs["run-arguments"]), "--out", str(folder / "run")]


def options(inputs: dict[str, str], several: str) -> list[str]:
    """Return the options of the framework and the dtypes."""
    found = ["--framework", inputs["framework"]] if inputs["framework"] else []
    return found + [word for dtype in inputs[several].split() for word in ("--dtype", dtype)]


def logitlab(arguments: Sequence[str]) -> int:
    """Run a command, print an annotation if it ends with an error, and return its exit code."""
    print(f"::group::logitlab {shlex.join(arguments)}", flush=True)
    program = shutil.which("logitlab") or "logitlab"
    done = subprocess.run([program, *arguments], stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    print("::endgroup::", flush=True)
    if done.returncode not in (0, 1):
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        append("FOLDER", f"- `{lines[-1]}`\n", "errors.md")
        print(f"::error title=logitlab {arguments[0]}::{escaped(lines[-1])}", flush=True)
    return done.returncode


def comment_text(folder: Path, verdict: str) -> str:
    """Return the comment: the verdict, errors, then the report of each check and of the comparison."""
    parts = [folder / "errors.md", *sorted(folder.glob("check*/**/*.md")), *sorted((folder / "compare").glob("*.md"))]
    texts = [path.read_text("utf-8") for path in parts if path.is_file()]
    whole = "\n".join([MARKER, f"**LogitLab: {verdict}**\n", *texts])
    return whole if len(whole) <= MAX_COMMENT else whole[:MAX_COMMENT] + "\n\nThe rest is in the artifact.\n"


def comment(_: dict[str, str]) -> None:
    """Post the comment, or replace the one of an earlier run. A token that may not write gives a warning."""
    comments = f"repos/{os.environ['GITHUB_REPOSITORY']}/issues/{os.environ['ISSUE']}/comments"
    body = f"body=@{Path(os.environ['FOLDER']) / 'comment.md'}"
    chosen = f'.[] | select(.body | startswith("{MARKER}")) | .url'
    found = gh(["api", "--paginate", comments, "--jq", chosen])
    urls = found.stdout.split()
    done = gh(["api", "--method", "PATCH", urls[0], "--field", body] if urls else ["api", comments, "--field", body])
    if done.returncode:
        print(f"::warning title=LogitLab::no comment was written: {escaped(done.stderr.strip())}")


def gh(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run GitHub's command line, which its runners have."""
    return subprocess.run(["gh", *arguments], capture_output=True, text=True, check=False)  # noqa: S607 - on the PATH


def escaped(text: str) -> str:
    """Return a message for a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def output(name: str, value: str) -> None:
    """Set an output of the step."""
    append("GITHUB_OUTPUT", f"{name}={value}\n")


def append(variable: str, text: str, name: str = "") -> None:
    """Add text to the file, or to the file in the folder, that the variable names."""
    with (Path(os.environ[variable]) / name).open("a", encoding="utf-8") as file:
        file.write(text)


STEPS = {"start": start, "install": install, "measure": measure, "comment": comment}

if __name__ == "__main__":
    STEPS[sys.argv[1]](json.loads(os.environ.get("INPUTS", "{}")))
