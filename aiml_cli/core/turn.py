"""Hold one turn: a question goes out, its answer is shown, judged and kept."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer, add_costs, can_continue, judge_answer
from aiml_cli.api.messages import Conversation
from aiml_cli.catalog import cost_estimate
from aiml_cli.core.chat_request import ChatRequest, build_headers, is_stored_action, mask_error, resolve_key
from aiml_cli.core.history_journal import make_journal
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.errors import AimlError, IncompleteAnswer, RequestRejected
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped

if TYPE_CHECKING:
    from aiml_cli.core.history_journal import Journal
    from aiml_cli.core.send_with_retries import RetryPacer, Sender, TurnContext
    from aiml_cli.output.save_media import MediaWriter
    from aiml_cli.store.history.writer import AnswerId
    from aiml_cli.transport.client import Client

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
    question: ChatRequest, screen: AnswerOutput, client: "Client | None" = None, pace: "RetryPacer | None" = None
) -> TurnResult:
    """Ask, and show what comes; raises nothing that is the server's, the network's or the user's doing.

    `client` is one that stays open for the next question of the same thread; `pace` is kept with other threads.
    """
    from aiml_cli.core.send_with_retries import Sender  # httpx costs a fifth of a second; --help need not wait

    talk = Sender(question.endpoint, client, pace)
    error: AimlError | None = None
    places: MediaWriter | None = None
    said: Conversation | None = None
    try:
        places = _places(question.options)
        question = resolve_conversation(question)
        if is_stored_action(question.options):
            _follow_up(talk, question, screen)
        else:
            said = question.read_conversation()
            question = question.with_known_system()
            question, error = _ask(talk, question, said, screen)
    except AimlError as fault:
        error = fault
        _advise(fault, question)
    except Stopped as stop:
        error = stop.error
    answer = _judged(question, talk.journal, talk.answer(error))
    answer = places.save(answer) if places else answer
    answer = _closed(screen, talk, cost_estimate.add_estimated_cost(answer, question.settings), question.settings)
    return TurnResult(question, said, answer, talk.journal.row if talk.journal else None)


def _ask(
    talk: "Sender", question: ChatRequest, said: Conversation, screen: AnswerOutput
) -> tuple[ChatRequest, AimlError | None]:
    """Ask, and keep what comes; give the question as the last of several models got it, and what went wrong there."""
    from aiml_cli.core.send_with_retries import TurnContext

    asking = TurnContext(talk, question, said, resolve_key(question), screen)
    if question.options.max_cost is not None:
        from aiml_cli.core import budget  # few set a limit

        talk.budget = budget.open_call_budget(question, said)
    talk.journal = make_journal(talk.deltas_since, question, said, os.environ)
    if question.fallback_models:
        from aiml_cli.core import model_fallback  # most ask one model

        return model_fallback.send_with_fallback(asking, _send, _advise)
    _send(asking)
    return question, None


def resolve_conversation(question: ChatRequest) -> ChatRequest:
    """Put the question behind the conversation that it goes on with, if it does; settle which model is asked first."""
    if question.options.continue_ or question.options.resume:
        from aiml_cli.core import resume  # for few calls only

        question = resume.load_previous_turns(question, os.environ)
    if "," in (question.options.model or ""):
        from aiml_cli.core import model_fallback  # most ask one model

        question = model_fallback.start_fallback(question)
    return question


def _advise(error: AimlError, question: ChatRequest) -> None:
    """Add what the catalogue knows to a refusal."""
    if isinstance(error, RequestRejected) and not is_stored_action(question.options):
        from aiml_cli.catalog import model_suggestions  # where something went wrong only

        model_suggestions.improve_hint(error, question.settings, question.endpoint.name)


def _places(options: Options) -> "MediaWriter | None":
    """Open the places for sounds and pictures, where some are named."""
    if not (options.audio_out or options.save_dir):
        return None
    from aiml_cli.output.save_media import MediaWriter  # for few calls only

    return MediaWriter(options)


def _follow_up(talk: "Sender", question: ChatRequest, screen: AnswerOutput) -> None:
    """Show, wait for or cancel what was asked earlier; no key is looked for before that is known to be right."""
    from aiml_cli.core import background_responses  # for few calls only

    what = background_responses.parse_action(question.settings, question.words)
    key = resolve_key(question)
    request = what.request(question.url, build_headers(key, "application/json"))
    if what.verb != "cancel":
        talk.journal = make_journal(talk.deltas_since, question, Conversation(), os.environ, what.name)
    background_responses.run_action(what, talk, request, screen, lambda told: mask_error(told, key))


def _send(asking: "TurnContext") -> None:
    """Send a question in the way that its options ask for."""
    question = asking.request
    if question.options.background:
        from aiml_cli.core import background_responses  # as those below for few calls only

        background_responses.start_background(
            question.settings, asking.sender, asking.build_request(how=WHOLE), asking.output, asking.mask_error
        )
    elif question.response_spec and question.options.schema_retries:
        from aiml_cli.core import schema_retry

        schema_retry.send_until_valid(
            asking.sender, question, asking.build_request(how=WHOLE), asking.output, asking.mask_error
        )
    elif question.options.auto_continue:
        from aiml_cli.core import auto_continue

        auto_continue.send_and_continue(asking)
    elif question.previous_turns:
        from aiml_cli.core import resume

        resume.send_with_history(asking)
    else:
        asking.send(asking.build_request())


def _judged(question: ChatRequest, journal: "Journal | None", answer: Answer) -> Answer:
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


def _closed(screen: AnswerOutput, talk: "Sender", answer: Answer, settings: Settings) -> Answer:
    """Show what is left, and only then keep the answer, also when it could not be shown.

    The cost that is shown is that of the whole call; what was kept before has its own.
    """
    others = [cost_estimate.add_estimated_cost(each, settings) for each in talk.earlier_answers]
    try:
        screen.close(add_costs(answer, [*others, answer]) if others else answer)
    except (AimlError, Stopped) as fault:
        answer = replace(answer, error=answer.error or (fault.error if isinstance(fault, Stopped) else fault))
    finally:
        if talk.journal:
            talk.journal.close(answer)
    return add_costs(answer, [*others, answer]) if others else answer
