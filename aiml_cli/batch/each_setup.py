"""Prepare what all rows have in common, before any of them is sent."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import Conversation, Message, Part
from aiml_cli.batch.rows import Notify, Row, RowInput, Rows, open_input
from aiml_cli.batch.shards import Shard, parse_shard
from aiml_cli.core.chat_request import ChatRequest, open_tools, resolve_key
from aiml_cli.core.schema_retry import make_response_spec
from aiml_cli.core.start_demo import start_demo_if_asked, use_demo_model
from aiml_cli.errors import UsageError
from aiml_cli.prompt.compose import extract_mentions, replace_placeholders
from aiml_cli.prompt.decode_text import decode_any_text
from aiml_cli.prompt.message_parts import wrap_in_tag
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.store.api_keys import find_stored_key
from aiml_cli.system.stdio import make_notifier

if TYPE_CHECKING:
    from aiml_cli.batch.row_files import RowFileReader

# A template written for piped input has {stdin} in the place of the row.
ROW, STDIN = "row", "stdin"
PART_GAP = "\n\n"  # between texts that become one part
# What an unknown placeholder looks like; everything else in braces is text, such as JSON, code and formulas.
_PLACEHOLDER_NAME = re.compile(r"[^\W\d][\w .#%/?!&+-]*")
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
        return _print_first(endpoint, words, settings, lambda: _open_rows(options, source, notify), shard)
    if options.estimate:
        return _estimate(endpoint, words, settings, lambda: _open_rows(options, source, notify), shard)
    from aiml_cli.batch import each_run  # loads the network modules, so it comes after all checks

    target = each_run.open_target(options)
    if target.fd is not None and source.is_same_file(target.fd):  # each result would become a row, endlessly
        raise UsageError(f"{source.name}: rows cannot be read from the file that the results are written to")
    try:
        with start_demo_if_asked(settings) as resolved, open_tools(resolved, shared=True) as tools:
            request = replace(_build_request(endpoint, words, resolved), tools=tools)
            request = replace(request, known_key=(resolve_key(request),)).with_known_system()
            prompt = RowPrompt(words, request)
            rows = _open_rows(options, source, notify)
            _check_columns(prompt, rows, options.each)
            make = _refuse_secrets(prompt, request)
            request = _strip_run_options(request)
            return each_run.run_rows(
                resolved, request, target, rows,
                shard=shard, template=prompt.template, make=make, digest_files=prompt.digest_files,
            )  # fmt: skip
    finally:
        target.close(complete=False)  # removes the file if no row was sent


def _open_rows(options: Options, source: RowInput, notify: Notify) -> Rows:
    if options.sample:
        from aiml_cli.batch.rows import SampledRows  # few runs use a sample

        return SampledRows(options.each or "", source, notify, size=options.sample)
    return Rows(options.each or "", source, notify)


def _build_request(endpoint: str, words: Sequence[str], settings: Settings) -> ChatRequest:
    """Build the request of a row, without its conversation; a schema is read once."""
    options, spec = settings.options, None
    if options.prompt_cache:
        from aiml_cli.core import turn  # few runs use --prompt-cache; the rows themselves print no warnings

        turn.warn_without_effect(settings)
    if options.schema or options.json_object:
        # The notices on the schema were printed when the flags were checked.
        spec = make_response_spec(replace(settings, options=replace(options, quiet=True)))
    return ChatRequest(get_endpoint(endpoint), words, settings, spec)


def _strip_run_options(request: ChatRequest) -> ChatRequest:
    """Remove the options that apply to the run and not to each row."""
    options = replace(
        request.options, quiet=True, no_log=True, usage=None, meta=None, json=None, format="text", save_dir=None,
        max_cost=None, fit=None, output=None, resume_from=None,
        cache=None if request.options.no_log else request.options.cache,
    )  # fmt: skip
    return replace(request, settings=replace(request.settings, options=options))


class RowPrompt:
    """The parts of the conversation that all rows share: the prompt, the files named in it, and previous turns."""

    def __init__(self, words: Sequence[str], request: ChatRequest) -> None:
        text, names = extract_mentions(_mark_row_files(words), request.notify)
        self._words, notice = decode_any_text(os.fsencode("" if text.strip() == "-" else text), "the prompt")
        if notice:
            request.notify(notice)
        mark = os.urandom(16).hex()
        options = replace(request.options, file=tuple(names) or None, no_stdin=request.options.messages != "-")
        settings = replace(request.settings, options=options)
        *previous, last = replace(request, words=[mark], settings=settings).read_conversation().messages
        self._previous = tuple(previous)
        content: tuple[Part, ...] = getattr(last, "content", ())
        self._common, self._before = content[:-1], str(content[-1]).removesuffix(mark)
        # One text more than file names: each pattern of a file name is between two texts.
        self._texts, self._file_names = _split_at_row_files(self._words, words)
        self._files = _make_file_reader(request) if self._file_names else None

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise UsageError for a placeholder that is not a column."""
        names = dict.fromkeys(columns, "")
        self._fill_words(Row(0, "", names or "", names))

    def fill(self, row: Row) -> Conversation:
        """Return the conversation of a row; raise UsageError if the row is invalid."""
        if row.error:
            raise UsageError(row.error)
        text, names = self._fill_text(row)
        parts = self._files.take(row, names).parts if self._files else ()
        if not (parts or text.strip()):
            raise UsageError("the prompt is empty")
        return self._join_files(text, parts) if parts else self._join(text)

    def list_texts(self, row: Row) -> Sequence[tuple[str, str]]:
        """Return the texts that a row sends, with their names; raise UsageError if it names an invalid file."""
        files = self._files.read(row, self._fill_text(row)[1]).texts if self._files and not row.error else ()
        return [(f"row {row.number}", row.text), *files]

    def list_file_names(self, row: Row) -> Sequence[str]:
        """Return the names of the files that a row names; raise UsageError for an unknown placeholder."""
        if not self._files:
            return ()
        from aiml_cli.batch.row_files import trim_name

        return list(map(trim_name, self._fill_text(row)[1]))

    def digest_files(self, row: Row) -> bytes:
        """Return a digest of the files that a row names: b"" if there are none, a null byte if one is invalid."""
        if self._files is None or row.error:
            return b""
        try:
            return self._files.read(row, self._fill_text(row)[1]).digest
        except UsageError:
            return b"\0"

    @property
    def template(self) -> Conversation:
        """Return the conversation of all rows, with the placeholders in it."""
        names = [f"@{name}" for name in self._file_names]
        return self._join("".join(map("".join, zip(self._texts, [*names, ""], strict=True))))

    def _join(self, text: str) -> Conversation:
        return Conversation((*self._previous, Message("user", (*self._common, self._before + text))))

    def _join_files(self, text: str, parts: Sequence[Part]) -> Conversation:
        """Return the conversation with the parts of files before the text, which may be blank."""
        content: list[Part] = [*self._common]
        for part in (self._before.removesuffix(PART_GAP), *parts, text):
            if isinstance(part, str) and content and isinstance(content[-1], str):
                content[-1] += PART_GAP + part if part.strip() else ""
            elif not isinstance(part, str) or part.strip():
                content.append(part)
        return Conversation((*self._previous, Message("user", tuple(content))))

    def _fill_text(self, row: Row) -> tuple[str, Sequence[str]]:
        """Return the prompt of a row, and the names of its files."""
        if not self._words.strip():
            return row.text, ()
        text, names, has_row = self._fill_words(row)
        if names and not "".join(self._texts).strip():
            return "", names
        return text if has_row else "".join((*wrap_in_tag("stdin", row.text), PART_GAP, text)), names

    def _fill_words(self, row: Row) -> tuple[str, Sequence[str], bool]:
        """Return the prompt with filled placeholders, the names of the files, and whether a placeholder was filled.

        Raises UsageError for an unknown placeholder.
        """
        filler = _PlaceholderFiller(row)
        pieces, names = [filler.fill(self._texts[0])], list[str]()
        for pattern, text in zip(self._file_names, self._texts[1:], strict=True):
            name = filler.fill_name(pattern)
            names += [name] if name is not None else []
            pieces += [f"@{pattern}" if name is None else name, filler.fill(text)]
        return "".join(pieces), names, filler.has_filled


