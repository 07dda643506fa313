"""Fit a conversation into the model's context: leave out its oldest turns, or replace them with a summary."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.message_conversion import get_role_and_text
from aiml_cli.api.messages import AnyMessage, Conversation, HistoryMode, RawMessage
from aiml_cli.catalog.pricing import bound_tokens, estimate_tokens
from aiml_cli.core import context_window
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.context_window import SMALL_INPUT_TOKENS, Room, estimate_messages
from aiml_cli.core.previous_turns import PreviousTurns, find_turn_starts, is_instruction
from aiml_cli.core.transcript import describe_attachments
from aiml_cli.errors import STOP_ERRORS, AimlError, AnswerMismatch, IncompleteAnswer, UsageError
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.output.plain_text import NullRenderer
from aiml_cli.output.stderr_renderer import NullStderrRenderer
from aiml_cli.prompt.message_parts import wrap_in_tag
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.store import paths
from aiml_cli.store.history import database, locks
from aiml_cli.store.history.reader import PART_OF_SUMMARY, SUMMARY
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal

# The summary request as the history stores it; it is sent before the summary from then on.
SUMMARY_REQUEST = "Summarize our conversation so far."
INSTRUCTIONS = """\
Summarize this conversation between a user and you. The summary will replace it, so keep what is needed to go on: what \
the user wants, facts, names, numbers, decisions, results, open questions, and code or texts that are still worked on. \
Write in the language of the conversation, and nothing but the summary."""
INSTRUCTION_TOKENS = 150
NOTHING_OLDER = "there are no older turns to summarize: the last turn is always kept"
NO_SUMMARY_HINT = "try again, or use another model"
PLACEHOLDER = "[the summary of the older turns]"
# Options that apply to the user's answer but not to a summary.
_ANSWER_ONLY_OPTIONS = (
    "first", "fit", "file", "template", "param", "continue", "resume", "fork", "messages", "edit", "interactive", "n",
    "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "run_tool", "allow", "tools", "tool_choice",
    "parallel_tool_calls", "tool_result", "web_search", "location", "code_interpreter", "mcp_server", "schema",
    "schema_retries", "json_object", "items", "response_format", "previous_response_id", "background", "include",
    "prompt_id", "prompt_version", "prompt_var", "output", "extract", "copy", "format", "json", "audio_out",
    "save_dir", "meta", "allow_cut", "prompt_cache",
)  # fmt: skip
_ANSWER_ONLY_PROPERTIES = (
    "messages", "input", "instructions", "tools", "tool_choice", "functions", "function_call", "response_format",
    "text", "n", "stop", "max_tokens", "max_completion_tokens", "max_output_tokens", "modalities", "audio", "logprobs",
    "top_logprobs", "previous_response_id", "conversation", "prompt", "web_search_options", "background", "include",
)  # fmt: skip


class Summary(NamedTuple):
    """The answer to a request for a summary, and the conversation in the history that it is saved in."""

    answer: Answer
    conversation_id: int | None


# Sends a request for a summary.
Summarize = Callable[[ChatRequest], Summary]


@dataclass(frozen=True, slots=True)
class SummarizedTurns(PreviousTurns):
    """Previous turns that are sent as one string, with instructions to summarize them; `keep` adds the user's own."""

    keep: str = ""

    def join(
        self,
        conversation: Conversation,
        options: Options,
        endpoint: str,
        history: HistoryMode,  # noqa: ARG002 - the turns are always sent as text
    ) -> tuple[Conversation, Options]:
        """Return the messages, with the turns as text in the first one, and the options without a system text.

        Turns that only the server stores, before the first message, are summarized too.
        """
        text = "".join((*wrap_in_tag("conversation", format_turns(self.messages)), "\n\n", INSTRUCTIONS))
        text += f"\nKeep in particular: {self.keep}" if self.keep else ""
        first = Conversation().add_message("user", text)
        root = self.root_response_id if endpoint == "responses" else None
        return first.extend(*conversation.messages[1:]), replace(options, system=None, previous_response_id=root)


def fit_conversation(
    request: ChatRequest, conversation: Conversation, summarize: Summarize | None
) -> tuple[ChatRequest, Conversation]:
    """Return the request and its new messages, shortened as --fit oldest or compact says if they exceed the context.

    Without `summarize` nothing is sent, and a placeholder is used as the summary. Raises UsageError if they cannot fit,
    and the error of a failed summary.
    """
    excess, room = _find_excess(request, conversation)
    if room is None or excess <= 0:
        return request, conversation
    previous = request.previous_turns
    if request.options.fit == "compact" and previous and _count_older(previous):
        request = _compact(request, previous, excess, room, summarize)
        excess, _ = _find_excess(request, conversation)
    else:
        request, conversation, excess = _leave_out_oldest(request, conversation, excess, room)
    if excess > 0:
        raise _too_long_error()
    return request, conversation


