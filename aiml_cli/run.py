"""Ask once: the one place where settings, prompt, network and screen meet."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli import estimate
from aiml_cli.api.answer import Answer, has_rest, verdict
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.api.messages import Conversation
from aiml_cli.asking import WHOLE, Asking
from aiml_cli.embedded import demo_model, served
from aiml_cli.errors import AimlError, CutShort
from aiml_cli.journal import journal_of
from aiml_cli.question import Question, headers_of, is_errand, key_for, masked
from aiml_cli.screen.choose import Screen, choose
from aiml_cli.screen.json import as_object, line
from aiml_cli.screen.output import say, show
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, resolve
from aiml_cli.signals import Stopped
from aiml_cli.store.config import layers

if TYPE_CHECKING:
    from aiml_cli.journal import Journal
    from aiml_cli.saving import Places
    from aiml_cli.schema.wanted import Wanted
    from aiml_cli.talk import Talk


def ask(name: str, words: Sequence[str], flags: Flags) -> int:
    """Ask a question on an endpoint and show the answer; give the exit code, or raise what went wrong."""
    try:
        settings = resolve(layers(flags, os.environ), name)
        wanted = _wanted(settings)
        is_shown_only = (settings.options.dry_run or settings.options.as_) and not is_errand(settings.options)
        screen = None if is_shown_only else choose(settings.options, os.environ)
    except AimlError as error:
        if _wants_json(flags):
            show(line(as_object(Answer(name, error=error)), indent=2).decode())
        raise
    if screen is None:
        return _print_program(name, words, settings, wanted)
    with served(settings) as settled:
        return _show_answer(Question(ENDPOINTS[name], words, settled, wanted), screen)


def _wants_json(flags: Flags) -> bool:
    """Say whether JSON was asked for, when the settings as a whole could not be settled."""
    said = flags.get("format")
    word = said.texts[-1] if said else os.environ.get("AIML_FORMAT", "")
    return "json" in flags or word in ("json", "jsonl")


def _wanted(settings: Settings) -> "Wanted | None":
    """Settle what form the answer must have, when one was asked for."""
    options = settings.options
    if is_errand(options) or not (options.schema or options.json_object or options.items):
        return None
    from aiml_cli import insist  # for few calls only

    return insist.wanted(settings)


def _print_program(name: str, words: Sequence[str], settings: Settings, wanted: "Wanted | None") -> int:
    from aiml_cli import preview  # needed here only

    at_demo = settings.options.demo
    settled = demo_model(preview.at_demo(settings)) if at_demo else settings
    question = _with_its_past(Question(ENDPOINTS[name], words, settled, wanted))
    return preview.print_program(question.settings, words, question.url, question.body(question.said()))


def _show_answer(question: Question, screen: Screen) -> int:
    from aiml_cli.talk import Talk  # httpx costs a fifth of a second; --help need not wait

    talk = Talk(question.endpoint)
    error: AimlError | None = None
    places: Places | None = None
    try:
        places = _places(question.options)
        question = _with_its_past(question)
        _hold(talk, question, screen)
    except AimlError as fault:
        error = fault
    except Stopped as stop:
        error = stop.error
    answer = talk.answer(error)
    return _conclude(question, screen, talk.keeper, answer, places)


def _with_its_past(question: Question) -> Question:
    """Put the question behind the conversation that it goes on with, if it does."""
    if not (question.options.continue_ or question.options.resume):
        return question
    from aiml_cli import resume  # for few calls only

    return resume.gone_on(question, os.environ)


def _places(options: Options) -> "Places | None":
    """Open the places for sounds and pictures, where some are named."""
    if not (options.audio_out or options.save_dir):
        return None
    from aiml_cli.saving import Places  # for few calls only

    return Places(options)


def _hold(talk: "Talk", question: Question, screen: Screen) -> None:
    """Send what is asked, or follow up what was; no key is looked for before that is known to be right."""
    if is_errand(question.options):
        from aiml_cli import stored  # for few calls only

        what = stored.errand(question.settings, question.words)
        key = key_for(question)
        request = what.request(question.url, headers_of(key, "application/json"))
        talk.keeper = (
            None if what.verb == "cancel" else journal_of(talk, question, Conversation(), os.environ, what.name)
        )
        stored.follow(what, talk, request, screen, lambda told: masked(told, key))
        return
    said = question.said()
    question = question.with_its_system()
    asking = Asking(talk, question, said, key_for(question), screen)
    talk.keeper = journal_of(talk, question, said, os.environ)
    _send(asking)


def _send(asking: Asking) -> None:
    """Send a question in the way that its options ask for."""
    question = asking.question
    if question.options.background:
        from aiml_cli import stored  # as those below for few calls only

        stored.take_on(question.settings, asking.talk, asking.request(how=WHOLE), asking.screen, asking.mask)
    elif question.wanted and question.options.schema_retries:
        from aiml_cli import insist

        insist.hold(asking.talk, question, asking.request(how=WHOLE), asking.screen, asking.mask)
    elif question.options.auto_continue:
        from aiml_cli import rest

        rest.hold(asking)
    elif question.before:
        from aiml_cli import resume

        resume.hold(asking)
    else:
        asking.send(asking.request())


def _conclude(
    question: Question, screen: Screen, journal: "Journal | None", answer: Answer, places: "Places | None"
) -> int:
    """Judge the answer, close the screens, and raise what went wrong."""
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
        from aiml_cli import insist  # for few calls only

        error = insist.unmet(question, answer.completion)
    if journal and isinstance(error, CutShort) and has_rest(answer.completion):
        error.hint = f"-c asks for the rest; or {error.hint}"
    answer = replace(answer, error=error)
    if places:
        answer = places.keep(answer)
        error = answer.error
    _close(screen, journal, estimate.priced(answer, question.settings))
    if error:
        raise error
    if answer.completion.capped:
        say(f"aiml: {answer.completion.lacks}")
    return 0


def _close(screen: Screen, journal: "Journal | None", answer: Answer) -> None:
    """Show what is left, and only then keep the answer, also when it could not be shown."""
    try:
        screen.close(answer)
    except (AimlError, Stopped) as fault:
        answer = replace(answer, error=answer.error or (fault.error if isinstance(fault, Stopped) else fault))
        raise
    finally:
        if journal:
            journal.close(answer)
