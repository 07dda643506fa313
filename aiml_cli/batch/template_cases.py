"""Run the cases of a template: fill in their values, send them to each model, and check the answers."""

import json
import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import HistoryMode
from aiml_cli.batch.run_summary import CostTracker, RunStats, cost_at_most
from aiml_cli.batch.worker_pool import ClientContext, Worker, WorkerPool
from aiml_cli.core import budget, turn
from aiml_cli.core.budget import Budget
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.template_fill import STDIN, WORDS, apply_template, fill_known, list_variables
from aiml_cli.errors import AimlError, AuthError, UsageError
from aiml_cli.output.choose_renderer import null_output
from aiml_cli.prompt.compose import escape_placeholders
from aiml_cli.prompt.mentions import LiteralText
from aiml_cli.prompt.message_parts import wrap_in_tag
from aiml_cli.schema.check import make_checker, parse_answer_json
from aiml_cli.schema.load import load_schema
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.value_types import MAX_JSON_BYTES, SCHEMA, names_file, suggest
from aiml_cli.store.paths import read_named_file
from aiml_cli.store.template_files import Template
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.system.signals import Stopped
from aiml_cli.transport.choose_transport import open_client

# How long to wait for aborted answers to end, and how much CPU time the checks of one answer may take.
ABORT_S, CHECK_CPU_S = 1.0, 2.0
MAX_PATTERN_CHARS, MAX_QUOTED_CHARS = 10_000, 60
PASSED, FAILED, NOT_SENT = "passed", "failed", "not asked"
_KEYS = ("name", "vars", "expect")
# Returns what is wrong with the text of an answer, or "".
Check = Callable[[str], str]
MakeSettings = Callable[[Mapping[str, Any]], Settings]


@dataclass(frozen=True, slots=True)
class Case:
    """The values of a template's variables, and the checks of the answer; `name` may be ""."""

    name: str
    values: Mapping[str, str]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class CaseRun:
    """The request of a case to one model; `max_usd` is the most that it may cost."""

    number: int
    case: Case
    model: str
    request: ChatRequest
    max_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of a case; `answer` is None if it was not sent."""

    run: CaseRun
    answer: Answer | None = None
    failures: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """Return passed, failed, or not asked."""
        return NOT_SENT if self.answer is None else FAILED if self.failures else PASSED


def parse_cases(template: Template) -> list[Case]:
    """Return the cases of a template; raise UsageError for anything that is wrong in one of them."""
    cases = []
    for number, table in enumerate(template.cases, 1):
        try:
            cases.append(_parse_case(table, template.path.parent))
        except UsageError as error:
            error.message = f"{template.path}: case {number}: {error.message}"
            raise
    return cases


def _parse_case(table: Mapping[str, Any], folder: Path) -> Case:
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"a case cannot have {key!r}", suggest(key, _KEYS) or f"it can have {', '.join(_KEYS)}")
    name, values, expect = table.get("name", ""), table.get("vars", {}), table.get("expect", {})
    if not isinstance(name, str):
        raise UsageError("name is not a string")
    if not isinstance(values, dict) or not isinstance(expect, dict):
        raise UsageError(f"{'expect' if isinstance(values, dict) else 'vars'} is not a table")
    if not expect:
        raise UsageError("expect is required", 'for example: expect = { contains = "yes" }')
    for key in expect:
        if key not in _CHECKS:
            raise UsageError(
                f"expect cannot have {key!r}", suggest(key, _CHECKS) or f"it can have {', '.join(_CHECKS)}"
            )
    checks = [check for key in _CHECKS if key in expect for check in _CHECKS[key](key, expect[key], folder)]
    return Case(name, dict(map(_parse_value, values.items())), tuple(checks))


def _parse_value(item: tuple[str, object]) -> tuple[str, str]:
    """Return a variable and its value; @FILE is not read, because others may have written the template."""
    name, value = item
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"the value of {name} is not a string")
    return name, str(value)


def _parse_texts(key: str, value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str) and text]
    if not texts or len(texts) < len(values):
        raise UsageError(f"{key} is not a string or a list of strings")
    return texts


def _make_contains_checks(key: str, value: object, _folder: Path) -> list[Check]:
    def check(part: str, text: str) -> str:
        return "" if part in text else f"does not contain {_quote(part)}"

    return [partial(check, part) for part in _parse_texts(key, value)]


def _make_not_contains_checks(key: str, value: object, _folder: Path) -> list[Check]:
    def check(part: str, text: str) -> str:
        return f"contains {_quote(part)}" if part in text else ""

    return [partial(check, part) for part in _parse_texts(key, value)]


def _make_matches_checks(key: str, value: object, _folder: Path) -> list[Check]:
    def check(pattern: "re.Pattern[str]", text: str) -> str:
        return "" if pattern.search(text) else f"does not match {_quote(pattern.pattern)}"

    return [partial(check, _compile_pattern(key, source)) for source in _parse_texts(key, value)]


def _compile_pattern(key: str, source: str) -> "re.Pattern[str]":
    if len(source) > MAX_PATTERN_CHARS:
        raise UsageError(f"{key} has more than {MAX_PATTERN_CHARS:,} characters")
    try:
        with warnings.catch_warnings(), _limit_cpu_time(CHECK_CPU_S):
            warnings.simplefilter("ignore")  # about later versions of Python
            return re.compile(source)
    except (re.error, RecursionError, OverflowError, TimeoutError) as error:
        reason = str(error) if isinstance(error, re.error) else "too complex"
        raise UsageError(f"{key} is not a regular expression: {_quote(source)}: {reason}") from None


def _make_schema_checks(key: str, value: object, folder: Path) -> list[Check]:
    text = read_schema(value, folder)
    try:
        check = make_checker(load_schema(text, is_typed=False).schema)
    except UsageError as error:
        error.message = f"{key}: {error.message.removeprefix('--schema: ')}"
        raise

    def check_answer(answer: str) -> str:
        try:
            problem = check(parse_answer_json(answer))
        except ValueError as error:
            return f"is not JSON: {error}"
        return problem and f"does not meet the schema: {problem}"

    return [check_answer]


# Cheap checks come first: a regular expression that is too slow ends the checks of an answer.
_CHECKS: Mapping[str, Callable[[str, object, Path], list[Check]]] = {
    "contains": _make_contains_checks,
    "not_contains": _make_not_contains_checks,
    "matches": _make_matches_checks,
    "schema": _make_schema_checks,
}


def read_schema(value: object, folder: Path) -> str:
    """Return a schema as text: JSON, the short form, a table, or the file that `@FILE` names in the template's folder.

    Raises UsageError for any other value, for an absolute path, and for a file that cannot be read.
    """
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if not isinstance(value, str) or not value.strip():
        raise UsageError("schema is not a string or a table")
    if not names_file(SCHEMA, value):
        return value
    if not value.startswith("@") or value[1:2] in ("", "/", "~") or "\0" in value:
        raise UsageError(f"schema: {value!r} is not @FILE with a path relative to the folder of the template")
    path = Path(os.path.realpath(folder / value[1:]))
    data = read_named_file(path, MAX_JSON_BYTES)
    if data is None:
        raise UsageError(f"schema: {path}: no such file")
    return decode_utf8(data, path)


def embed_schema(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a case with the content of the schema file that it names, so that it can be saved in another folder."""
    expect = case.get("expect")
    if isinstance(expect, dict) and isinstance(schema := expect.get("schema"), str) and schema.startswith("@"):
        return {**case, "expect": {**expect, "schema": read_schema(schema, folder)}}
    return dict(case)


