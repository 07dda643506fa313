"""Run all rows, close the output, and report the result."""

import gc
import os
import stat
from collections.abc import Callable, Iterable
from functools import partial
from shlex import quote
from time import monotonic
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.messages import Conversation
from aiml_cli.batch.rate_limit import RateLimiter
from aiml_cli.batch.results import ResultWriter, format_result
from aiml_cli.batch.resume_file import ResumeFile, RowHasher
from aiml_cli.batch.row_worker import RowWorkers, RunContext
from aiml_cli.batch.rows import Row, Rows
from aiml_cli.batch.run_summary import DRAW_INTERVAL_S, CostTracker, Progress, RunStats, start_progress
from aiml_cli.batch.shards import Shard
from aiml_cli.batch.worker_pool import fit_to_file_limit
from aiml_cli.core.budget import Budget
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, OutputFailed, PartialFailure, ReaderClosed, Terminated
from aiml_cli.output.choose_renderer import output_format
from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.output_file import OutputFile, is_stdout
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import check_stdout, make_notifier, print_err, register_region, unregister_region, write_out
from aiml_cli.system.terminal import is_terminal

# How often the spending in the history is updated, and how often that is checked.
FLUSH_INTERVAL_S, TICK_INTERVAL_S = 10.0, 0.25
MakeConversation = Callable[[Row], Conversation]


class ResultsTarget(NamedTuple):
    """Where results go: standard output, a file, or a file with the results of an earlier run.

    `fd` is set if the results go to an open file, which could also be the input file.
    """

    write: Callable[[bytes], None]
    file: OutputFile | None = None
    resume_file: ResumeFile | None = None
    fd: int | None = None

    @property
    def is_terminal(self) -> bool:
        """True if results are shown on a terminal."""
        return self.file.is_terminal if self.file else self.fd == 1 and is_terminal(1)

    def close(self, *, complete: bool) -> str:
        """Close the files; return the name of the file with the incomplete results of -o, or ""."""
        if self.resume_file:
            self.resume_file.close()
        return self.file.close(complete=complete) if self.file else ""


def open_target(options: Options) -> ResultsTarget:
    """Open the target of the results; raise an error before anything is sent if that fails."""
    if options.resume_from:
        resume_file = open_resume_file(options)
        return ResultsTarget(resume_file.write, resume_file=resume_file, fd=resume_file.fd)
    if options.output and not is_stdout(options.output):
        file = OutputFile(options.output, is_resumable=True)
        return ResultsTarget(file.write, file)
    check_stdout()
    return ResultsTarget(write_out, fd=1)


def open_resume_file(options: Options, *, is_read_only: bool = False) -> ResumeFile:
    """Open the file of --resume-from; raise UsageError if its format is not that of this run."""
    name = options.resume_from or ""
    if output_format(options) != "csv":
        return ResumeFile(name, is_read_only=is_read_only)
    from aiml_cli.batch.results import CsvResumeFile  # few runs write CSV

    return CsvResumeFile(name, is_read_only=is_read_only)


def run_rows(
    settings: Settings,
    request: ChatRequest,
    target: ResultsTarget,
    rows: Rows,
    *,
    shard: Shard,
    template: Conversation,
    make: MakeConversation,
    digest_files: Callable[[Row], bytes],
) -> int:
    """Send a request for each row of the shard; return 0 if all succeeded, else raise the error.

    `request` is the request of a row without its conversation, which `make` builds. `template` is the conversation
    with its placeholders, and `digest_files` hashes the files that a row names. `settings` are those of the run.
    """
    _enable_garbage_collection()
    options, stats = settings.options, RunStats()
    progress = start_progress(stats, rows, shard.total, os.environ, quiet=options.quiet)
    write = target.write
    if progress and write is write_out and is_terminal(1):
        write = progress.wrap_writer(write)
    if target.is_terminal and output_format(options) == "csv":
        write = _make_terminal_writer(write)
    notify = make_notifier(options.quiet) or (lambda _: None)
    jobs, resume_file = fit_to_file_limit(options.jobs or 1, notify), target.resume_file
    results = _choose_format(settings, request, rows, target)
    hasher = RowHasher(request, template, digest_files)
    context = RunContext(
        request,
        make,
        hasher.hash,
        hasher.hash_body,
        resume_file.has if resume_file and resume_file.has_results else None,
        results.format,
        CostTracker(settings, request),
        ResultWriter(write, jobs, header=results.header, ordered=not (options.unordered or resume_file)),
        stats,
        RateLimiter(
            jobs,
            notify,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
        ),
        Budget(None if options.replay else options.max_cost),
    )
    workers = RowWorkers(context, (row for row in results.rows if shard.has(row.number)), jobs)
    return _finish(options, target, context, workers, _run_workers(workers, context, progress, options))


