"""Prepare what all rows have in common, before any of them is sent."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import Conversation, Message
from aiml_cli.batch.rows import Row, Rows, open_input
from aiml_cli.batch.shards import Shard, parse_shard
from aiml_cli.core.chat_request import ChatRequest, open_tools, resolve_key
from aiml_cli.core.schema_retry import make_response_spec
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import UsageError
from aiml_cli.prompt.attachments import wrap_in_tag
from aiml_cli.prompt.compose import extract_mentions, replace_placeholders
from aiml_cli.prompt.decode_text import decode_any_text
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import make_notifier

# A template says {stdin} where the row belongs: that is what would be piped in.
ROW, STDIN = "row", "stdin"
# What an unknown placeholder looks like; all else in braces is text, such as JSON, code and formulas.
_WORDS = re.compile(r"[^\W\d][\w .#%/?!&+-]*")
CODE_CHARS = frozenset("\"'`:;=<>|\\")
MAX_NAME_LENGTH = 64
_CODE_BEFORE = re.compile(r"[$#@^_]$|\\[A-Za-z]{1,20}(?:\{[^{}]{0,60}\})*$")


def ask_each(endpoint: str, words: Sequence[str], settings: Settings) -> int:
    """Send a request for each row; return 0 if all succeeded, else raise the error."""
    _check_input(settings)
    options, shard = settings.options, parse_shard(settings.options.shard, os.environ)
    notify = make_notifier(options.quiet) or (lambda _: None)
    source = open_input(options, notify)
    settings = replace(settings, options=replace(options, file=None))
    if options.dry_run or options.as_:
        return _print_first(endpoint, words, settings, lambda: Rows(options.each or "", source, notify), shard)
    from aiml_cli.batch import each_run  # the network is loaded when all else is in order

    target = each_run.open_target(options)
    if target.fd is not None and source.is_same_file(target.fd):  # each result would be a row, without end
        raise UsageError(f"{source.name}: the rows are read from the file that the results go to")
    try:
        with start_demo_if_asked(settings) as resolved, open_tools(resolved, shared=True) as tools:
            request = replace(_build_request(endpoint, words, resolved), tools=tools)
            request = replace(request, known_key=(resolve_key(request),)).with_known_system()
            prompt = RowPrompt(words, request)
            rows = Rows(options.each or "", source, notify)
            _check_columns(prompt, rows, options.each)
            make = _refuse_secrets(prompt, request)
            request = _strip_run_options(request)
            return each_run.run_rows(resolved, request, target, rows, shard=shard, template=prompt.template, make=make)
    finally:
        target.close(complete=False)  # removes the file if no row was asked


def _build_request(endpoint: str, words: Sequence[str], settings: Settings) -> ChatRequest:
    """Build the request of a row, without its conversation; a schema is read once."""
    options, spec = settings.options, None
    if options.prompt_cache:
        from aiml_cli.core import turn  # few runs mark their prompts, and the rows themselves print nothing

        turn.warn_without_effect(settings)
    if options.schema or options.json_object:
        # The notices on the schema were printed when the flags were checked.
        spec = make_response_spec(replace(settings, options=replace(options, quiet=True)))
    return ChatRequest(get_endpoint(endpoint), words, settings, spec)


def _strip_run_options(request: ChatRequest) -> ChatRequest:
    """Remove the options that are for the run as a whole, and not for each row."""
    options = replace(
        request.options, quiet=True, no_log=True, usage=None, meta=None, json=None, format="text", save_dir=None,
        max_cost=None, fit=None, output=None, resume_from=None,
        cache=None if request.options.no_log else request.options.cache,
    )  # fmt: skip
    return replace(request, settings=replace(request.settings, options=options))


class RowPrompt:
    """What the conversations of all rows have in common: words, files named among them, and previous turns."""

    def __init__(self, words: Sequence[str], request: ChatRequest) -> None:
        text, names = extract_mentions(words, request.notify)
        self._words, notice = decode_any_text(os.fsencode("" if text.strip() == "-" else text), "the prompt")
        if notice:
            request.notify(notice)
        mark = os.urandom(16).hex()
        options = replace(request.options, file=tuple(names) or None, no_stdin=request.options.messages != "-")
        settings = replace(request.settings, options=options)
        *previous, last = replace(request, words=[mark], settings=settings).read_conversation().messages
        self._previous = tuple(previous)
        self._parts = [part.split(mark) if isinstance(part, str) else part for part in getattr(last, "content", ())]

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise UsageError for a placeholder that is no column."""
        self._fill_words("", dict.fromkeys(columns, ""))

    def fill(self, row: Row) -> Conversation:
        """Return the conversation of a row; raise UsageError if the row is invalid."""
        if row.error:
            raise UsageError(row.error)
        text = self._fill_text(row)
        if not text.strip():
            raise UsageError("the prompt is empty")
        return self._join(text)

    @property
    def template(self) -> Conversation:
        """Return the conversation of all rows, with the placeholders in it."""
        return self._join(self._words)

    def _join(self, text: str) -> Conversation:
        parts = tuple(text.join(part) if isinstance(part, list) else part for part in self._parts)
        return Conversation((*self._previous, Message("user", parts)))

    def _fill_text(self, row: Row) -> str:
        if not self._words.strip():
            return row.text
        text, has_row = self._fill_words(row.text, row.columns)
        return text if has_row else "".join((*wrap_in_tag("stdin", row.text), "\n\n", text))

    def _fill_words(self, row_text: str, columns: Mapping[str, str]) -> tuple[str, bool]:
        """Return the words with the row in them, and whether it is; raise UsageError for an unknown placeholder."""
        values = {ROW: row_text, STDIN: row_text, **{name.strip(): value for name, value in columns.items()}}
        filled: list[str] = []

        def replace_name(inside: str, before: str) -> str | None:
            if (name := inside.strip()) in values:
                filled.append(name)
                return values[name]
            if _is_meant(inside, before, values):
                raise _build_unknown_error(name, [column.strip() for column in columns])
            return None

        return replace_placeholders(self._words, replace_name), bool(filled)


