"""Choose the rows of this run's shard, also from the variables of a job scheduler."""

from collections.abc import Mapping
from typing import NamedTuple

from aiml_cli.errors import UsageError

SLURM = "SLURM_ARRAY_TASK_ID"
# The variables with an index and a count; Kubernetes sets no count.
INDEXES = {"JOB_COMPLETION_INDEX": "", "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE"}


class Shard(NamedTuple):
    """One of `total` shards; `offset` counts from 0."""

    offset: int = 0
    total: int = 1

    def has(self, number: int) -> bool:
        """True if the row with this number, counted from 1, belongs to the shard."""
        return (number - 1) % self.total == self.offset


def parse_shard(text: str | None, environ: Mapping[str, str]) -> Shard:
    """Parse 2/8, auto or auto/8; raise UsageError if the scheduler's variables are missing or wrong."""
    if text is None:
        return Shard()
    number, _, total = text.partition("/")
    if number != "auto":
        return Shard(int(number) - 1, int(total))
    variable, shard = _read_scheduler(environ, int(total or 0))
    if not 0 <= shard.offset < shard.total:
        raise UsageError(f"--shard {text}: {variable}={environ[variable]} is none of {shard.total} shares")
    return shard


def _read_scheduler(environ: Mapping[str, str], total: int) -> tuple[str, Shard]:
    """Return the name of the scheduler's variable, and the shard; `total` 0 is looked up."""
    if environ.get(SLURM):
        first = _read_number(environ, "SLURM_ARRAY_TASK_MIN", 1)
        step = _read_number(environ, "SLURM_ARRAY_TASK_STEP", 1)
        total = total or _read_total(environ, SLURM, "SLURM_ARRAY_TASK_COUNT")
        return SLURM, Shard((_read_number(environ, SLURM) - first) // max(1, step), total)
    for index, size in INDEXES.items():
        if environ.get(index):
            return index, Shard(_read_number(environ, index), total or _read_total(environ, index, size))
    names = ", ".join((SLURM, *INDEXES))
    raise UsageError("--shard auto: no scheduler says which share is ours", f"it would be in {names}; or say it: 2/8")


def _read_total(environ: Mapping[str, str], index: str, name: str) -> int:
    if not environ.get(name):
        raise UsageError(f"--shard auto: {index} is there, but not how many shares there are", "say it: --shard auto/8")
    return _read_number(environ, name)


def _read_number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise UsageError(f"--shard auto: {name}={text!r} is no number")
    return int(text)
