"""Run one turn: send the request, show the answer, check it, and write it into the history."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer, add_costs, add_tokens, can_continue, error_from_completion
from aiml_cli.api.completion_builder import Completion, add_usage
from aiml_cli.api.messages import Conversation
from aiml_cli.api.stream_events import Usage
from aiml_cli.core.build_conversation import CONVERSATION_FITS
from aiml_cli.core.chat_request import ChatRequest, build_headers, build_request, is_stored_action, resolve_key
from aiml_cli.core.history_journal import Journal, make_journal
from aiml_cli.core.send_with_retries import RetryPacer, Sender, TurnContext
from aiml_cli.errors import STOP_ERRORS, AimlError, AnswerMismatch, IncompleteAnswer, RequestRejected
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.value_types import OFF, parse_age
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import make_notifier, print_err

if TYPE_CHECKING:
    from aiml_cli.core.compact import Summary
    from aiml_cli.output.save_media import MediaWriter
    from aiml_cli.store.history.writer import AnswerId
    from aiml_cli.transport.cache import ResponseCache
    from aiml_cli.transport.choose_transport import Client

EMPTY = "the answer is empty"
_printed_notices = set[str]()  # notices that are printed once, not for each row or turn
CONTINUE_HINT = "-c asks for the rest; or "


class TurnResult(NamedTuple):
    """The request and its answer; `conversation` is None if the turn ended before anything was sent.

    `answer.error` is what went wrong. `row` is the answer in the history, None if it was not saved. `summary` is the
    turn before this one that asked for a summary of older turns, or for the last part of one; the tokens and the cost
    of all parts are added to those of the answer.
    """

    request: ChatRequest
    conversation: Conversation | None
    answer: Answer
    row: "AnswerId | None" = None
    summary: "TurnResult | None" = None


def run_turn(
    request: ChatRequest, output: AnswerOutput, client: "Client | None" = None, pacer: RetryPacer | None = None
) -> TurnResult:
    """Send a request and show the answer; errors of the server, the network and the user are in the result.

    `client` stays open for the next request of this thread; `pacer` is shared with other threads.
    """
    turn = _Turn(request, output, client, pacer)
    error: AimlError | None = None
    media: MediaWriter | None = None
    try:
        media = _open_media(request.options)
        error = turn.run()
    except AimlError as failure:
        error = failure.with_traceback(None)  # the frames would keep the parts of the answer in memory
        _add_advice(error, turn.request)
    except Stopped as stop:
        error = stop.error
    request, journal = turn.request, turn.sender.journal
    answer = _check_answer(request, journal, turn.sender.answer(error))
    if turn.sender.broken_answers:
        answer = _add_broken(answer, turn.sender.broken_answers, request, turn.conversation or Conversation())
    answer = media.save(answer) if media else answer
    answer = _close(output, turn.sender, _add_cost(answer, request), request, turn.summaries)
    summary = turn.summaries[-1] if turn.summaries else None
    return TurnResult(request, turn.conversation, answer, journal.row if journal else None, summary)


class _Turn:
    """A running turn; its attributes are valid even if it ends early."""

    def __init__(
        self, request: ChatRequest, output: AnswerOutput, client: "Client | None", pacer: RetryPacer | None
    ) -> None:
        self.request, self._output, self._client, self._pacer = request, output, client, pacer
        self.conversation: Conversation | None = None
        self.summaries: list[TurnResult] = []
        self.sender = self._make_sender(None)

    def _make_sender(self, journal: Journal | None, cache: "ResponseCache | None" = None) -> Sender:
        options, tools = self.request.options, self.request.tools
        return Sender(
            self.request.endpoint,
            options,
            client=self._client,
            pacer=self._pacer,
            journal=journal,
            keeps_client=tools is not None,
            on_sent=tools.warm_up if tools else None,
            cache=cache,
        )

    def run(self) -> AimlError | None:
        """Run the turn; with several models, return the error of the last one. All other errors are raised."""
        self.request = resolve_conversation(self.request)
        if is_stored_action(self.request.options):
            self._run_stored_action()
            return None
        self.conversation = self.request.read_conversation()
        self.request = self.request.with_known_system()
        if self.request.options.fit in CONVERSATION_FITS:
            self.conversation = self._fit(self.conversation)
        context = self._prepare(self.conversation)
        if not self.request.fallback_models:
            _send(context)
            return None
        from aiml_cli.core import model_fallback  # most requests name one model

        self.request, error = model_fallback.send_with_fallback(context, _send, _add_advice)
        return error

    def _fit(self, conversation: Conversation) -> Conversation:
        """Shorten the previous turns if the request exceeds the model's context; return the new messages."""
        from aiml_cli.core import compact  # few conversations are so long

        request, conversation = compact.fit_conversation(self.request, conversation, self._summarize)
        known_key = self.summaries[-1].request.known_key if self.summaries else request.known_key
        self.request = replace(request, known_key=known_key)
        return conversation

    def _summarize(self, request: ChatRequest) -> "Summary":
        """Ask for a summary of older turns, as a separate turn."""
        from aiml_cli.core import compact  # as above

        known_key = self.summaries[-1].request.known_key if self.summaries else (resolve_key(request),)
        options, limit = request.options, request.options.max_cost
        if limit is not None:
            options = replace(options, max_cost=max(0.0, limit - _cost_of(self.summaries)))
        request = replace(request, known_key=known_key, settings=replace(request.settings, options=options))
        result = run_turn(request, compact.make_silent_output(), self._client, self._pacer)
        self.summaries.append(result)
        if result.row:
            compact.lock_again(result.row.conversation)
        return compact.Summary(result.answer, result.row.conversation if result.row else None)

    def _prepare(self, conversation: Conversation) -> TurnContext:
        request, key = self.request, resolve_key(self.request)
        if request.options.prompt_cache:
            warn_without_effect(request.settings)
        budget = reservation = None
        cache, limit = _open_cache(request), request.options.max_cost
        if limit is not None and not (request.options.replay or self._is_free(cache, conversation, key)):
            from aiml_cli.core.budget import Budget, reserve_first  # few users set a limit

            budget = Budget(limit)
            if self.summaries:
                budget.settle(0.0, _cost_of(self.summaries))
            reservation = reserve_first(budget, request, conversation)
        self.sender = self._make_sender(make_journal(request, conversation, os.environ), cache)
        return TurnContext(self.sender, request, conversation, key, self._output, budget, reservation)

    def _is_free(self, cache: "ResponseCache | None", conversation: Conversation, key: ApiKey | None) -> bool:
        """True if the cache has the answer."""
        if cache is None:
            return False
        return cache.can_answer(build_request(self.request, self.request.build_body(conversation), key))

    def _run_stored_action(self) -> None:
        """Show, wait for or cancel a stored response; check the id before looking for a key."""
        from aiml_cli.core import background_responses  # for few calls only

        action = background_responses.parse_action(self.request.settings, self.request.words)
        headers = build_headers(resolve_key(self.request), "application/json")
        http_request = action.build_request(self.request.url, headers)
        if action.verb != "cancel":
            self.sender = self._make_sender(make_journal(self.request, Conversation(), os.environ, action.response_id))
        background_responses.run_action(action, self.sender, http_request, self._output)