class _PlaceholderFiller:
    """Fills placeholders with the values of a row; `has_filled` is True once one was filled."""

    def __init__(self, row: Row) -> None:
        self._row, self._columns = row, {name.strip(): value for name, value in row.columns.items()}
        self._values = {ROW: row.text, STDIN: row.text, **self._columns}
        self.has_filled = False

    def fill(self, text: str) -> str:
        """Return the text with filled placeholders; raise UsageError for an unknown one."""
        return replace_placeholders(text, self._replace)

    def fill_name(self, pattern: str) -> str | None:
        """Return a file name, or None if its braces are not placeholders; raise UsageError for an unknown one."""
        values: list[str | None] = []

        def replace_and_note(inside: str, _before: str) -> str | None:
            values.append(self._find_name(inside))
            return values[-1]

        bare = pattern[1:-1] if pattern[0] in "\"'" else pattern
        name = replace_placeholders(bare, replace_and_note)
        return None if values.count(None) == len(values) else name

    def _replace(self, inside: str, before: str) -> str | None:
        if (name := inside.strip()) in self._values:
            self.has_filled = True
            return self._values[name]
        if _is_placeholder(inside, before, self._values):
            raise _build_unknown_error(name, list(self._columns))
        return None

    def _find_name(self, inside: str) -> str | None:
        name, value = inside.strip(), self._row.value
        if name in (ROW, STDIN) and name not in self._columns:
            if isinstance(value, dict | list):
                columns = " or ".join(f"@{{{column}}}" for column in self._columns)
                raise UsageError(f"@{{{name}}}: a row with columns cannot be a file name", columns and f"use {columns}")
            self.has_filled = True
            return value if isinstance(value, str) else self._row.text
        if isinstance(value, dict) and value.get(name, "") is None:
            self.has_filled = True
            return ""  # null means no file, not a file called null
        return self._replace(inside, "")


