"""Make the changes that CONTRIBUTING.md describes to a copy of the repository, and use them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.console import Console
from support.paths import ROOT

COPIED_PATHS = ("aiml_cli", "scripts", "tests", "docs", "completions", "CONTRIBUTING.md", "README.md", "pyproject.toml")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def read_diffs(section: str) -> str:
    """Return the changes of a section."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    body = text.split(f"## {section}", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```diff\n(.*?\n)```", body, re.DOTALL))


@pytest.fixture
def repository_copy(tmp_path: Path) -> Path:
    """Return a copy of the repository, with the compiled modules of the package."""
    place = tmp_path / "copy"
    place.mkdir()
    for part in COPIED_PATHS:
        source = ROOT / part
        ignored = None if part == "aiml_cli" else shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=ignored)
        else:
            shutil.copy(source, place / part)
    return place


@pytest.fixture
def run(repository_copy: Path) -> Run:
    """Return a function that runs Python with the package of the copy."""

    def run_python(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, "PYTHONPATH": str(repository_copy), **environ}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=repository_copy, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run_python


def apply_diffs(repository_copy: Path, section: str) -> None:
    done = subprocess.run(
        ["git", "apply", "-"],
        cwd=repository_copy,
        input=read_diffs(section),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def run_aiml(run: Run, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return run("-c", "from aiml_cli.__main__ import run; run()", *arguments, **environ)


def render_file(run: Run, generator: str) -> str:
    """Return the text of a generated file of the copy."""
    script = f"import sys; sys.path.append('scripts'); from generators import {generator}; print({generator}.render())"
    done = run("-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_request_parameter_needs_only_one_row(repository_copy: Path, run: Run) -> None:
    assert run_aiml(run, "chat", "--dry-run", "--top-k", "3", "hi").returncode == 2
    apply_diffs(repository_copy, "A request parameter")
    assert '"top_k": 3' in run_aiml(run, "chat", "--dry-run", "--top-k", "3", "hi").stdout
    assert '"top_k": 5' in run_aiml(run, "chat", "--dry-run", "hi", AIML_TOP_K="5").stdout
    refused = run_aiml(run, "chat", "--demo", "--top-k", "0", "hi")
    assert (refused.returncode, refused.stderr) == (2, "aiml: --top-k: '0' is not a whole number of at least 1\n")
    assert run_aiml(run, "chat", "--demo", "-q", "--top-k", "3", "hi").returncode == 0
    assert run_aiml(run, "chat", "--demo", "-q", "-O", "top_k=0", "hi").returncode == 4  # the demo server knows it too


def test_the_generated_files_include_the_new_row(repository_copy: Path, run: Run) -> None:
    apply_diffs(repository_copy, "A request parameter")
    names = {"docs/options.md": "--top-k", "docs/help.md": "--top-k", "completions/aiml.fish": "-l top-k"}
    done = run("scripts/generate.py")
    assert (done.returncode, done.stderr) == (0, "")
    for name, flag in names.items():
        assert f"wrote {name}\n" in done.stdout
        assert flag in (repository_copy / name).read_text("utf-8")
    assert run("scripts/generate.py", "--check").returncode == 0


def test_the_tests_of_the_option_table_pass_for_the_new_row(repository_copy: Path, run: Run) -> None:
    apply_diffs(repository_copy, "A request parameter")
    files = ["tests/cli/test_flags.py", "tests/settings/test_resolve.py"]
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(repository_copy / "base")]
    done = run("-m", "pytest", *options, "-k", "top_k or top-k", *files)
    assert done.returncode == 0, done.stdout


def test_an_output_format_needs_only_a_renderer(repository_copy: Path, run: Run) -> None:
    apply_diffs(repository_copy, "An output format")
    answer = run_aiml(run, "chat", "--demo", "-q", "--format", "quoted", "-m", "demo/markdown", "hi")
    assert answer.returncode == 0
    assert answer.stdout.count("\n") > 10
    assert all(line.startswith("> ") for line in answer.stdout.splitlines())
    assert "quoted" in render_file(run, "help")


def test_a_slash_command_needs_only_a_function(repository_copy: Path, run: Run) -> None:
    apply_diffs(repository_copy, "A slash command")
    assert "Count the words of the last answer." in render_file(run, "repl")
    with Console("chat", "--demo", TERM="dumb", PYTHONPATH=str(repository_copy)) as console:
        console.wait_for_prompt()
        console.type_line("/count")
        console.wait_until("aiml: 0 words")
        assert console.leave() == 0
