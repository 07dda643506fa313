"""The commands of docs/cmd.md: each sh block runs as written, with the demo server."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.forked_process import install_program
from support.paths import ROOT

from aiml_cli.cli.commands.cmd import PROMPT

PAGE = (ROOT / "docs/cmd.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_of_the_page_runs(block: str, empty_home: Path) -> None:
    (empty_home / "Makefile").write_text("test:\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=empty_home, env={**os.environ, "PATH": install_program(empty_home / "bin")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_page_shows_the_actual_question() -> None:
    assert PAGE.count(PROMPT.strip()) == 2
