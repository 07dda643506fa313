"""Choose the rows of one machine of several, by --shard or by the environment variables of a scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiml_cli.errors import UsageError


class Shard(NamedTuple):
    """One of `total` shards; `offset` counts from 0."""

    offset: int = 0
    total: int = 1

    def has(self, number: int) -> bool:
        """True if the row with this number, counted from 1, belongs to the shard."""
        return (number - 1) % self.total == self.offset


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The environment variables in which a scheduler tells a task its index and the number of tasks.

    `first` is the lowest index, or the variable that contains it, which then needs `last` as well. Without `count` and
    `last` the number of tasks is unknown. The index is ignored if it is `none`, or if the variable that
    `required` names is unset or 1.
    """

    name: str
    index: str
    count: str = ""
    first: int | str = 0
    last: str = ""
    step: str = ""
    required: str = ""
    none: str = ""


# Environment variables, as the schedulers document them.
SCHEDULERS = (
    Scheduler(
        "Slurm array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    # The batch script has a SLURM_PROCID too, but only tasks that srun starts have SLURM_STEP_NUM_TASKS.
    Scheduler("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", required="SLURM_STEP_NUM_TASKS"),
    Scheduler("Kubernetes", "JOB_COMPLETION_INDEX"),
    Scheduler("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    Scheduler("Google Batch", "BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    Scheduler("Cloud Run", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    Scheduler("PBS", "PBS_ARRAY_INDEX", first=1),
    Scheduler("Torque", "PBS_ARRAYID", first=1),
    Scheduler(
        "Grid Engine", "SGE_TASK_ID", first="SGE_TASK_FIRST", last="SGE_TASK_LAST", step="SGE_TASK_STEPSIZE",
        none="undefined",
    ),
    # LSB_JOBINDEX_END is the highest index of a list that may have gaps, so it is not a count.
    Scheduler("LSF", "LSB_JOBINDEX", first=1, none="0"),
    Scheduler("GitLab", "CI_NODE_INDEX", "CI_NODE_TOTAL", first=1),
)  # fmt: skip


def parse_shard(text: str | None, environ: Mapping[str, str]) -> Shard:
    """Parse 2/8, auto or auto/8; raise UsageError if the variables are missing or contradict each other."""
    if text is None:
        return Shard()
    number, _, count = text.partition("/")
    if number != "auto":
        return Shard(int(number) - 1, int(count))
    total, active = int(count or 0), [each for each in SCHEDULERS if _is_active(each, environ)]
    match active:
        case [scheduler]:
            return _read_shard(scheduler, environ, total)
        case [Scheduler(name="Slurm array") as array, Scheduler(name="srun") as srun]:
            return _nest(_read_shard(array, environ, 0), _read_shard(srun, environ, 0), total)
        case []:
            raise UsageError(
                "--shard auto: no scheduler gave this task an index",
                f"pass the shard, such as --shard 2/8; auto reads {', '.join(each.index for each in SCHEDULERS)}",
            )
    names = " and ".join(each.name for each in active)
    raise UsageError(f"--shard auto: {names} give this task an index", "pass the shard, such as --shard 2/8")


def _is_active(scheduler: Scheduler, environ: Mapping[str, str]) -> bool:
    index = environ.get(scheduler.index, "")
    is_alone = scheduler.required and environ.get(scheduler.required) in (None, "", "1")
    return index not in ("", scheduler.none) and not is_alone


def _nest(outer: Shard, inner: Shard, total: int) -> Shard:
    """Return the shard of a task that srun started in a task of an array."""
    shard = Shard(outer.offset * inner.total + inner.offset, outer.total * inner.total)
    if total not in (0, shard.total):
        raise UsageError(f"--shard auto/{total}: the array and srun have {shard.total} tasks", "use --shard auto")
    return shard


def _read_shard(scheduler: Scheduler, environ: Mapping[str, str], total: int) -> Shard:
    """Return the shard of a scheduler's task; `total` is the number of tasks in --shard, or 0."""
    first, step, count = _read_range(scheduler, environ)
    if not (total or count):
        raise UsageError(
            f"--shard auto: {scheduler.name} does not report the number of tasks",
            "add it, as in --shard auto/8 for 8 tasks",
        )
    if total and count and total != count:
        raise UsageError(
            f"--shard auto/{total}: {scheduler.name} reports {count} tasks",
            f"use --shard auto for these; for a part of a larger array use --shard {_describe(scheduler, total)}",
        )
    offset, rest = divmod(_read_number(environ, scheduler.index) - first, step)
    if rest or not 0 <= offset < (total or count):
        raise UsageError(
            f"--shard auto: {scheduler.index}={environ[scheduler.index]} is not the index of one of "
            f"{total or count} tasks counted from {first}" + (f" in steps of {step}" if step > 1 else ""),
            f"pass the shard, such as --shard {_describe(scheduler, total or count)}",
        )
    return Shard(offset, total or count)


def _read_range(scheduler: Scheduler, environ: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the first index, the step and the number of tasks (0 if unknown); raise UsageError if there are gaps."""
    count = _read_number(environ, scheduler.count) if environ.get(scheduler.count) else 0
    if isinstance(scheduler.first, int):
        return scheduler.first, 1, count
    first, last = (_read_number(environ, name) for name in (scheduler.first, scheduler.last))
    step = max(1, _read_number(environ, scheduler.step)) if environ.get(scheduler.step) else 1
    regular = (last - first) // step + 1
    if count and count != regular:
        raise UsageError(
            f"--shard auto: the array has {count} tasks between {first} and {last}, with gaps; "
            "which indexes exist is unknown",
            f"number them without gaps, or pass the shard, such as --shard {_describe(scheduler, count)}",
        )
    return first, step, regular


def _describe(scheduler: Scheduler, total: int) -> str:
    """Return an example of a shard without auto."""
    is_from_one = scheduler.first != 0
    return f'"${scheduler.index}/{total}"' if is_from_one else f'"$(({scheduler.index} + 1))/{total}"'


def _read_number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--shard auto: {name}={text!r} is not a number")
    return int(text)
