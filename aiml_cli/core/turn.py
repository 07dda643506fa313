"""Hold one turn: a question goes out, its answer is shown, judged and kept."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer, has_rest, verdict, with_cost_of
from aiml_cli.api.messages import Conversation
from aiml_cli.catalog import cost_estimate
from aiml_cli.core.chat_request import Question, headers_of, is_errand, key_for, masked
from aiml_cli.core.history_journal import journal_of
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.errors import AimlError, CutShort, RequestRefused
from aiml_cli.output.choose_renderer import Screen
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped

if TYPE_CHECKING:
    from aiml_cli.core.history_journal import Journal
    from aiml_cli.core.send_with_retries import Asking, Pace, Talk
    from aiml_cli.output.save_media import Places
    from aiml_cli.store.history.writer import Row
    from aiml_cli.transport.client import Client

FOR_THE_REST = "-c asks for the rest; or "


class Turn(NamedTuple):
    """Hold what was asked and answered; `said` is None when it did not come to be asked.

    The answer's error is what went wrong, whatever that was. `row` is the answer in the history, None where nothing
    was kept.
    """

    question: Question
    said: Conversation | None
    answer: Answer
    row: "Row | None" = None


def hold(question: Question, screen: Screen, client: "Client | None" = None, pace: "Pace | None" = None) -> Turn:
    """Ask, and show what comes; raises nothing that is the server's, the network's or the user's doing.

    `client` is one that stays open for the next question of the same thread; `pace` is kept with other threads.
    """
    from aiml_cli.core.send_with_retries import Talk  # httpx costs a fifth of a second; --help need not wait

    talk = Talk(question.endpoint, client, pace)
    error: AimlError | None = None
    places: Places | None = None
    said: Conversation | None = None
    try:
        places = _places(question.options)
        question = with_its_past(question)
        if is_errand(question.options):
            _follow_up(talk, question, screen)
        else:
            said = question.said()
            question = question.with_its_system()
            question, error = _ask(talk, question, said, screen)
    except AimlError as fault:
        error = fault
        _advise(fault, question)
    except Stopped as stop:
        error = stop.error
    answer = _judged(question, talk.keeper, talk.answer(error))
    answer = places.keep(answer) if places else answer
    answer = _closed(screen, talk, cost_estimate.priced(answer, question.settings), question.settings)
    return Turn(question, said, answer, talk.keeper.row if talk.keeper else None)


def _ask(talk: "Talk", question: Question, said: Conversation, screen: Screen) -> tuple[Question, AimlError | None]:
    """Ask, and keep what comes; give the question as the last of several models got it, and what went wrong there."""
    from aiml_cli.core.send_with_retries import Asking

    asking = Asking(talk, question, said, key_for(question), screen)
    if question.options.max_cost is not None:
        from aiml_cli.core import budget  # few set a limit

        talk.purse = budget.opened(question, said)
    talk.keeper = journal_of(talk.since, question, said, os.environ)
    if question.others:
        from aiml_cli.core import model_fallback  # most ask one model

        return model_fallback.send(asking, _send, _advise)
    _send(asking)
    return question, None


def with_its_past(question: Question) -> Question:
    """Put the question behind the conversation that it goes on with, if it does; settle which model is asked first."""
    if question.options.continue_ or question.options.resume:
        from aiml_cli.core import resume  # for few calls only

        question = resume.gone_on(question, os.environ)
    if "," in (question.options.model or ""):
        from aiml_cli.core import model_fallback  # most ask one model

        question = model_fallback.begun(question)
    return question


def _advise(error: AimlError, question: Question) -> None:
    """Add what the catalogue knows to a refusal."""
    if isinstance(error, RequestRefused) and not is_errand(question.options):
        from aiml_cli.catalog import model_suggestions  # where something went wrong only

        model_suggestions.advise(error, question.settings, question.endpoint.name)


def _places(options: Options) -> "Places | None":
    """Open the places for sounds and pictures, where some are named."""
    if not (options.audio_out or options.save_dir):
        return None
    from aiml_cli.output.save_media import Places  # for few calls only

    return Places(options)


def _follow_up(talk: "Talk", question: Question, screen: Screen) -> None:
    """Show, wait for or cancel what was asked earlier; no key is looked for before that is known to be right."""
    from aiml_cli.core import background_responses  # for few calls only

    what = background_responses.errand(question.settings, question.words)
    key = key_for(question)
    request = what.request(question.url, headers_of(key, "application/json"))
    if what.verb != "cancel":
        talk.keeper = journal_of(talk.since, question, Conversation(), os.environ, what.name)
    background_responses.follow(what, talk, request, screen, lambda told: masked(told, key))


def _send(asking: "Asking") -> None:
    """Send a question in the way that its options ask for."""
    question = asking.question
    if question.options.background:
        from aiml_cli.core import background_responses  # as those below for few calls only

        background_responses.take_on(
            question.settings, asking.talk, asking.request(how=WHOLE), asking.screen, asking.mask
        )
    elif question.wanted and question.options.schema_retries:
        from aiml_cli.core import schema_retry

        schema_retry.hold(asking.talk, question, asking.request(how=WHOLE), asking.screen, asking.mask)
    elif question.options.auto_continue:
        from aiml_cli.core import auto_continue

        auto_continue.hold(asking)
    elif question.before:
        from aiml_cli.core import resume

        resume.hold(asking)
    else:
        asking.send(asking.request())


def _judged(question: Question, journal: "Journal | None", answer: Answer) -> Answer:
    """Say what is wrong with an answer, if something is."""
    options, error = question.options, answer.error
    if error is None or (isinstance(error, CutShort) and answer.completion.complete):
        # A connection that is cut after the end of the answer takes nothing away from it.
        error = verdict(
            answer.completion,
            allow_cut=bool(options.allow_cut),
            background=bool(options.background) and not is_errand(options),
            cancelling=bool(options.cancel),
        )
    if error is None and question.wanted and answer.completion.status not in ("queued", "in_progress"):
        from aiml_cli.core import schema_retry  # for few calls only

        error = schema_retry.unmet(question, answer.completion)
    if error is None and options.extract and answer.completion.status not in ("queued", "in_progress"):
        from aiml_cli.output import code_blocks  # for few calls only

        error = code_blocks.unmet(options.extract, answer.completion, is_kept=journal is not None)
    if journal and isinstance(error, CutShort) and has_rest(answer.completion):
        error.hint = FOR_THE_REST + error.hint
    return replace(answer, error=error)


def _closed(screen: Screen, talk: "Talk", answer: Answer, settings: Settings) -> Answer:
    """Show what is left, and only then keep the answer, also when it could not be shown.

    The cost that is shown is that of the whole call; what was kept before has its own.
    """
    others = [cost_estimate.priced(each, settings) for each in talk.earlier]
    try:
        screen.close(with_cost_of(answer, [*others, answer]) if others else answer)
    except (AimlError, Stopped) as fault:
        answer = replace(answer, error=answer.error or (fault.error if isinstance(fault, Stopped) else fault))
    finally:
        if talk.keeper:
            talk.keeper.close(answer)
    return with_cost_of(answer, [*others, answer]) if others else answer
