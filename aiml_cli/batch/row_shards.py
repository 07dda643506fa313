"""Say which share of the rows is ours, also from what a scheduler told."""

from collections.abc import Mapping
from typing import NamedTuple

from aiml_cli.errors import UsageError

SLURM = "SLURM_ARRAY_TASK_ID"
# Kubernetes says no count; AWS Batch does.
INDEXES = {"JOB_COMPLETION_INDEX": "", "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE"}


class Shard(NamedTuple):
    """Hold which of how many shares is taken; `first` is from 0 on."""

    first: int = 0
    of: int = 1

    def has(self, number: int) -> bool:
        """Say whether a row, counted from 1 on, is ours."""
        return (number - 1) % self.of == self.first


def parse_shard(said: str | None, environ: Mapping[str, str]) -> Shard:
    """Read 2/8, auto or auto/8; raise UsageError where a scheduler was to say it and did not."""
    if said is None:
        return Shard()
    number, _, count = said.partition("/")
    if number != "auto":
        return Shard(int(number) - 1, int(count))
    speaker, found = _told(environ, int(count or 0))
    if not 0 <= found.first < found.of:
        raise UsageError(f"--shard {said}: {speaker}={environ[speaker]} is none of {found.of} shares")
    return found


def _told(environ: Mapping[str, str], count: int) -> tuple[str, Shard]:
    if environ.get(SLURM):
        first, step = _number(environ, "SLURM_ARRAY_TASK_MIN", 1), _number(environ, "SLURM_ARRAY_TASK_STEP", 1)
        count = count or _counted(environ, SLURM, "SLURM_ARRAY_TASK_COUNT")
        return SLURM, Shard((_number(environ, SLURM) - first) // max(1, step), count)
    for index, size in INDEXES.items():
        if environ.get(index):
            return index, Shard(_number(environ, index), count or _counted(environ, index, size))
    names = ", ".join((SLURM, *INDEXES))
    raise UsageError("--shard auto: no scheduler says which share is ours", f"it would be in {names}; or say it: 2/8")


def _counted(environ: Mapping[str, str], index: str, name: str) -> int:
    if not environ.get(name):
        raise UsageError(f"--shard auto: {index} is there, but not how many shares there are", "say it: --shard auto/8")
    return _number(environ, name)


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise UsageError(f"--shard auto: {name}={text!r} is no number")
    return int(text)