def _is_meant(inside: str, before: str, values: Mapping[str, str]) -> bool:
    """True if braces look like a placeholder: a few words, or nearly a column; not if they are code or a formula."""
    name = inside.strip()
    is_code = _CODE_BEFORE.search(before) or len(name) > MAX_NAME_LENGTH or set(name) & CODE_CHARS
    is_name = inside == name and _WORDS.fullmatch(name)
    return not is_code and bool(is_name or get_close_matches(name, values, 1, 0.8))


def _build_unknown_error(name: str, columns: Sequence[str]) -> UsageError:
    near = get_close_matches(name, [*columns, ROW], 1)
    known = f"there is {', '.join(f'{{{column}}}' for column in (ROW, *columns))}"
    hint = f"did you mean {{{near[0]}}}? {known}" if near else f"{known}; {{{{{name}}}}} is that text"
    return UsageError(f"no column is called {{{name}}}", hint)


def _check_columns(prompt: RowPrompt, rows: Rows, row_format: str | None) -> None:
    """Check the prompt's variables against the header; JSON lines have none, each has its own columns."""
    if row_format != "jsonl":
        prompt.check_columns(rows.header or ())


def _refuse_secrets(prompt: RowPrompt, request: ChatRequest) -> "Callable[[Row], Conversation]":
    """Return `fill`, with a check that refuses rows with secrets unless they are allowed."""
    if request.options.allow_secrets:
        return prompt.fill
    from aiml_cli.prompt.find_secrets import find_secrets

    key = request.known_key[0] if request.known_key else None
    known = [key.value] if key else []

    def fill(row: Row) -> "Conversation":
        findings = find_secrets(f"row {row.number}", row.text, known)
        if certain := [finding for finding in findings if finding.is_certain]:
            raise UsageError(f"not sent: {'; '.join(map(str, certain))}", "--allow-secrets sends it")
        if findings:
            request.notify(f"sends what may be a secret: {'; '.join(map(str, findings))}")
        return prompt.fill(row)

    return fill


def _print_first(
    endpoint: str, words: Sequence[str], settings: Settings, make_rows: Callable[[], Rows], shard: Shard
) -> int:
    """Print the program for the first row of the shard, and send nothing."""
    from aiml_cli.core import dry_run

    resolved = dry_run.use_placeholder_server(settings)
    with open_tools(resolved, shared=True) as tools:
        request = replace(_build_request(endpoint, words, resolved), tools=tools)
        return dry_run.print_snippet(replace(request, repeated=_fill_first(words, request, make_rows(), shard)))


def _fill_first(words: Sequence[str], request: ChatRequest, rows: Rows, shard: Shard) -> Conversation:
    """Return the conversation of the first row of the shard; raise UsageError if there is none."""
    prompt = RowPrompt(words, request)
    _check_columns(prompt, rows, request.options.each)
    row = next((row for row in rows if shard.has(row.number)), None)
    if row is None:
        raise UsageError("there is no row to show")
    return prompt.fill(row)


def _check_input(settings: Settings) -> None:
    options = settings.options
    files = options.file or ()
    if len(files) > 1:
        hint = "name what goes along with every row as @FILE behind the command"
        raise UsageError(f"--each takes its rows from one file, not {len(files)}", hint)
    if options.messages == "-" and not (files and files[0] != "-"):
        raise UsageError("standard input cannot be both --messages and the rows")
