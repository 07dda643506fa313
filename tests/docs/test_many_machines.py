"""The examples of docs/many-machines.md: each has valid syntax, and the quick ones run."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from scale.trial import PAGE, find_block, find_blocks
from support.forked_process import install_program
from support.paths import ROOT

from aiml_cli.demo.server import serve

ROW_COUNT = 40


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve() as address:
        yield address


@pytest.fixture
def folder(empty_home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Path:
    """Return the folder that the page uses; `aiml` is the program under test."""
    work = empty_home / "work"
    work.mkdir()
    (work / "reviews.txt").write_text("".join(f"review number {n}\n" for n in range(1, ROW_COUNT + 1)))
    (work / "classify.sh").write_text(find_block("sh", "# classify.sh"))
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", install_program(empty_home / "bin"))
    monkeypatch.setenv("AIML_BASE_URL", url)
    monkeypatch.setenv("AIML_MODEL", "demo/echo")
    return work


def run(line: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **variables}
    return subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=60, check=False)


def count_good_rows(folder: Path) -> Counter[int]:
    lines = [line for path in folder.glob("out.*.jsonl") for line in path.read_text().splitlines()]
    return Counter(result["row"] for result in map(json.loads, lines) if result["error"] is None)


EACH_ONCE = Counter(range(1, ROW_COUNT + 1))
needs_flock = pytest.mark.skipif(not shutil.which("flock"), reason="flock is not installed")


@pytest.mark.parametrize("block", find_blocks("sh"), ids=lambda block: block.splitlines()[-1][:40])
def test_each_shell_example_has_valid_syntax(block: str) -> None:
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", find_blocks("python"), ids=["dask", "ray"])
def test_each_python_example_has_valid_syntax(block: str) -> None:
    compile(block, "example", "exec")


@pytest.mark.parametrize("block", find_blocks("yaml"), ids=["kubernetes", "litellm"])
def test_each_yaml_example_is_valid(block: str) -> None:
    assert isinstance(yaml.safe_load(block), dict)


def test_each_example_is_in_a_tested_language() -> None:
    fences = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("```")]
    assert set(fences[::2]) == {"```sh", "```python", "```yaml", "```make", "```sql"}


@needs_flock
def test_xargs_runs_all_shards(folder: Path) -> None:
    assert run(find_block("sh", "xargs")).returncode == 0
    assert count_good_rows(folder) == EACH_ONCE


@needs_flock
@pytest.mark.parametrize(("arguments", "variables"), [("3", {}), ("", {"SLURM_ARRAY_TASK_ID": "3"})])
def test_the_script_takes_one_shard(folder: Path, arguments: str, variables: dict[str, str]) -> None:
    for _again in range(2):
        assert run(f"sh classify.sh {arguments}", **variables).returncode == 0
    assert count_good_rows(folder) == Counter(range(3, ROW_COUNT + 1, 8))


def test_srun_gives_each_task_its_rows(folder: Path) -> None:
    program = find_block("sh", "srun -n 4").removeprefix("srun -n 4 ")
    for task in range(4):
        assert run(program, SLURM_PROCID=str(task), SLURM_STEP_NUM_TASKS="4").returncode == 0
    assert count_good_rows(folder) == EACH_ONCE


def read_job() -> dict[str, object]:
    job = yaml.safe_load(find_block("yaml", "kind: Job"))
    return {**job["spec"], **job["spec"]["template"]["spec"]}


def test_the_pods_of_the_job_take_each_row_once(folder: Path) -> None:
    job = read_job()
    [container] = job["containers"]
    words = [word.replace("/data/", "") for word in (*container["command"], *container["args"])]
    for index in range(job["completions"]):
        environ = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
        subprocess.run(words, env=environ, capture_output=True, check=True, timeout=60)
    assert count_good_rows(folder) == EACH_ONCE


def test_the_job_restarts_on_failure_and_shares_its_folder() -> None:
    job = read_job()
    [container] = job["containers"]
    assert (job["completionMode"], job["restartPolicy"]) == ("Indexed", "OnFailure")
    assert f"--shard auto/{job['completions']} " in container["args"][0]
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in job["volumes"]]


@needs_flock
@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_runs_failed_shards_again(folder: Path) -> None:
    (folder / "Makefile").write_text(find_block("make", "# Makefile"))
    line = find_block("sh", "make -j 8")
    assert run(line, AIML_MODEL="demo/status-500", AIML_RETRIES="0").returncode == 2
    assert not list(folder.glob("done.*"))
    assert run(line).returncode == 0
    assert count_good_rows(folder) == EACH_ONCE
    assert "Nothing to be done" in run(line).stdout


@pytest.mark.parametrize("name", ["slurm", "kubernetes", "parallel", "dask", "ray", "one_limit", "merge"])
def test_a_script_is_skipped_with_a_message_if_its_engine_is_missing(name: str, tmp_path: Path) -> None:
    environ = {**os.environ, "AIML_ENGINES": str(tmp_path), "PATH": str(tmp_path)}
    script = ROOT / f"scripts/scale/run_{name}.py"
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (77, "")
    assert done.stdout.startswith(f"run_{name}: skipped: ")