def build_runs(
    template: Template, cases: Sequence[Case], endpoint: str, models: Sequence[str], make_settings: MakeSettings
) -> list[CaseRun]:
    """Build the request of each case to each model; raise UsageError before anything is sent.

    `make_settings` resolves the settings of the template. Without `models`, the model of the settings is used.
    """
    runs: list[CaseRun] = []
    for number, case in enumerate(cases, 1):
        try:
            prompt, values = _fill(template, case)
            settings = make_settings(values)
            for model in models or [settings.options.model or ""]:
                chosen = replace(settings, options=replace(settings.options, model=model))
                runs.append(CaseRun(number, case, model, _build_request(endpoint, prompt, chosen)))
        except UsageError as error:
            error.message = f"{template.path}: case {number}: {error.message.removeprefix('--param: ')}"
            if not error.hint.startswith(("did you mean", "it has")):
                error.hint = "vars = { NAME = …, words = …, stdin = … } sets what is sent"
            raise
    return runs


def _fill(template: Template, case: Case) -> tuple[str, Mapping[str, Any]]:
    """Return the prompt and the settings of a case; `words` or `prompt` is the typed text, `stdin` the piped input."""
    values = dict(case.values)
    piped = values.pop(STDIN, None)
    typed = [values.pop(name) for name in (WORDS, "prompt") if name in values]
    if len(typed) > 1:
        raise UsageError("words cannot be used with prompt in vars: they mean the same")
    words = escape_placeholders("".join(typed), STDIN)
    text, settings = apply_template(template, words, values, is_piped=piped is not None)
    if piped is None:
        return text, settings
    piped = escape_placeholders(piped, STDIN)
    if STDIN in list_variables(text):
        return fill_known(text, {STDIN: piped}), settings
    return "\n\n".join(filter(None, ("".join(wrap_in_tag(STDIN, piped)), text))), settings


def _build_request(endpoint: str, prompt: str, settings: Settings) -> ChatRequest:
    """Build a request with its conversation, and without the options that apply to the run only."""
    options = replace(
        settings.options, quiet=True, no_log=True, no_stdin=True, usage=None, meta=None, json=None, format="text",
        save_dir=None, max_cost=None, fit=None, background=None,
    )  # fmt: skip
    stripped = replace(settings, options=options)
    request = ChatRequest(get_endpoint(endpoint), [LiteralText(prompt)], stripped, response_spec_of(stripped))
    request = request.with_known_system()
    return replace(request, repeated=request.read_conversation())


