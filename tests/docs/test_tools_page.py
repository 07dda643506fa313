"""The commands of docs/tools.md: each block runs as written, one after the other, with the demo server."""

import os
import re
import subprocess
from pathlib import Path

from support.forked_process import install_program
from support.paths import ROOT

PAGE = (ROOT / "docs/tools.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# What each block prints on standard output, at least.
PRINTED_TEXTS = ["in Paris", "Hello, Ada!", "42", "exit code 9", '"row": 2', "exit code 8", "in Paris"]


def test_every_block_runs_and_prints_what_is_expected(empty_home: Path) -> None:
    environment = {**os.environ, "PATH": install_program(empty_home / "bin")}
    printed = []
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=empty_home, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert [expected in text for expected, text in zip(PRINTED_TEXTS, printed, strict=True)] == [True] * len(
        PRINTED_TEXTS
    )


def test_the_output_shown_for_the_first_example_is_the_actual_one(empty_home: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", BLOCKS[0]], env={**os.environ, "PATH": install_program(empty_home / "bin")}, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    shown = PAGE.partition(BLOCKS[0] + "```\n\n```\n")[2].partition("```")[0]
    lines = [line for line in shown.splitlines() if line]
    assert [line for line in lines if not line.startswith("aiml:")] == [
        line for line in done.stdout.splitlines() if line
    ]
    announced = [re.sub(r"\d\.\d s", "", line) for line in lines if line.startswith("aiml:")]
    assert announced == [re.sub(r"\d\.\d s", "", line) for line in done.stderr.splitlines()[1:]]


def test_the_list_of_threats_has_ten_entries() -> None:
    section = PAGE.partition("## What can go wrong")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d+)\. ", section, re.MULTILINE) == [str(number) for number in range(1, 11)]