def fit_next_round(request: ChatRequest, results: Conversation) -> ChatRequest:
    """Return the request that sends tool results, without the oldest turns if it exceeds the context.

    The turn with the calls is always kept, even if it exceeds the context; the server may then reject the request.
    """
    try:
        excess, room = _find_excess(request, results)
    except UsageError:  # the context is unknown, and the first request was sent all the same
        return request
    return request if room is None or excess <= 0 else _leave_out_oldest(request, results, excess, room)[0]


def _too_long_error() -> UsageError:
    """Return the error for a turn that does not fit, although all older ones are left out."""
    message = "the last turn and the new message do not fit into the model's context"
    return UsageError(message, "shorten the message, start a new conversation, or use a model with a larger context")


def _find_excess(request: ChatRequest, conversation: Conversation) -> tuple[int, Room | None]:
    """Return by how many tokens the request exceeds the context, and the context; None if it fits any context."""
    previous = request.previous_turns
    empty = replace(request.with_known_system(), previous_turns=None).build_body(Conversation())
    tokens = bound_tokens(empty).input_tokens + estimate_messages(conversation.messages)
    if previous is None and len(conversation.messages) <= 1 and tokens <= SMALL_INPUT_TOKENS:
        return 0, None
    tokens += estimate_messages(previous.messages) if previous else 0
    try:
        room = min(_find_room(request.settings, name) for name in (request.options.model, *request.fallback_models))
    except UsageError as error:
        if error.details.get("missing") == context_window.CONTEXT and tokens <= SMALL_INPUT_TOKENS:
            return 0, None  # it fits into every context
        raise
    return tokens - room.tokens, room


def _find_room(settings: Settings, model: str | None) -> Room:
    return context_window.find_room(replace(settings, options=replace(settings.options, model=model)))


def _leave_out_oldest(
    request: ChatRequest, conversation: Conversation, excess: int, room: Room
) -> tuple[ChatRequest, Conversation, int]:
    """Return the request without its oldest turns, or without the oldest ones of --messages, and the new excess."""
    previous = request.previous_turns
    if previous is None:
        messages, excess = _drop_oldest(request, conversation.messages, 0, excess, room)
        return request, Conversation(messages), excess
    messages, excess = _drop_oldest(request, previous.messages, previous.head_count, excess, room)
    raw = tuple(message for message in messages if isinstance(message, RawMessage))
    if len(raw) < len(previous.messages):
        previous = replace(previous, messages=raw, response_id=None, root_response_id=None)
    return replace(request, previous_turns=previous), conversation, excess


def _drop_oldest(
    request: ChatRequest, messages: Sequence[AnyMessage], first: int, excess: int, room: Room
) -> tuple[tuple[AnyMessage, ...], int]:
    """Return the messages with instructions and the last turn but without the oldest turns, and the new excess."""
    starts, dropped, count, before = find_turn_starts(messages, first), set[int](), 0, excess
    for start, end in pairwise(starts):
        if excess <= 0:
            break
        turn = [index for index in range(start, end) if not is_instruction(messages[index])]
        excess -= estimate_messages([messages[index] for index in turn])
        dropped.update(turn)
        count += 1
    if dropped:
        _notify_dropped(request, count, len(starts), before - excess, room)
    return tuple(message for index, message in enumerate(messages) if index not in dropped), excess


def _notify_dropped(request: ChatRequest, count: int, total: int, tokens: int, room: Room) -> None:
    verb = "would leave out" if _is_dry_run(request) else "leaves out"
    turns = "the oldest turn" if count == 1 else f"the {count} oldest turns"
    request.notify(
        f"{verb} {turns} of {total}, about {tokens:,} tokens: the context of {room.model} is {room.context:,}"
    )


def _compact(
    request: ChatRequest, previous: PreviousTurns, excess: int, room: Room, summarize: Summarize | None
) -> ChatRequest:
    """Return the request with a summary in place of the older turns; raise the error of a failed summary."""
    older = estimate_messages([each for each in previous.messages[: previous.last_start] if not is_instruction(each)])
    if excess > older:
        raise _too_long_error()
    turns = describe_turns(_count_older(previous))
    turns = f"{turns}, about {older:,} tokens: the context of {room.model} is {room.context:,}"
    if summarize is None:
        request.notify(f"would first ask for a summary of {turns}; a placeholder is shown in its place")
        return replace(request, previous_turns=use_summary(previous, build_summary_request(request), PLACEHOLDER))
    request.notify(f"asks for a summary of {turns}")
    try:
        summary_request, summary = summarize_older(request, room, summarize)
    except AimlError as error:
        raise _explain(error) from None
    text = summary.answer.completion.first.output_text
    _show_summary(request, text)
    return replace(request, previous_turns=use_summary(previous, summary_request, text, summary.conversation_id))