def set_max_costs(runs: Sequence[CaseRun], settings: Settings) -> list[CaseRun]:
    """Return the runs with the most that each may cost; raise UsageError if all may cost more than --max-cost."""
    if settings.options.max_cost is None or settings.options.replay:
        return list(runs)
    bodies = [run.request.build_body(run.request.read_conversation(), HistoryMode.FULL) for run in runs]
    budget.check_total_cost([(settings, body) for body in bodies], "requests")
    return [
        replace(run, max_usd=(budget.max_cost_of(settings, body) or 0.0) * _count_attempts(run))
        for run, body in zip(runs, bodies, strict=True)
    ]


def _count_attempts(run: CaseRun) -> int:
    return 1 + (run.request.options.schema_retries or 0) + (run.request.options.auto_continue or 0)


@dataclass
class CaseRunner:
    """The workers that send the requests; `error` is what stopped them before all were sent."""

    runs: Sequence[CaseRun]
    settings: Settings
    jobs: int
    stats: RunStats = field(default_factory=RunStats)
    error: AimlError | None = None
    is_over_budget: bool = False

    def __post_init__(self) -> None:
        options = self.settings.options
        self._costs = CostTracker(self.settings, self.runs[0].request)
        self._budget = Budget(None if options.replay else options.max_cost)
        self._key = (resolve_key(replace(self.runs[0].request, settings=self.settings)),)
        self._answers: dict[int, Answer] = {}
        self._pool: WorkerPool[int, int] = WorkerPool(
            range(len(self.runs)), self._ask, size=min(self.jobs, len(self.runs)), connect=self._connect
        )

    def run(self) -> list[CaseResult]:
        """Send the requests and check the answers; return a result for each, in their order."""
        results: dict[int, CaseResult] = {}
        try:
            self._pool.start()
            for position in self._pool.results():
                results[position] = _check(self.runs[position], self._answers[position])
        except Stopped as stop:
            self.error = stop.error
            self._stop()
            self._pool.abort(signal.SIGINT, seconds=ABORT_S)
            for position in self._answers.keys() - results.keys():  # they ended before the signal
                results[position] = _check(self.runs[position], self._answers[position])
        self._costs.flush_spending(self.stats)
        if self._pool.error:
            raise self._pool.error
        return [results.get(position) or CaseResult(run) for position, run in enumerate(self.runs)]

    def _stop(self) -> None:
        self._pool.stop()
        self._budget.close()

    def _connect(self) -> ClientContext:
        return open_client(self.settings.options, self.runs[0].request.url)

    def _ask(self, position: int, worker: Worker) -> int | None:
        """Send a request within the budget, and keep its answer; return None if the run ends first or is aborted."""
        run = self.runs[position]
        if not self._budget.wait_for(run.max_usd):
            self.is_over_budget |= not self._pool.is_stopped
            self._stop()
            return None
        request = replace(run.request, known_key=self._key)
        finished = turn.run_turn(request, null_output(), worker.client, worker)
        model = finished.request.options.model or ""
        answer = self._costs.add_estimate(finished.answer, model)
        self._budget.settle(run.max_usd, cost_at_most(answer))
        if self._pool.is_aborted and answer.error:
            return None
        self.stats.add(answer, model)
        self._answers[position] = answer
        if isinstance(answer.error, AuthError):  # all others would fail, too
            self.error = self.error or answer.error
            self._stop()
        return position


def _check(run: CaseRun, answer: Answer) -> CaseResult:
    """Check an answer, in the main thread: only there can a slow expression be stopped."""
    if answer.error:
        return CaseResult(run, answer, (answer.error.message,))
    choices = answer.completion.choices or (answer.completion.first,)
    failures = [
        f"choice {choice.index + 1} {problem}" if len(choices) > 1 else problem
        for choice in choices
        for problem in _list_problems(run.case.checks, choice.text)
    ]
    return CaseResult(run, answer, tuple(failures))


def _list_problems(checks: Sequence[Check], text: str) -> list[str]:
    if not text.strip():
        return ["has no text"]
    problems: list[str] = []
    try:
        with _limit_cpu_time(CHECK_CPU_S):
            problems.extend(check(text) for check in checks)  # what was found before the time is over is kept
    except TimeoutError:
        problems.append(f"could not be checked within {CHECK_CPU_S:g} s: an expression is too slow")
    return [problem for problem in problems if problem]


@contextmanager
def _limit_cpu_time(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after `seconds` of CPU time, even within a regular expression.

    Only the main thread receives signals, so the block has to run there.
    """

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _quote(text: str) -> str:
    text = text.replace("\n", "\\n")
    return f"'{text}'" if len(text) <= MAX_QUOTED_CHARS else f"'{text[:MAX_QUOTED_CHARS]}…'"