def warn_without_effect(settings: Settings) -> None:
    """Print once for each model that --prompt-cache has no effect, if it was set for this call."""
    from aiml_cli.api.prompt_cache import takes_marks  # for few calls only

    model, source = settings.options.model or "", settings.sources.get("prompt_cache")
    is_said = source in (Source.FLAG, Source.SET)
    if is_said and not settings.options.quiet and not takes_marks(model):
        _print_once(f"--prompt-cache has no effect: only Claude models support it, and {model} is not one")


def _print_once(notice: str) -> None:
    if notice not in _printed_notices:
        _printed_notices.add(notice)
        print_err(f"aiml: {notice}")


def resolve_conversation(request: ChatRequest) -> ChatRequest:
    """Add the previous turns of --continue or --resume, and select the first of several models."""
    if request.options.continue_ or request.options.resume:
        from aiml_cli.core import resume  # for few calls only

        request = resume.load_previous_turns(request, os.environ)
    if "," in (request.options.model or ""):
        from aiml_cli.core import model_fallback  # most requests name one model

        request = model_fallback.start_fallback(request)
    return request


def _add_advice(error: AimlError, request: ChatRequest) -> None:
    """Add a hint to a rejection: what the catalog says, or the command for the other endpoint."""
    is_rejection = isinstance(error, RequestRejected) or error.details.get("missing") == "path"
    if is_rejection and not is_stored_action(request.options):
        from aiml_cli.catalog import find_models  # only after an error

        find_models.improve_hint(error, request.settings, request.endpoint.name)


