"""The shard of the rows that a task takes, from the variables of its scheduler."""

import re
from collections.abc import Mapping

import pytest

from aiml_cli.batch.shards import parse_shard
from aiml_cli.errors import UsageError


def build_slurm_environ(task: int, first: int, last: int, count: int, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def build_srun_environ(task: int, count: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(task), "SLURM_NTASKS": str(count), "SLURM_STEP_NUM_TASKS": str(count)}


def build_grid_engine_environ(task: str, first: int = 1, last: int = 4, step: int = 1) -> dict[str, str]:
    values = {"ID": task, "FIRST": first, "LAST": last, "STEPSIZE": step}
    return {f"SGE_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("flag", "environ", "shard"),
    [
        (None, {}, (0, 1)),
        ("2/8", {}, (1, 8)),
        ("2/8", build_slurm_environ(7, 1, 8, 8), (1, 8)),
        ("auto", build_slurm_environ(1, 1, 8, 8), (0, 8)),
        ("auto", build_slurm_environ(0, 0, 7, 8), (0, 8)),
        ("auto", build_slurm_environ(7, 0, 7, 8), (7, 8)),
        ("auto/8", build_slurm_environ(8, 1, 8, 8), (7, 8)),
        ("auto", build_slurm_environ(7, 3, 9, 4, step=2), (2, 4)),
        ("auto", build_slurm_environ(5, 5, 5, 1), (0, 1)),
        ("auto", build_srun_environ(3, 4), (3, 4)),
        ("auto", {**build_slurm_environ(2, 1, 3, 3), **build_srun_environ(1, 4)}, (5, 12)),
        ("auto/12", {**build_slurm_environ(3, 1, 3, 3), **build_srun_environ(3, 4)}, (11, 12)),
        ("auto", {**build_slurm_environ(2, 1, 3, 3), **build_srun_environ(0, 1)}, (1, 3)),
        ("auto", {**build_slurm_environ(2, 1, 3, 3), "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (1, 3)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "0"}, (0, 5)),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, (2, 3)),
        ("auto/3", {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}, (2, 3)),
        ("auto", {"BATCH_TASK_INDEX": "0", "BATCH_TASK_COUNT": "2"}, (0, 2)),
        ("auto", {"CLOUD_RUN_TASK_INDEX": "1", "CLOUD_RUN_TASK_COUNT": "2"}, (1, 2)),
        ("auto/4", {"PBS_ARRAY_INDEX": "4"}, (3, 4)),
        ("auto/4", {"PBS_ARRAYID": "1"}, (0, 4)),
        ("auto", build_grid_engine_environ("4"), (3, 4)),
        ("auto", build_grid_engine_environ("6", 2, 8, 2), (2, 4)),
        ("auto/4", {**build_grid_engine_environ("undefined"), "LSB_JOBINDEX": "2"}, (1, 4)),
        ("auto/8", {"LSB_JOBINDEX": "5", "LSB_JOBINDEX_END": "8"}, (4, 8)),
        ("auto", {"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "3"}, (2, 3)),
    ],
)
def test_the_shard_is_read_from_the_variables_of_each_scheduler(
    flag: str | None, environ: Mapping[str, str], shard: tuple[int, int]
) -> None:
    assert parse_shard(flag, environ) == shard


@pytest.mark.parametrize(
    ("flag", "environ", "message"),
    [
        ("auto", {}, "no scheduler"),
        ("auto/3", {}, "no scheduler"),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "no scheduler"),
        ("auto", {"LSB_JOBINDEX": "0"}, "no scheduler"),
        ("auto/8", build_slurm_environ(3, 1, 4, 4), "reports 4 tasks"),
        ("auto/8", build_slurm_environ(7, 5, 8, 4), "reports 4 tasks"),
        ("auto", build_slurm_environ(3, 3, 5, 2), "between 3 and 5, with gaps"),
        ("auto/5", build_slurm_environ(3, 3, 5, 2), "between 3 and 5, with gaps"),
        ("auto", build_slurm_environ(9, 1, 8, 8), "is not the index of one of 8 tasks"),
        ("auto", build_slurm_environ(4, 3, 9, 4, step=2), "counted from 3 in steps of 2"),
        ("auto/8", {**build_slurm_environ(2, 1, 3, 3), **build_srun_environ(1, 4)}, "have 12 tasks"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_MIN='' is not a number"),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}, "Kubernetes does not report the number of tasks"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}, "is not the index of one of 3 tasks"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "x"}, "is not a number"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "\u0661"}, "is not a number"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "-1"}, "is not a number"),
        ("auto", {"BATCH_TASK_INDEX": "2", "BATCH_TASK_COUNT": "2"}, "is not the index of one of 2 tasks"),
        ("auto/4", {"PBS_ARRAY_INDEX": "0"}, "counted from 1"),
        ("auto", {"LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "8"}, "LSF does not report the number of tasks"),
        ("auto", {"CI_NODE_INDEX": "0", "CI_NODE_TOTAL": "3"}, "counted from 1"),
        ("auto", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "3", "JOB_COMPLETION_INDEX": "1"}, "Kubernetes and GitLab"),
    ],
)
def test_an_invalid_shard_is_refused(flag: str, environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_shard(flag, environ)


@pytest.mark.parametrize(("base", "count", "step"), [(0, 8, 1), (1, 8, 1), (5, 4, 1), (1, 1, 1), (0, 5, 3), (7, 3, 10)])
def test_the_tasks_of_a_slurm_array_cover_each_row_once(base: int, count: int, step: int) -> None:
    last = base + (count - 1) * step
    shards = [
        parse_shard("auto", build_slurm_environ(task, base, last, count, step)) for task in range(base, last + 1, step)
    ]
    assert [sum(shard.has(row) for shard in shards) for row in range(1, 30)] == [1] * 29


def test_shards_cover_each_row_once() -> None:
    shards = [parse_shard(f"{number}/3", {}) for number in (1, 2, 3)]
    assert [[each.has(row) for each in shards].index(True) for row in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert all(sum(each.has(row) for each in shards) == 1 for row in range(1, 8))
