"""Which share of the rows is ours."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback
from support.paths import ROOT

from aiml_cli.batch.rows import parse_shard
from aiml_cli.errors import UsageError

SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("said", "environ", "found"),
    [
        (None, {}, (0, 1)),
        ("2/8", {}, (1, 8)),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_STEP": "2"}, (2, 4)),
        ("auto/9", SLURM, (4, 9)),
        ("auto/8", {"SLURM_ARRAY_TASK_ID": "3"}, (2, 8)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "0"}, (0, 5)),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, (2, 3)),
    ],
)
def test_schedulers_are_understood(said: str | None, environ: Mapping[str, str], found: tuple[int, int]) -> None:
    assert parse_shard(said, environ) == found


@pytest.mark.parametrize(
    ("said", "environ"),
    [
        ("auto", {}),
        ("auto/3", {}),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}),
        ("auto/3", {"JOB_COMPLETION_INDEX": "x"}),
        ("auto", SLURM),
    ],
)
def test_a_share_that_nobody_has_is_refused(said: str, environ: Mapping[str, str]) -> None:
    with pytest.raises(UsageError):
        parse_shard(said, environ)


def test_shares_take_each_row_once() -> None:
    shares = [parse_shard(f"{number}/3", {}) for number in (1, 2, 3)]
    assert [[each.has(row) for each in shares].index(True) for row in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert all(sum(each.has(row) for each in shares) == 1 for row in range(1, 8))


PAGE = (ROOT / "docs/rows.md").read_text()
SLURM_SCRIPT = re.search(r"#!/bin/sh\n#SBATCH.*?(?=```)", PAGE, re.DOTALL)
KUBERNETES_ARGS = re.search(r"args:\n +- (aiml .*?)\n +envFrom", PAGE, re.DOTALL)
PARALLEL = re.search(r"^parallel .*?'(aiml .*?)' :::", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    ("found", "environ", "out"),
    [
        (SLURM_SCRIPT, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "1"}, "3"),
        (KUBERNETES_ARGS, {"JOB_COMPLETION_INDEX": "2"}, "2"),
        (PARALLEL, {}, "3"),
    ],
    ids=["Slurm, one task again", "Kubernetes", "GNU parallel"],
)
def test_the_examples_of_the_documentation_take_the_third_share(
    server: Loopback, tmp_path: Path, found: re.Match[str] | None, environ: Mapping[str, str], out: str
) -> None:
    assert found
    script = found[found.re.groups].replace("{}", "3").replace("/data/", "")
    if found is KUBERNETES_ARGS:
        script = " ".join(script.split())  # as YAML folds it
    program = tmp_path / "aiml"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m aiml_cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "reviews.txt").write_text("\n".join("abcdefghijklm"))
    server.answer_with(HELLO)
    paths = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    env = {**os.environ, **environ, "PATH": paths, "AIML_BASE_URL": server.url}
    subprocess.run(["sh", "-c", script], env=env, check=True, timeout=60)
    results = [json.loads(line) for line in Path(f"out.{out}.jsonl").read_text().splitlines()]
    assert sorted(each["input"] for each in results) == ["c", "k"]