def _open_media(options: Options) -> "MediaWriter | None":
    if not (options.audio_out or options.save_dir):
        return None
    from aiml_cli.output.save_media import MediaWriter  # for few calls only

    return MediaWriter(options)


def _send(context: TurnContext) -> None:
    if context.request.tools is None:
        _send_once(context)
        return
    from aiml_cli.core import tool_loop  # few calls have tools

    tool_loop.send_with_tools(context, context.request.tools, _send_once)


def _send_once(context: TurnContext) -> None:
    """Get one answer, which may take several requests."""
    request = context.request
    if request.options.background:
        from aiml_cli.core import background_responses  # like those below, for few calls only

        background_responses.start_background(context)
    elif request.response_spec and request.options.schema_retries:
        from aiml_cli.core import schema_retry

        schema_retry.send_until_valid(context)
    elif request.options.auto_continue:
        from aiml_cli.core import resume

        resume.send_and_continue(context)
    elif request.previous_turns:
        from aiml_cli.core import resume

        resume.send_with_history(context)
    else:
        context.send(context.build_body())


def _check_answer(request: ChatRequest, journal: Journal | None, answer: Answer) -> Answer:
    """Check the content of an answer, and return the answer with an error if the check fails."""
    options, error, completion = request.options, answer.error, answer.completion
    has_ended = completion.status not in ("queued", "in_progress")
    is_cut = isinstance(error, IncompleteAnswer) and "stopped_by" not in error.details
    if error is None or (is_cut and completion.is_complete):
        # An answer is complete even if the connection breaks after its end.
        error = error_from_completion(
            completion,
            allow_cut=bool(options.allow_cut),
            background=bool(options.background) and not is_stored_action(options),
            cancelling=bool(options.cancel),
        )
    if error is None and request.response_spec and has_ended:
        from aiml_cli.core import schema_retry  # for few calls only

        error = schema_retry.check_answer(request, completion)
        answer = replace(answer, data=schema_retry.parse_data(request, completion))
    if error is None and options.extract and has_ended:
        from aiml_cli.output import code_blocks  # for few calls only

        error = code_blocks.missing_block_error(options.extract, completion, is_saved=journal is not None)
    if error is None and completion.is_empty and has_ended and not options.cancel:
        if options.output or options.copy:  # an empty answer must not replace a file or the clipboard
            error = AnswerMismatch(EMPTY, "try again, or rephrase the request")
        else:
            request.notify(EMPTY)
    elif error is None and has_ended and not options.quiet:
        _report_missing(request, completion)
    if journal and isinstance(error, IncompleteAnswer) and can_continue(completion):
        error.hint = CONTINUE_HINT + error.hint
    return answer if error is answer.error else replace(answer, error=error)


def _report_missing(request: ChatRequest, completion: Completion) -> None:
    """Print once for each model what was requested but is not in the answer: choices, log probabilities."""
    options, model, count = request.options, request.options.model, len(completion.choices)
    is_chat = request.endpoint.name == "chat"  # the other endpoint ignores these settings
    if is_chat and options.n and count < options.n:
        _print_once(f"{model} sent {count} of {options.n} choices (-n)")
    is_asked = is_chat and (options.logprobs or options.top_logprobs is not None)
    is_asked = is_asked or (not is_chat and "message.output_text.logprobs" in (options.include or ()))
    texts = [choice for choice in completion.choices if choice.text]
    if is_asked and texts and not any(choice.logprobs for choice in texts):
        _print_once(f"{model} sent no log probabilities")


def _add_cost(answer: Answer, request: ChatRequest) -> Answer:
    """Add the estimated cost if it is shown."""
    options = request.options
    if not (options.usage or options.meta or options.json or options.format in {"json", "jsonl"}):
        return answer
    from aiml_cli.catalog import pricing  # a catalog of a thousand models takes 25 ms to read

    if options.usage and options.prompt_cache:
        answer = pricing.add_savings(answer, request.settings)
    return pricing.add_estimated_cost(answer, request.settings)