def _make_terminal_writer(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a writer for CSV that escapes control characters; in JSON they are escaped already."""
    return lambda data: write(sanitize(data.decode()).encode("utf-8", "replace"))


class _ResultsFormat(NamedTuple):
    """How results are written: `header` goes before the first one, `format` encodes each; `rows` are all rows."""

    format: Callable[[Row, str | None, Answer], bytes]
    rows: Iterable[Row]
    header: bytes = b""


def _choose_format(settings: Settings, request: ChatRequest, rows: Rows, target: ResultsTarget) -> _ResultsFormat:
    if output_format(settings.options) == "csv":
        return _open_csv(settings, request, rows, target)
    formatter = partial(
        format_result,
        is_json=request.response_spec is not None,
        has_choices=(request.options.n or 1) > 1,
        has_rounds=request.tools is not None,
    )
    return _ResultsFormat(formatter, rows)


def _open_csv(settings: Settings, request: ChatRequest, rows: Rows, target: ResultsTarget) -> _ResultsFormat:
    """Find the columns, reading a row if needed; raise UsageError if the file of an earlier run has other columns."""
    from aiml_cli.batch import results  # few runs write CSV

    fields = results.list_fields(results.find_schema(request.response_spec))
    columns, all_rows = results.find_columns(settings.options.each or "", rows)
    notify = make_notifier(settings.options.quiet) or (lambda _: None)
    csv_format = results.CsvFormat(columns, fields, notify)
    if isinstance(target.resume_file, results.CsvResumeFile) and target.resume_file.header:
        target.resume_file.check_columns(csv_format.columns)
        return _ResultsFormat(csv_format.format, all_rows)
    return _ResultsFormat(csv_format.format, all_rows, csv_format.header)


def _enable_garbage_collection() -> None:
    """Enable garbage collection: a single answer does not need it, but thousands would fill the memory."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _run_workers(
    workers: RowWorkers, context: RunContext, progress: Progress | None, options: Options
) -> BaseException | None:
    """Run all rows; return the error that ended the run early, or None. After SIGTERM, sent requests may finish."""
    error: BaseException | None = None
    if progress:
        register_region(progress)
    tick, every_s = _make_tick(context, progress), DRAW_INTERVAL_S if progress else TICK_INTERVAL_S
    try:
        workers.run(tick, every_s)
        error = workers.error
    except Stopped as stop:
        error = stop.error
        if isinstance(error, Terminated) and options.grace:
            notify = make_notifier(options.quiet) or (lambda _: None)
            workers.finish_within(options.grace, notify, tick, every_s)
    try:
        if error and (workers.pool.running or workers.pool.is_broken):
            workers.abort()
        context.results.finish(
            is_lost=isinstance(error, ReaderClosed | OutputFailed), is_complete=not (error or workers.is_over_budget)
        )
    except (ReaderClosed, OutputFailed) as failure:
        error = error or failure
    finally:
        if progress:
            unregister_region(progress)
            progress.erase()
    return error


def _make_tick(context: RunContext, progress: Progress | None) -> Callable[[], None]:
    """Return a function that draws the progress, and regularly updates the spending in the history."""
    flushed_at = monotonic()

    def tick() -> None:
        nonlocal flushed_at
        if progress:
            progress.draw()
        if monotonic() - flushed_at > FLUSH_INTERVAL_S:
            flushed_at = monotonic()
            context.costs.flush_spending(context.stats)

    return tick


def _report_cache(options: Options) -> None:
    """Print why answers of the run were not cached."""
    if not options.cache:
        return
    from aiml_cli.store import answer_cache  # few runs have a cache

    for problem in answer_cache.list_problems():
        print_err(f"aiml: some answers were not cached: {problem}")


def _finish(
    options: Options, target: ResultsTarget, context: RunContext, workers: RowWorkers, error: BaseException | None
) -> int:
    """Close the target, print the summary, and raise the error of the run."""
    stats, common_error = context.stats, workers.common_error
    part = target.close(complete=not (error or common_error or workers.is_over_budget))
    if part:
        print_err(f"aiml: the results so far are in {part}")
    has_started = stats.succeeded or stats.failed or stats.aborted or options.resume_from
    hint = _format_hint(options, part) if has_started else ""
    context.costs.flush_spending(stats)
    if not options.quiet and not isinstance(error, ReaderClosed):
        _report_cache(options)
        print_err(stats.format_summary())
    if final_error := error or common_error or workers.final_error():
        if isinstance(final_error, AimlError):
            final_error.hint = "; ".join(filter(None, (final_error.hint, hint)))
        raise final_error
    if workers.is_over_budget:
        limit = format_dollars(options.max_cost or 0)
        raise PartialFailure(f"stopped before --max-cost {limit} could be exceeded; not all rows were sent", hint)
    if stats.failed:
        raise PartialFailure(f"{stats.failed:,} of {stats.done:,} rows failed; each result says why", hint)
    return 0


def _format_hint(options: Options, part: str) -> str:
    """Return the hint to resume the run, with the name of the results file."""
    name = options.resume_from or part
    if not name and options.output and not is_stdout(options.output):
        name = options.output
    name = name or _find_stdout_file()
    if not name:
        return "if the results are saved in a file, --resume-from FILE sends the rows that failed or are missing"
    return f"--resume-from {quote(name)} sends the rows that failed or are missing"


def _find_stdout_file() -> str:
    """Return the path of the regular file that standard output is redirected to, or ""."""
    try:
        path, status = os.readlink("/proc/self/fd/1"), os.fstat(1)  # noqa: PTH115 - it is used as a string
        if not (stat.S_ISREG(status.st_mode) and os.path.samestat(os.stat(path), status)):  # noqa: PTH116
            return ""
        near = os.path.relpath(path)
    except OSError:  # only Linux has the link
        return ""
    return path if near.startswith("..") else near
