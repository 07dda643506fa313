"""Run through the rows until they end or something ends the run, and tell how it ended."""

import gc
import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.batch.progress import EVERY_S, Progress, start_progress
from aiml_cli.batch.rate_limit import RateLimiter
from aiml_cli.batch.results import OrderedWriter, format_result
from aiml_cli.batch.row_shards import Shard
from aiml_cli.batch.row_worker import RowWorkers, RunContext
from aiml_cli.batch.rows import Row, Rows
from aiml_cli.batch.run_summary import CostTracker, RunStats
from aiml_cli.core.budget import Budget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import OutputFailed, PartialFailure, ReaderClosed
from aiml_cli.output.format_money import format_dollars
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import check_stdout, make_notifier, print_err, register_region, unregister_region, write_out
from aiml_cli.system.terminal import is_terminal

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.batch.resume_file import ResumeFile
    from aiml_cli.output.output_file import OutputFile

# How often the machine's sums are brought up to date, and how often it is looked whether they should be.
SUMS_S, LOOK_S = 10.0, 0.25
Said = Callable[[Row], "Conversation"]


class ResultsTarget(NamedTuple):
    """Hold where results go: standard output, a file, or a file of results that is gone on with.

    `fd` is open on what was there before, and is added to.
    """

    write: Callable[[bytes], None]
    file: "OutputFile | None" = None
    kept: "ResumeFile | None" = None
    fd: int | None = None


def open_target(options: Options) -> ResultsTarget:
    """Open the place for the results; raise before anything is sent where there is none."""
    if options.resume_from:
        from aiml_cli.batch.resume_file import ResumeFile  # for some runs only

        kept = ResumeFile(options.resume_from)
        return ResultsTarget(kept.write, kept=kept, fd=kept.fd)
    if options.output:
        from aiml_cli.output.output_file import OutputFile

        file = OutputFile(options.output)
        return ResultsTarget(file.write, file)
    check_stdout()
    return ResultsTarget(write_out, fd=1)


def run_rows(
    settings: Settings, question: ChatRequest, place: ResultsTarget, *, rows: Rows, ours: Shard, said: Said
) -> int:
    """Ask for each row that is ours; give 0 when all are whole, else raise what went wrong.

    `question` is what is asked for a row, `settings` are those of the whole run.
    """
    _tidy_up_from_now_on()
    options, tally = settings.options, RunStats()
    bar = start_progress(tally, rows, ours.of, os.environ, quiet=options.quiet)
    put = bar.wrap_writer(place.write) if bar and place.write is write_out and is_terminal(1) else place.write
    jobs, kept = options.jobs or 1, place.kept
    context = RunContext(
        question,
        said,
        kept.has if kept else lambda _number, _digest: False,
        _writer(question, several=(options.n or 1) > 1),
        CostTracker(settings, question),
        OrderedWriter(put, jobs, ordered=not (options.unordered or kept)),
        tally,
        RateLimiter(jobs, make_notifier(options.quiet) or (lambda _: None)),
        Budget(None if options.replay else options.max_cost),
    )
    workers = RowWorkers(context, (row for row in rows if ours.has(row.number)), jobs)
    return _ended(options, place, context, workers, _worked(workers, context, bar))


def _tidy_up_from_now_on() -> None:
    """Collect garbage, which a single answer does without: thousands would not fit into memory."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _writer(question: ChatRequest, *, several: bool) -> Callable[[Row, str | None, Answer], bytes]:
    is_json = question.response_spec is not None
    return lambda row, digest, answer: format_result(row, digest, answer, is_json=is_json, several=several)


def _worked(workers: RowWorkers, context: RunContext, bar: Progress | None) -> BaseException | None:
    """Work through the rows; give what stopped that, in any way but by its end."""
    fault: BaseException | None = None
    if bar:
        register_region(bar)
    try:
        workers.run(_ticker(context, bar), EVERY_S if bar else LOOK_S)
        fault = workers.error
    except Stopped as stop:
        fault = stop.error
    try:
        if fault and (workers.pool.running or workers.pool.is_broken):
            workers.abort()
        context.results.end(is_gone=isinstance(fault, ReaderClosed | OutputFailed))
    except (ReaderClosed, OutputFailed) as gone:
        fault = fault or gone
    finally:
        if bar:
            unregister_region(bar)
            bar.erase()
    return fault


def _ticker(context: RunContext, bar: Progress | None) -> Callable[[], None]:
    """Give what is done now and then: the line is drawn anew, and what was spent is written down."""
    last = [monotonic()]

    def tick() -> None:
        if bar:
            bar.draw()
        if monotonic() - last[0] > SUMS_S:
            last[0] = monotonic()
            context.costs.write_down(context.stats)

    return tick


def _ended(
    options: Options, place: ResultsTarget, context: RunContext, workers: RowWorkers, fault: BaseException | None
) -> int:
    """Write down what was spent, tell how the run ended, and raise what went wrong."""
    tally, common = context.stats, workers.common_error
    if place.file:
        part = place.file.close(complete=not (fault or common or workers.is_over_budget))
        if part:
            print_err(f"aiml: the results so far are in {part}")
    context.costs.write_down(tally)
    if not options.quiet and not isinstance(fault, ReaderClosed):
        print_err(tally.summary())
    if found := fault or common or workers.final_error():
        raise found
    if workers.is_over_budget:
        most = format_dollars(options.max_cost or 0)
        raise PartialFailure(
            f"stopped before --max-cost {most} could be exceeded; not all rows were asked", _how(options)
        )
    if tally.failed:
        raise PartialFailure(f"{tally.failed:,} of {tally.done:,} rows failed; each result says why", _how(options))
    return 0


def _how(options: Options) -> str:
    """Say how the rest is asked for."""
    return "the same command again asks for those that are missing" if options.resume_from else ""
