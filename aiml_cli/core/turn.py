"""Hold one turn: a question goes out, its answer is shown, judged and kept."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer, add_costs, can_continue, judge_answer
from aiml_cli.api.messages import Conversation
from aiml_cli.catalog import pricing
from aiml_cli.core.chat_request import ChatRequest, build_headers, is_stored_action, resolve_key
from aiml_cli.core.history_journal import make_journal
from aiml_cli.errors import AimlError, IncompleteAnswer, RequestRejected
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.settings.options import Options
from aiml_cli.system.signals import Stopped

if TYPE_CHECKING:
    from aiml_cli.core.history_journal import Journal
    from aiml_cli.core.send_with_retries import RetryPacer, Sender, TurnContext
    from aiml_cli.output.save_media import MediaWriter
    from aiml_cli.store.history.writer import AnswerId
    from aiml_cli.transport.choose_transport import Client

FOR_THE_REST = "-c asks for the rest; or "


class TurnResult(NamedTuple):
    """Hold what was asked and answered; `said` is None when it did not come to be asked.

    The answer's error is what went wrong, whatever that was. `row` is the answer in the history, None where nothing
    was kept.
    """

    request: ChatRequest
    conversation: Conversation | None
    answer: Answer
    row: "AnswerId | None" = None


def run_turn(
    request: ChatRequest, output: AnswerOutput, client: "Client | None" = None, pacer: "RetryPacer | None" = None
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
    except AimlError as fault:
        error = fault
        _add_advice(fault, turn.request)
    except Stopped as stop:
        error = stop.error
    answer = _judge(turn.request, turn.sender.journal, turn.sender.answer(error))
    answer = media.save(answer) if media else answer
    answer = _close(output, turn.sender, pricing.add_estimated_cost(answer, turn.request.settings), turn.request)
    journal = turn.sender.journal
    return TurnResult(turn.request, turn.conversation, answer, journal.row if journal else None)


class _Turn:
    """A turn while it runs: what is known of it counts also when it ends early."""

    def __init__(
        self, request: ChatRequest, output: AnswerOutput, client: "Client | None", pacer: "RetryPacer | None"
    ) -> None:
        self.request, self._output, self._client, self._pacer = request, output, client, pacer
        self.conversation: Conversation | None = None
        self.sender = self._make_sender(None)

    def _make_sender(self, journal: "Journal | None") -> "Sender":
        from aiml_cli.core.send_with_retries import Sender  # httpx costs a fifth of a second; --help need not wait

        options = self.request.options
        return Sender(self.request.endpoint, options, client=self._client, pacer=self._pacer, journal=journal)

    def run(self) -> AimlError | None:
        """Run it; return what went wrong with the last of several models, and raise all other errors."""
        self.request = resolve_conversation(self.request)
        if is_stored_action(self.request.options):
            self._run_stored_action()
            return None
        self.conversation = self.request.read_conversation()
        self.request = self.request.with_known_system()
        context = self._prepare(self.conversation)
        if not self.request.fallback_models:
            _send(context)
            return None
        from aiml_cli.core import model_fallback  # most requests name one model

        self.request, error = model_fallback.send_with_fallback(context, _send, _add_advice)
        return error

    def _prepare(self, conversation: Conversation) -> "TurnContext":
        """Check key and budget, and open the journal."""
        from aiml_cli.core.send_with_retries import TurnContext

        request, key = self.request, resolve_key(self.request)
        budget = reservation = None
        if request.options.max_cost is not None and not request.options.replay:
            from aiml_cli.core.budget import Budget, reserve_first  # few set a limit

            budget = Budget(request.options.max_cost)
            reservation = reserve_first(budget, request, conversation)
        self.sender = self._make_sender(make_journal(request, conversation, os.environ))
        return TurnContext(self.sender, request, conversation, key, self._output, budget, reservation)

    def _run_stored_action(self) -> None:
        """Show, wait for or cancel a stored response; the id is checked before a key is looked for."""
        from aiml_cli.core import background_responses  # for few calls only

        action = background_responses.parse_action(self.request.settings, self.request.words)
        headers = build_headers(resolve_key(self.request), "application/json")
        http_request = action.request(self.request.url, headers)
        if action.verb != "cancel":
            self.sender = self._make_sender(make_journal(self.request, Conversation(), os.environ, action.name))
        background_responses.run_action(action, self.sender, http_request, self._output)


def resolve_conversation(question: ChatRequest) -> ChatRequest:
    """Put the question behind the conversation that it goes on with, if it does; settle which model is asked first."""
    if question.options.continue_ or question.options.resume:
        from aiml_cli.core import resume  # for few calls only

        question = resume.load_previous_turns(question, os.environ)
    if "," in (question.options.model or ""):
        from aiml_cli.core import model_fallback  # most ask one model

        question = model_fallback.start_fallback(question)
    return question


def _add_advice(error: AimlError, request: ChatRequest) -> None:
    """Add to a rejection what the catalog knows."""
    if isinstance(error, RequestRejected) and not is_stored_action(request.options):
        from aiml_cli.catalog import model_suggestions  # where something went wrong only

        model_suggestions.improve_hint(error, request.settings, request.endpoint.name)


def _open_media(options: Options) -> "MediaWriter | None":
    """Open the files for sounds and pictures, where some are named."""
    if not (options.audio_out or options.save_dir):
        return None
    from aiml_cli.output.save_media import MediaWriter  # for few calls only

    return MediaWriter(options)


def _send(context: "TurnContext") -> None:
    """Send a request in the way that its options ask for."""
    request = context.request
    if request.options.background:
        from aiml_cli.core import background_responses  # as those below for few calls only

        background_responses.start_background(context)
    elif request.response_spec and request.options.schema_retries:
        from aiml_cli.core import schema_retry

        schema_retry.send_until_valid(context)
    elif request.options.auto_continue:
        from aiml_cli.core import auto_continue

        auto_continue.send_and_continue(context)
    elif request.previous_turns:
        from aiml_cli.core import resume

        resume.send_with_history(context)
    else:
        context.send(context.build_body())


def _judge(question: ChatRequest, journal: "Journal | None", answer: Answer) -> Answer:
    """Say what is wrong with an answer, if something is."""
    options, error = question.options, answer.error
    if error is None or (isinstance(error, IncompleteAnswer) and answer.completion.is_complete):
        # A connection that is cut after the end of the answer takes nothing away from it.
        error = judge_answer(
            answer.completion,
            allow_cut=bool(options.allow_cut),
            background=bool(options.background) and not is_stored_action(options),
            cancelling=bool(options.cancel),
        )
    if error is None and question.response_spec and answer.completion.status not in ("queued", "in_progress"):
        from aiml_cli.core import schema_retry  # for few calls only

        error = schema_retry.check_answer(question, answer.completion)
    if error is None and options.extract and answer.completion.status not in ("queued", "in_progress"):
        from aiml_cli.output import code_blocks  # for few calls only

        error = code_blocks.missing_block_error(options.extract, answer.completion, is_kept=journal is not None)
    if journal and isinstance(error, IncompleteAnswer) and can_continue(answer.completion):
        error.hint = FOR_THE_REST + error.hint
    return replace(answer, error=error)


def _close(screen: AnswerOutput, talk: "Sender", answer: Answer, request: ChatRequest) -> Answer:
    """Show what is left, and only then keep the answer, also when it could not be shown.

    The cost that is shown is that of the whole call; what was kept before has its own.
    """
    others = [pricing.add_estimated_cost(each, request.settings) for each in talk.earlier_answers]
    try:
        screen.close(add_costs(answer, [*others, answer]) if others else answer)
    except (AimlError, Stopped) as fault:
        answer = replace(answer, error=answer.error or (fault.error if isinstance(fault, Stopped) else fault))
    finally:
        if talk.journal:
            talk.journal.close(answer)
    return add_costs(answer, [*others, answer]) if others else answer