def _close(
    output: AnswerOutput, sender: Sender, answer: Answer, request: ChatRequest, summaries: Sequence[TurnResult]
) -> Answer:
    """Show the end of the answer, then save the answer, even if it could not be shown.

    The cost that is shown is that of the complete call; earlier answers are saved with their own cost.
    """
    parts = [summary.answer for summary in summaries]
    others = [_add_cost(earlier, request) for earlier in (*parts, *sender.earlier_answers)]

    def add_earlier(answer: Answer) -> Answer:
        answer = _add_rounds(add_costs(answer, [*others, answer]) if others else answer, sender)
        return _add_usage(answer, parts) if parts else answer

    is_complete = answer.error is None and answer.completion.is_complete and not answer.completion.is_empty
    is_unusable = answer.error is not None and not isinstance(answer.error, STOP_ERRORS)
    sender.release()
    try:
        output.close(add_earlier(answer))
    except (AimlError, Stopped) as stop:
        answer = replace(answer, error=answer.error or (stop.error if isinstance(stop, Stopped) else stop))
    finally:
        if sender.cache:
            sender.cache.finish(is_complete=is_complete, is_unusable=is_unusable)
        if sender.journal:
            sender.journal.close(answer)
    return add_earlier(answer)


def _cost_of(summaries: Sequence[TurnResult]) -> float:
    """Return what summaries cost, or the most that they may have cost if that is unknown."""
    from aiml_cli.core.budget import Reservation  # few users set a limit

    bodies = [(each, each.request.build_body(each.conversation or Conversation())) for each in summaries]
    return sum(Reservation(0.0, each.request.settings, body).cost_of(each.answer) for each, body in bodies)


def _add_usage(answer: Answer, parts: Sequence[Answer]) -> Answer:
    """Return the answer with the tokens of summaries added; its cost already includes theirs."""
    usage = reduce(add_usage, [each.completion.usage for each in (*parts, answer)])
    return replace(answer, completion=replace(answer.completion, usage=usage and usage._replace(cost_usd=None)))


def _add_broken(answer: Answer, broken: Sequence[Answer], request: ChatRequest, conversation: Conversation) -> Answer:
    """Return the answer with the tokens and the cost of earlier attempts, which broke off.

    If the server did not report the tokens of an attempt, they are estimated: the same input, and the text received.
    """
    from aiml_cli.catalog.pricing import bound_tokens, estimate_tokens  # few answers break off

    usage, usages = answer.completion.usage, list[Usage]()
    for each in broken:
        size = (usage and usage.input_tokens) or bound_tokens(request.build_body(conversation)).input_tokens
        output = sum(estimate_tokens(choice.output_text + choice.reasoning) for choice in each.completion.choices)
        usages.append(each.completion.usage or Usage(size, output, size + output))
    total = reduce(add_usage, usages, None)
    answer = add_costs(answer, [*broken, answer])
    total = add_usage(total, answer.completion.usage)
    return replace(answer, completion=replace(answer.completion, usage=total and total._replace(cost_usd=None)))


def _add_rounds(answer: Answer, sender: Sender) -> Answer:
    """Return the answer with the rounds before it, and with the sum of their tokens."""
    if not sender.rounds:
        return answer
    return replace(add_tokens(answer, sender.earlier_answers), rounds=tuple(sender.rounds))


def _open_cache(request: ChatRequest) -> "ResponseCache | None":
    """Return the cache for the answer of a turn; None without --cache, or if the answer must be new.

    The rows of --each are never in the history; if --no-log is set for the run, they have no cache either.
    """
    options = request.options
    is_unkept = options.no_log and not options.each
    if not options.cache or options.cache == OFF or is_unkept or request.tools is not None:
        return None
    if options.background or options.record or options.replay or is_stored_action(options):
        return None
    from aiml_cli.store.answer_cache import AnswerStore  # few calls have a cache
    from aiml_cli.transport.cache import ResponseCache

    # The demo server has another port in each call.
    address = f"demo:{request.endpoint.path}" if options.demo else ""
    return ResponseCache(
        AnswerStore(make_notifier(options.quiet)),
        parse_age(options.cache),
        address=address,
        headers=options.headers or {},
        is_raw=options.format == "raw",
        waits=bool(options.each),
    )