def summarize_older(
    request: ChatRequest, room: Room | None, summarize: Summarize, keep: str = ""
) -> tuple[ChatRequest, Summary]:
    """Ask for a summary of the older turns; return the last request for it, and its answer.

    Turns that are too long for one request are summarized in parts, each with the summary of the parts before it.
    `keep` says what the summary must include. Raises UsageError if there are no older turns, and the error of a failed
    summary.
    """
    ends, start, so_far = _find_part_ends(request, room), 0, ""
    if len(ends) > 1:
        request.notify(f"the turns are too long for one request: the summary is made in {len(ends)} parts")
        request = _copy_first(request)
    for end in ends:
        part = build_summary_request(request, keep, (start, end), so_far)
        summary = summarize(part)
        if error := find_error(summary.answer):
            raise error
        start, so_far = end, summary.answer.completion.first.output_text
    return part, summary


def _copy_first(request: ChatRequest) -> ChatRequest:
    """Copy the conversation now if --fork is set, so that all parts of the summary are saved in one copy."""
    previous = request.previous_turns
    if previous is None or not previous.copied_until or request.options.no_log:
        return request
    from aiml_cli.core.resume import copy_turns  # few summaries have parts

    return replace(request, previous_turns=copy_turns(previous))


def _find_part_ends(request: ChatRequest, room: Room | None) -> list[int]:
    """Return where the parts of the older turns end; there is one part if all turns fit or the context is unknown."""
    previous = _require_older(request)
    messages, limit = previous.messages[: previous.last_start], room.context * 3 // 4 if room else 0
    if room is None or estimate_tokens(format_turns(messages)) + INSTRUCTION_TOKENS <= room.context:
        return [previous.last_start]
    ends, size = list[int](), 0
    bounds = [*find_turn_starts(messages, previous.head_count)[1:], previous.last_start]
    for start, end in pairwise([0, *bounds]):
        tokens = estimate_tokens(format_turns(messages[start:end]))
        if start and size + tokens > limit:
            ends, size = [*ends, start], 0
        size += tokens
    return [*ends, previous.last_start]


def _require_older(request: ChatRequest) -> PreviousTurns:
    """Return the previous turns; raise UsageError if none is older than the last one."""
    previous = request.previous_turns
    if previous is None or not _count_older(previous):
        raise UsageError(NOTHING_OLDER, "send another message first")
    return previous


def build_summary_request(
    request: ChatRequest, keep: str = "", bounds: tuple[int, int] | None = None, so_far: str = ""
) -> ChatRequest:
    """Return the request for a summary of the older turns; raise UsageError if there are none.

    `bounds` is the range of messages of one part, and `so_far` is the summary of the parts before it.
    """
    previous, keep = _require_older(request), " ".join(keep.split())
    start, end = bounds or (0, previous.last_start)
    older = [message for message in previous.messages[start:end] if not is_instruction(message)]
    older = [RawMessage({"role": SUMMARY, "content": so_far}), *older] if so_far else older
    turns = SummarizedTurns(
        previous.id, tuple(older), previous.system, None, is_truncated=False,
        root_response_id=None if so_far else previous.root_response_id, copied_until=previous.copied_until, keep=keep,
    )  # fmt: skip
    facts = {"until": previous.older_until, "turns": _count_older(previous)}
    if end < previous.last_start:
        facts = {"until": 0, PART_OF_SUMMARY: end}
    text = f"{SUMMARY_REQUEST} Keep in particular: {keep}" if keep else SUMMARY_REQUEST
    return replace(
        request.with_known_system(),
        words=(),
        settings=_choose_settings(request.settings),
        response_spec=None,
        previous_turns=turns,
        extra_files=(),
        repeated=Conversation().add_message("user", text),
        tools=None,
        facts={SUMMARY: facts},
    )


def is_summary(summary_request: ChatRequest) -> bool:
    """True if the request asks for the complete summary, False if it asks for a part of one."""
    return PART_OF_SUMMARY not in (summary_request.facts or {}).get(SUMMARY, {PART_OF_SUMMARY})


def find_error(answer: Answer) -> AimlError | None:
    """Return why an answer cannot be used as a summary: it failed, is incomplete, or has no text."""
    error = answer.error
    if error is None and not answer.completion.first.text.strip():
        return AnswerMismatch("the summary is empty", NO_SUMMARY_HINT)
    if isinstance(error, IncompleteAnswer):  # the flags that help an answer do not help a summary
        error.hint = NO_SUMMARY_HINT
    return error