def _mark_row_files(words: Sequence[str]) -> Sequence[str]:
    """Mark the file names with placeholders in a typed prompt; those of a template are already marked."""
    if not any(type(word) is str and "@" in word for word in words):
        return words
    from aiml_cli.prompt.mentions import mark_row_files  # few prompts have a mention

    return mark_row_files(words)


def _split_at_row_files(text: str, words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Split a marked prompt into its texts, and the file names between them."""
    if not any(type(word) is not str or "@" in word for word in words):
        return [text], ()
    from aiml_cli.prompt.mentions import split_at_row_files

    pieces = split_at_row_files(text)
    return pieces[::2], pieces[1::2]


def _is_placeholder(inside: str, before: str, values: Mapping[str, str]) -> bool:
    """True if text in braces looks like a placeholder (a few words, or similar to a column name), not like code."""
    name = inside.strip()
    is_code = _CODE_BEFORE.search(before) or len(name) > MAX_NAME_LENGTH or set(name) & CODE_CHARS
    is_name = inside == name and _PLACEHOLDER_NAME.fullmatch(name)
    return not is_code and bool(is_name or get_close_matches(name, values, 1, 0.8))


def _build_unknown_error(name: str, columns: Sequence[str]) -> UsageError:
    near = get_close_matches(name, [*columns, ROW], 1)
    known = f"available: {', '.join(f'{{{column}}}' for column in (ROW, *columns))}"
    hint = f"did you mean {{{near[0]}}}? {known}" if near else f"{known}; write {{{{{name}}}}} to send it as text"
    return UsageError(f"there is no column {{{name}}}", hint)


def _check_columns(prompt: RowPrompt, rows: Rows, row_format: str | None) -> None:
    """Check the placeholders against the header; JSON lines have no header, because each has its own columns."""
    if row_format != "jsonl":
        prompt.check_columns(rows.header or ())


def _make_file_reader(request: ChatRequest) -> "RowFileReader":
    from aiml_cli.batch.row_files import RowFileReader  # few runs have files

    return RowFileReader(request)


def _refuse_secrets(prompt: RowPrompt, request: ChatRequest) -> "Callable[[Row], Conversation]":
    """Return `fill` with a check that rejects secrets in rows and in their files, unless --allow-secrets is set."""
    if request.options.allow_secrets:
        return prompt.fill
    from aiml_cli.prompt.find_secrets import find_secrets

    key = request.known_key[0] if request.known_key else None
    known = [key.value] if key else []

    def fill(row: Row) -> "Conversation":
        findings = [finding for name, text in prompt.list_texts(row) for finding in find_secrets(name, text, known)]
        if certain := [finding for finding in findings if finding.is_certain]:
            raise UsageError(f"not sent: {'; '.join(map(str, certain))}", "--allow-secrets sends it anyway")
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
        conversation, names = _fill_first(words, request, make_rows(), shard)
        options = replace(request.options, file=tuple(names) or None)  # the program also reads them
        settings = replace(request.settings, options=options)
        return dry_run.print_snippet(replace(request, repeated=conversation, settings=settings))


def _estimate(
    endpoint: str, words: Sequence[str], settings: Settings, make_rows: Callable[[], Rows], shard: Shard
) -> int:
    """Print how many rows and tokens the run would send, and its price; send nothing."""
    from aiml_cli.batch import row_estimate
    from aiml_cli.batch.resume_file import RowHasher

    resolved = use_demo_model(settings) if settings.options.demo else settings
    resolved = replace(resolved, options=replace(resolved.options, dry_run=True))  # notices then say "would"
    with open_tools(resolved, shared=True) as tools:
        request = replace(_build_request(endpoint, words, resolved), tools=tools)
        key = find_stored_key(resolved, request.url)  # rows that contain it are rejected; it may be missing
        request = replace(request, known_key=(key,)).with_known_system()
        prompt, rows = RowPrompt(words, request), make_rows()
        _check_columns(prompt, rows, request.options.each)
        make, request = _refuse_secrets(prompt, request), _strip_run_options(request)
        hasher = RowHasher(request, prompt.template, prompt.digest_files)
        chosen = (row for row in rows if shard.has(row.number))
        return row_estimate.estimate_rows(resolved, request, chosen, make=make, hasher=hasher, template=prompt.template)


def _fill_first(
    words: Sequence[str], request: ChatRequest, rows: Rows, shard: Shard
) -> tuple[Conversation, Sequence[str]]:
    """Return the conversation and the files of the first row of the shard; raise UsageError if there is none."""
    prompt = RowPrompt(words, request)
    _check_columns(prompt, rows, request.options.each)
    row = next((row for row in rows if shard.has(row.number)), None)
    if row is None:
        raise UsageError("there are no rows to show")
    return prompt.fill(row), prompt.list_file_names(row)


def _check_input(settings: Settings) -> None:
    options = settings.options
    files = options.file or ()
    if len(files) > 1:
        hint = "write @FILE in the prompt to attach a file to every row"
        raise UsageError(f"--each reads rows from one file, not {len(files)}", hint)
    if options.messages == "-" and not (files and files[0] != "-"):
        raise UsageError("--messages and the rows cannot both be read from standard input")
