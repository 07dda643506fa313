"""The state of the REPL: its settings, the conversation, and the files to send with the next message."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiml_cli.api.answer import can_continue
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.api.model_list import Model
from aiml_cli.catalog import pricing
from aiml_cli.cli.repl.session_tools import SessionTools
from aiml_cli.cli.repl.turns import (
    Turn,
    TurnCost,
    build_previous_turns,
    compute_turn_cost,
    join_turns,
    to_summary_turn,
    to_turn,
)
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import CONTINUE_REQUEST
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import use_demo_model
from aiml_cli.errors import AimlError, HungUp, ReaderClosed, Terminated, UsageError
from aiml_cli.output.choose_renderer import choose_output
from aiml_cli.output.format_money import format_total
from aiml_cli.prompt.compose import escape_placeholders
from aiml_cli.prompt.file_sources import FileContent
from aiml_cli.prompt.mentions import (
    Kind,
    LiteralText,
    describe_missing,
    escape_mentions,
    find_mentions,
    is_clearly_path,
    join_typed,
    parse_mentions,
)
from aiml_cli.settings.options import REPL
from aiml_cli.settings.resolve import Flags, RawValue, Settings, Source, check_conflicts, resolve
from aiml_cli.settings.urls import host_of
from aiml_cli.store.config_file import read_sources
from aiml_cli.store.history import edits
from aiml_cli.system.questions import confirm
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import collect_keys

# Flags that apply to the first message only.
FIRST_MESSAGE_FLAGS = (
    "file", "continue", "resume", "messages", "tool_result", "output", "interactive", "edit", "template", "param",
    "previous_response_id", "fork",
)  # fmt: skip
NO_STDIN = {"no_stdin": RawValue(("on",), "the REPL")}
LOADED_SOURCE = "the conversation"
FATAL_ERRORS = (ReaderClosed, Terminated, HungUp)
STDIN_NAME = "stdin"


class PasteLog:
    """The text that was pasted in this session."""

    def __init__(self) -> None:
        self._current: list[str] = []
        self._earlier: list[str] = []

    def add(self, text: str) -> None:
        """Remember a pasted text if it contains @, ! or /, which can attach a file or run a command."""
        if {*"@!/"} & {*text}:
            self._current.append(text.replace("\r\n", "\n").replace("\r", "\n"))

    def end_message(self) -> None:
        """Begin a new message; pastes into earlier messages are kept, because the Up key can bring them back."""
        self._earlier += self._current
        self._current = []

    def contains(self, part: str, line: str) -> bool:
        """True if `part` was pasted into this message, or its complete `line` into an earlier one."""
        return any(part in text for text in self._current) or any(line in text for text in self._earlier)


@dataclass(slots=True)
class Session:
    """A conversation in turns, and the settings that it is sent with.

    `overrides` are the values of /set, and `disabled` the settings that are ignored from every source. `demo_url` is
    the base URL of the demo server with --demo. `conversation_id` is the row in the history, None if nothing is saved;
    `root_response_id` is the stored response before the first turn; `unanswered` is the last request that failed.
    `last_prompt` is the last message as it was typed. `fill` is the last context usage and its input.
    """

    endpoint: str
    flags: Flags
    demo_url: str | None = None
    template_flags: Flags = field(default_factory=dict)
    overrides: dict[str, RawValue] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    files: list[str] = field(default_factory=list)
    shell_outputs: list[FileContent] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    costs: list[TurnCost] = field(default_factory=list)
    conversation_id: int | None = None
    root_response_id: str | None = None
    system: str | None = None
    last_prompt: str = ""
    unanswered: Conversation | None = None
    pastes: PasteLog = field(default_factory=PasteLog)
    tools: SessionTools = field(default_factory=SessionTools)
    has_warned: bool = False
    is_over: bool = False
    fill: tuple[Any, str] = (None, "")

    @property
    def tokens(self) -> int:
        """Return the number of known tokens of this conversation."""
        return sum(cost.total_tokens or 0 for cost in self.costs)

    @property
    def total_cost(self) -> str:
        """Return the known cost of this conversation as a string."""
        return format_total([cost.cost_usd for cost in self.costs])

    @property
    def queued(self) -> list[str]:
        """Return the names of the files and outputs that are sent with the next message."""
        return [*self.files, *(output.name for output in self.shell_outputs)]

    def resolve_settings(self, extra: Mapping[str, RawValue] | None = None) -> Settings:
        """Resolve the current settings; /set takes precedence over the flags of the command line."""
        past = {*FIRST_MESSAGE_FLAGS, *self.overrides}
        typed = {name: value for name, value in self.flags.items() if name not in past}
        template = {name: value for name, value in self.template_flags.items() if name not in self.overrides}
        profile = {"profile": self.overrides["profile"]} if "profile" in self.overrides else {}
        flags = {**typed, **profile, **NO_STDIN, **(extra or {})}
        sources = {**read_sources(flags, os.environ, template), Source.SET: self.overrides}
        for source, values in sources.items():
            sources[source] = {name: value for name, value in values.items() if name not in self.disabled}
        return self._use_demo_url(resolve(sources, self.endpoint))

    def check_flags(self) -> None:
        """Raise UsageError for flags that cannot be used in the REPL."""
        check_conflicts(resolve(read_sources(self.flags, os.environ), self.endpoint), (REPL,))
        if "model" in self.flags and len(self.flags["model"].texts) > 1:
            hint = "-m A,B falls back to B when A is unavailable; /retry -m B repeats the last question with model B"
            raise UsageError("a conversation uses one model", hint)
        if "previous_response_id" in self.flags:
            self.root_response_id = self.flags["previous_response_id"].texts[-1]

    def ask_initial(self, words: Sequence[str]) -> None:
        """Send the message of the command line, with its files and piped input."""
        others = {"continue", "resume", "fork", "interactive"}
        flags: Flags = {name: self.flags[name] for name in self.flags.keys() - others}
        try:
            if flags.keys() & {"template", "param", "edit"}:
                from aiml_cli.core import template_fill  # few conversations begin with a template

                words, flags, self.template_flags = template_fill.prepare_prompt(self.endpoint, words, flags)
            settings = self._use_demo_url(resolve(read_sources(flags, os.environ, self.template_flags), self.endpoint))
            if words or settings.options.file or not self.template_flags:
                self.run_turn(settings, words)
        except AimlError as error:
            report_error(error)

    def attach(self, command: str, output: str) -> None:
        """Send the output of a shell command with the next message."""
        self.shell_outputs.append(FileContent(f"$ {command}", output.encode("utf-8", "replace")))

    def list_templates(self) -> list[str]:
        """Return the names of the templates; raise UsageError if the settings have an error."""
        from aiml_cli.store import template_files  # few prompts are templates

        folders = template_files.expand_folders(self.resolve_settings().options.template_path or ())
        return template_files.list_templates(template_files.TemplateSearch(folders))

    def get_model(self) -> str:
        """Return the current model, or "?" if the settings have an error."""
        try:
            return self.resolve_settings().options.model or ""
        except AimlError:
            return "?"

    def describe_context_usage(self, model: str) -> str:
        """Return how full the model's context is, such as "12% of 128k"; "" before the first turn or if unknown.

        The editor calls it for every key, so it is computed once for each turn and model.
        """
        others = [self.overrides.get(name) for name in ("base_url", "profile", "system")]
        state = (self.turns, self.system, model, *others)
        if state != self.fill[0]:
            self.fill = (state, self._compute_context_usage() if self.turns else "")
        return self.fill[1]

    def _compute_context_usage(self) -> str:
        from aiml_cli.core import context_window  # not needed before the first answer

        try:
            settings = self.resolve_settings()
            request = self._add_previous(ChatRequest(get_endpoint(self.endpoint), (), settings), self.turns)
            messages = request.previous_turns.messages if request.previous_turns else ()
            return context_window.describe_context_usage(settings, messages, request.system or "")
        except AimlError:
            return ""

    def get_editing(self) -> str:
        """Return the key bindings of the line editor, emacs or vi, or "" if the settings have an error."""
        try:
            return self.resolve_settings().options.editing or ""
        except AimlError:
            return ""

    def load_models(self) -> list[Model]:
        """Return the stored catalog, or the models of the demo server; an empty list if there is none."""
        from aiml_cli.catalog.find_models import fetch_models, load_stored_models  # it loads the transport

        settings = self.resolve_settings()
        return (load_stored_models(settings) if self.demo_url is None else fetch_models(settings)) or []

    def ask(self, text: str, extra: Mapping[str, RawValue] | None = None) -> None:
        """Send a typed message with the files that it mentions, and print any error."""
        try:
            content, names, missing = parse_mentions([self.confirm_pasted(text)])
            self.notify_missing(missing)
            words = [LiteralText(escape_placeholders(content, STDIN_NAME))] if content else []
            self.send(words, names, typed=text, extra=extra)
        except AimlError as error:
            report_error(error)

    def confirm_pasted(self, text: str) -> str:
        """Ask before sending files that pasted text mentions; return the text with refused mentions escaped."""
        pasted = [
            mention
            for mention in find_mentions(text)
            if self.pastes.contains(text[mention.start : mention.end], _get_line(text, mention.start))
        ]
        self.notify_missing([m.name for m in pasted if m.kind is Kind.MISSING and is_clearly_path(m.name)])
        names = dict.fromkeys(mention.name for mention in pasted if mention.kind is Kind.FILE)
        if names and confirm(f"the pasted text mentions {sanitize(', '.join(names))}; send the content too?"):
            pasted = [mention for mention in pasted if mention.kind is not Kind.FILE]
        return escape_mentions(text, pasted)

    def notify_missing(self, missing: Sequence[str]) -> None:
        """Print a notice about mentions of files that do not exist."""
        if missing and not self.resolve_settings().options.quiet:
            print_err(f"aiml: {describe_missing(missing)}")

    def send(
        self,
        words: Sequence[str],
        names: Sequence[str],
        *,
        typed: str | None = None,
        extra: Mapping[str, RawValue] | None = None,
    ) -> None:
        """Send a message with the named and the queued files; `typed` is the text for a later /edit."""
        files = tuple(dict.fromkeys((*self.files, *names)))
        flags = {"file": RawValue(files, "/file")} if files else {}
        self.run_turn(self.resolve_settings({**flags, **(extra or {})}), words, typed=typed)

    def run_turn(
        self,
        settings: Settings,
        words: Sequence[str] = (),
        repeated: Conversation | None = None,
        replaced: int = 0,
        typed: str | None = None,
    ) -> None:
        """Send a request, and show and save its answer, which replaces the last `replaced` turns.

        `repeated` is sent instead of the words, without the queued files. `typed` is the message as it was typed.
        """
        check_conflicts(settings)
        outputs = () if repeated else tuple(self.shell_outputs)
        endpoint, spec = get_endpoint(self.endpoint), response_spec_of(settings)
        tools = self.tools.get(settings)
        request = ChatRequest(endpoint, words, settings, spec, extra_files=outputs, repeated=repeated, tools=tools)
        count = len(self.turns) - replaced
        earlier, replaced_turns = self.turns[:count], self.turns[count:]
        result = self._send(self._add_previous(request, earlier))
        if result.summary:
            earlier = self._add_summary(result.summary, earlier)
        self._add_turn(result, earlier, replaced_turns, join_typed(words) if typed is None else typed)
        self._report_ending(result)
        print_out("\n")

    def compact(self, keep: str) -> None:
        """Replace the turns before the last one with a summary by the model; `keep` says what it must contain.

        Raises UsageError if there are no such turns. Other errors are printed, and then nothing changes.
        """
        from aiml_cli.core import compact, context_window  # few conversations are so long

        settings = self.resolve_settings()
        check_conflicts(settings)
        request = self._add_previous(ChatRequest(get_endpoint(self.endpoint), (), settings), self.turns)
        results: list[turn.TurnResult] = []

        def summarize(part: ChatRequest) -> compact.Summary:
            results.append(self._send(part))
            return compact.Summary(results[-1].answer, self.conversation_id)

        try:
            compact.summarize_older(request, context_window.find_known_room(settings), summarize, keep)
        except AimlError as error:
            report_error(compact.explain_unchanged(error))
        else:
            self._add_summary(results[-1], self.turns)
            print_err(f"aiml: {compact.describe_gain(request, self.turns[-1].text)}; /undo undoes it")
        print_out("\n")

    def _add_previous(self, request: ChatRequest, earlier: Sequence[Turn]) -> ChatRequest:
        """Return the request with the turns that precede it."""
        host = host_of(request.url)
        previous = build_previous_turns(earlier, self.conversation_id, self.system, host, self.root_response_id)
        return replace(request, previous_turns=previous)

    def _send(self, request: ChatRequest) -> turn.TurnResult:
        """Send a request, show its answer and record its cost; the conversation stays locked."""
        edits.relock_conversation(self.conversation_id)
        print_out("\n")
        try:
            with collect_keys(is_answer=True):
                result = turn.run_turn(request, choose_output(request.options, os.environ))
        finally:
            edits.ensure_locked(self.conversation_id)
        self._add_cost(result)
        return result

    def _add_summary(self, result: turn.TurnResult, earlier: list[Turn]) -> list[Turn]:
        """Add the result to the turns if it is a summary of the turns before the last one; return the earlier turns."""
        from aiml_cli.core import compact  # few conversations are so long

        if not compact.is_summary(result.request) or compact.find_error(result.answer):
            return earlier
        summary = to_summary_turn(result, len(earlier) - 1)
        self.turns = [*self.turns, summary]
        self.system = result.request.system
        if result.row:
            self.conversation_id = result.row.conversation
            edits.ensure_locked(self.conversation_id)
        return [*earlier, summary]

    def reset(self) -> None:
        """Begin a new conversation with the same settings."""
        edits.unlock_conversation(self.conversation_id)
        self.turns, self.costs = [], []
        self.conversation_id = self.root_response_id = self.system = self.unanswered = None
        self.has_warned = False
        if self.overrides.get("model", RawValue((), "")).source_name == LOADED_SOURCE:
            del self.overrides["model"]

    def warn_not_saved(self) -> None:
        """Print once per conversation that it is not saved in the history."""
        if self.conversation_id is None and not self.has_warned:
            print_err("aiml: this conversation is not stored in the history; it ends when aiml exits")
            self.has_warned = True

    def _use_demo_url(self, settings: Settings) -> Settings:
        if self.demo_url is None:
            return settings
        settings = settings if "model" in self.overrides else use_demo_model(settings)
        return replace(settings, options=replace(settings.options, base_url=self.demo_url))

    def _add_cost(self, result: turn.TurnResult) -> None:
        """Add the cost of a turn; if the gateway reports none, estimate it for the toolbar."""
        settings = result.request.settings
        with_usage = replace(settings, options=replace(settings.options, usage=True))
        if cost := compute_turn_cost(result, pricing.add_estimated_cost(result.answer, with_usage).cost_usd):
            self.costs.append(cost)

    def _add_turn(self, result: turn.TurnResult, earlier: list[Turn], replaced: list[Turn], typed: str) -> None:
        is_sent = bool(result.answer.attempts or result.answer.rounds)
        is_continuation = result.conversation is CONTINUE_REQUEST
        if is_sent and result.request.repeated is None:  # files stay queued until they are sent
            self.last_prompt, self.files, self.shell_outputs = typed, [], []
        added = to_turn(result)
        if added is None:
            self.unanswered = result.conversation if is_sent and not is_continuation else self.unanswered
            return
        self.unanswered = None
        joins = is_continuation and bool(earlier) and not earlier[-1].replaced_turns
        self.turns = [*earlier[:-1], join_turns(earlier[-1], added)] if joins else [*earlier, added]
        self.system = result.request.system
        if result.row:
            self.conversation_id = result.row.conversation
            edits.ensure_locked(self.conversation_id)
        if replaced:
            last_id = replaced[-1].answer_id
            after_id = max((each.answer_id for each in earlier if each.answer_id < last_id), default=0)
            edits.undo_in_history(self.conversation_id, after_id, last_id)

    def _report_ending(self, result: turn.TurnResult) -> None:
        completion, error = result.answer.completion, result.answer.error
        if error is None or "refused" in error.details:  # the user knows what they refused
            if completion.hit_length_limit:
                print_err(f"aiml: {completion.incomplete_reason}")
            return
        if can_continue(completion):
            error.hint = "/continue asks for the rest"
        report_error(error)


def _get_line(text: str, position: int) -> str:
    """Return the line of a text at a position."""
    return text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0]


def report_error(error: AimlError) -> None:
    """Print an error and its hint; raise it instead if it ends the REPL."""
    if isinstance(error, FATAL_ERRORS):
        raise error
    print_err(f"aiml: {error.message}")
    if error.hint:
        print_err(f"hint: {error.hint}")
