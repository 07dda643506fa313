"""Run `aiml config templates NAME --test`: send the test cases of a template, and print which of them passed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiml_cli.batch import template_cases
from aiml_cli.batch.compare_workers import show_waiting
from aiml_cli.batch.template_cases import FAILED, CaseResult, CaseRunner
from aiml_cli.core.start_demo import start_demo_if_asked, use_demo_model
from aiml_cli.errors import PartialFailure, UsageError
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.output.table import Column, format_table, format_tsv, table_width
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Flags, Settings, Source, check_conflicts, parse_value, resolve
from aiml_cli.store import template_files
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.template_files import Template
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import hide_keys, is_terminal

_FIELDS = ("case", "model", "result", "why", "tokens_in", "tokens_out", "cost_usd")
_COLUMNS = (
    Column("CASE", 0, min_width=10),
    Column("MODEL", 2, min_width=12),
    Column("RESULT", 0),
    Column("WHY", 1, min_width=20),
    Column("TOKENS", 4, right=True),
    Column("COST", 3, right=True),
)


def test_template(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Send each case of a template, to each model if there are several, and print a line for each.

    Raises PartialFailure if a case fails, and UsageError, before anything is sent, for a case that is not valid.
    """
    if len(words) != 1:
        raise UsageError("--test needs the name of one template", "aiml config templates NAME --test, or @FILE")
    sources = read_sources({name: flag for name, flag in flags.items() if name != "jobs"}, os.environ)
    template = template_files.load_template(words[0], template_files.read_search(sources))
    if not template.cases:
        hint = '[[case]] in its file, with vars = { … } and expect = { contains = "…" }, adds one'
        raise UsageError(f"the template {template.name} has no cases", hint)
    cases = template_cases.parse_cases(template)
    settings = resolve({**sources, Source.TEMPLATE: template.settings}, endpoint)
    check_conflicts(settings)
    jobs = parse_value(ROWS["jobs"], flags["jobs"]) if "jobs" in flags else settings.options.jobs or 1
    with start_demo_if_asked(settings) as resolved, hide_keys():

        def make_settings(values: Mapping[str, Any]) -> Settings:
            made = resolve({**sources, Source.TEMPLATE: values}, endpoint)
            made = use_demo_model(made) if made.options.demo else made
            return replace(made, options=replace(made.options, base_url=resolved.options.base_url))

        models = flags["model"].texts if "model" in flags else ()
        runs = template_cases.build_runs(template, cases, endpoint, models, make_settings)
        runner = CaseRunner(template_cases.set_max_costs(runs, resolved), resolved, jobs)
        with show_waiting(resolved.options, os.environ):
            results = runner.run()
    return _report(template, results, runner, resolved)


def _report(template: Template, results: Sequence[CaseResult], runner: CaseRunner, settings: Settings) -> int:
    """Print the results and return 0; raise PartialFailure, or the error that ended the run, if not all passed."""
    options = settings.options
    if options.json:
        print_out(json.dumps(list(map(_to_dict, results)), ensure_ascii=False, indent=2) + "\n")
    elif is_terminal(1):
        print_out(format_table(_COLUMNS, map(_build_row, results), table_width()))
    else:
        print_out(format_tsv([_FIELDS, *map(_build_tsv_row, results)]))
    failed, total = [each.status for each in results].count(FAILED), len(results)
    if runner.error:
        raise runner.error
    if runner.is_over_budget:
        limit = format_dollars(options.max_cost or 0)
        raise PartialFailure(f"stopped before --max-cost {limit} could be exceeded; not all cases were sent")
    if failed:
        hint = "" if options.json else "--json shows the answers"
        raise PartialFailure(f"{failed:,} of {total:,} cases of {template.name} failed", hint)
    if not options.quiet:
        print_err(f"aiml: {template.name}: {_count(total)} passed; {runner.stats.format_cost()}")
    return 0


def _count(total: int) -> str:
    return "1 case" if total == 1 else f"all {total:,} cases"


def _build_row(result: CaseResult) -> list[str]:
    tokens = [count for count in _list_tokens(result) if count is not None]
    return [*_describe(result), f"{sum(tokens):,}" if tokens else "", _format_cost(result, "$")]


def _build_tsv_row(result: CaseResult) -> list[str]:
    counts = ("" if count is None else str(count) for count in _list_tokens(result))
    return [*_describe(result), *counts, _format_cost(result, "")]


def _describe(result: CaseResult) -> list[str]:
    return [result.run.case.name or str(result.run.number), result.run.model, result.status, "; ".join(result.failures)]


def _list_tokens(result: CaseResult) -> tuple[int | None, int | None]:
    usage = result.answer.completion.usage if result.answer else None
    return (usage.input_tokens, usage.output_tokens) if usage else (None, None)


def _format_cost(result: CaseResult, sign: str) -> str:
    usd = result.answer.cost_usd if result.answer else None
    return "" if usd is None else f"{sign}{round_dollars(usd)}"


def _to_dict(result: CaseResult) -> dict[str, Any]:
    answer, tokens = result.answer, _list_tokens(result)
    return {
        "case": result.run.number,
        "name": result.run.case.name or None,
        "model": result.run.model,
        "result": result.status.replace(" ", "_"),
        "failures": list(result.failures),
        "error": answer.error.name if answer and answer.error else None,
        "answer": answer.completion.first.text if answer else None,
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "cost_usd": answer.cost_usd if answer else None,
    }