def use_summary(
    previous: PreviousTurns, summary_request: ChatRequest, text: str, conversation_id: int | None = None
) -> PreviousTurns:
    """Return the turns with a summary in place of the older ones, to be sent in full.

    `conversation_id` is where the summary is saved.
    """
    instructions = [message for message in previous.messages[: previous.last_start] if is_instruction(message)]
    head = (*instructions, *build_summary_messages(summary_request, text))
    return replace(
        previous,
        id=previous.id if conversation_id is None else conversation_id,
        messages=(*head, *previous.messages[previous.last_start :]),
        response_id=None,
        root_response_id=None,
        head_count=len(head),
        last_start=len(head),
        older_until=0,
        copied_until=previous.copied_until if conversation_id is None else 0,
    )


def build_summary_messages(summary_request: ChatRequest, text: str) -> tuple[RawMessage, RawMessage]:
    """Return the messages that send a summary: the short request for it, and its text."""
    request = get_role_and_text((summary_request.repeated or Conversation()).messages[0])[1]
    return RawMessage({"role": "user", "content": request}), RawMessage({"role": "assistant", "content": text})


def format_turns(messages: Sequence[AnyMessage]) -> str:
    """Return turns as plain text for a model; images, files and calls are only described."""
    return "\n".join("".join(wrap_in_tag(role, text)) for role, text in _list_texts(messages))


def _list_texts(messages: Sequence[AnyMessage]) -> Iterator[tuple[str, str]]:
    """Yield role and text of each message that has any."""
    for message in messages:
        role, text = get_role_and_text(message)
        items: Sequence[Any] = [message.item] if isinstance(message, RawMessage) else []
        lines = [f"[{line}]" for line in describe_attachments(items)]
        if whole := "\n".join(filter(None, [text, *lines])):
            yield role, whole


def describe_gain(request: ChatRequest, text: str) -> str:
    """Return a description of how many turns a summary replaces, with the tokens before and after."""
    previous = request.previous_turns
    older = estimate_messages(previous.messages[: previous.last_start]) if previous else 0
    turns = describe_turns(_count_older(previous))
    verb = "is" if _count_older(previous) == 1 else "are"
    return f"{turns} {verb} replaced by this summary: about {older:,} tokens become {estimate_tokens(text):,}"


def explain_unchanged(error: AimlError) -> AimlError:
    """Return the error of a summary request, with a hint that the conversation was not changed."""
    error.hint = "; ".join(filter(None, (error.hint, "the conversation was not changed")))
    return error


def describe_turns(count: int) -> str:
    """Return "an older turn" or "5 older turns"."""
    return "an older turn" if count == 1 else f"{count} older turns"


def make_silent_output() -> AnswerOutput:
    """Return an output that shows nothing."""
    return AnswerOutput(NullRenderer(), NullStderrRenderer(), None, None)


def _count_older(previous: PreviousTurns | None) -> int:
    """Return how many turns are older than the last one and not a summary."""
    if previous is None or previous.last_start <= previous.head_count:
        return 0
    return len(find_turn_starts(previous.messages[: previous.last_start], previous.head_count))


def _choose_settings(settings: Settings) -> Settings:
    """Return the settings without those that apply to the user's answer but not to a summary."""
    defaults = {ROWS[name].attribute: ROWS[name].default for name in _ANSWER_ONLY_OPTIONS}
    given = settings.options.option_ or {}
    properties = {name: value for name, value in given.items() if name.partition(".")[0] not in _ANSWER_ONLY_PROPERTIES}
    if settings.options.format == "text":
        defaults["format"] = "text"
    return replace(settings, options=replace(settings.options, **defaults, option_=properties or None))


def _explain(error: AimlError) -> AimlError:
    """Return the error as one of the summary, with a hint; leave a signal unchanged."""
    if not isinstance(error, STOP_ERRORS):
        error.message = f"the older turns could not be summarized: {error.message}"
        error.hint = "; ".join(filter(None, (error.hint, "--fit oldest leaves them out instead")))
    return error


def _show_summary(request: ChatRequest, text: str) -> None:
    """Show the summary on a terminal; a script finds it in the history."""
    if not request.options.quiet and is_terminal(2):
        print_err(text.rstrip("\n"), dim=True)
    request.notify("continues with the summary")


def lock_again(conversation_id: int) -> None:
    """Lock the conversation for the next exchange, because the end of the last one has released it."""
    if path := paths.history_file():
        locks.acquire(database.lock_path(path), conversation_id)


def _is_dry_run(request: ChatRequest) -> bool:
    return bool(request.options.dry_run or request.options.as_)
