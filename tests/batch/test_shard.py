"""Which share of the rows is ours."""

from collections.abc import Mapping

import pytest

from aiml_cli.batch.shard import share
from aiml_cli.errors import Misuse

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
    assert share(said, environ) == found


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
    with pytest.raises(Misuse):
        share(said, environ)


def test_shares_take_each_row_once() -> None:
    shares = [share(f"{number}/3", {}) for number in (1, 2, 3)]
    assert [[each.has(row) for each in shares].index(True) for row in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert all(sum(each.has(row) for each in shares) == 1 for row in range(1, 8))
