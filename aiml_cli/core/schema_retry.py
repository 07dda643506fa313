"""Insist on an answer of the form that was asked for: ask again until it has it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.core.chat_request import is_stored_action
from aiml_cli.core.previous_turns import HistoryMode
from aiml_cli.errors import AnswerMismatch
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.schema.check import ResponseSpec, build_response_spec
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import TurnContext

NATIVE = "structured_output"


class SpecifiedRequest(Protocol):
    """Say what is asked of whom."""

    @property
    def endpoint(self) -> Endpoint:
        """Give the endpoint."""

    @property
    def options(self) -> Options:
        """Give the settled options."""

    @property
    def response_spec(self) -> ResponseSpec | None:
        """Give what the answer must be."""


def make_response_spec(settings: Settings) -> ResponseSpec:
    """Settle what the answer must be; say so when it can only be asked for in words."""
    native = not settings.options.schema or settings.options.demo or _is_native(settings)
    found = build_response_spec(settings, native=bool(native))
    if not native and not settings.options.quiet:
        print_err(
            f"aiml: {settings.options.model} knows no schemas, says the catalogue; the schema goes into the system text"
        )
    return found


def _is_native(settings: Settings) -> bool:
    """Look up in the stored catalogue whether the model takes a schema; who is not known there is trusted.

    Of several that are asked in turn all have to.
    """
    from aiml_cli.api.model_list import find_model
    from aiml_cli.catalog.find_models import load_stored_models

    models = load_stored_models(settings) or []
    found = [find_model(models, name.strip()) for name in (settings.options.model or "").split(",")]
    # Until 2026 an entry had features, with slashes in their names, which say nothing of schemas.
    told = [[word for word in model.capabilities if "/" not in word] for model in found if model]
    return all(not words or NATIVE in words for words in told)


def check_answer(asked: SpecifiedRequest, completion: Completion) -> AnswerMismatch | None:
    """Give the failure of an answer that is whole but not of the form that was asked for."""
    found = asked.response_spec and _failing(asked.response_spec, completion)
    if not found and completion.first.text.lstrip().startswith("```") and not asked.options.quiet:
        print_err("aiml: the JSON stands in a code fence; a program that reads it must take that off")
    hint = "" if asked.options.schema_retries else "--schema-retries N asks again"
    return AnswerMismatch(found[1], hint) if found else None


def _failing(wanted: ResponseSpec, completion: Completion) -> tuple[Choice, str] | None:
    """Find the first choice that fails, and why; one that only calls tools answers nothing yet."""
    spoken = [choice for choice in completion.choices if choice.text or not choice.tool_calls]
    for choice in spoken if completion.is_complete else ():
        if wrong := wanted.find_error(choice.text):
            return choice, f"choice {choice.index + 1}: {wrong}" if len(completion.choices) > 1 else wrong
    return None


class BufferedOutput:
    """Look on while an answer comes, and show it when it is known that it shall be shown."""

    def __init__(self, screen: AnswerOutput) -> None:
        self._screen = screen
        self._batches: list[EventBatch] = []
        self._raw: list[bytes] = []

    def show(self, batch: EventBatch) -> None:
        """Keep what belongs on standard output; what stands aside need not wait."""
        self._screen.stderr.show(batch)
        self._batches.append(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Keep the bytes that pass, where they are wanted."""
        for chunk in chunks:
            if self._screen.raw:
                self._raw.append(chunk)
            yield chunk

    def discard(self) -> None:
        """Drop what was kept."""
        self._batches, self._raw = [], []

    def release(self) -> None:
        """Show what was kept."""
        if self._screen.raw:
            self._screen.raw(b"".join(self._raw))
        for batch in self._batches:
            self._screen.stdout.show(batch)


def send_until_valid(context: "TurnContext") -> None:
    """Send a request, and send it again with a correction until the answer is valid; show the last answer only."""
    request, sender = context.request, context.sender
    held, tries = BufferedOutput(context.output), request.options.schema_retries or 0
    body, reservation = context.build_body(history=HistoryMode.FULL), context.reservation
    try:
        context.send(body, held)
        for count in range(1, tries + 1):
            if not (found := request.response_spec and _failing(request.response_spec, sender.completion())):
                return
            body = _add_correction(request.endpoint, body, found[0].text, found[1])
            if context.budget and reservation:
                from aiml_cli.core.budget import reserve_next

                reservation = reserve_next(context.budget, reservation, sender.segment(), body)
                if reservation is None:
                    return
            request.notify(f"{found[1]}; asking again ({count} of {tries})")
            held.discard()
            sender.start_next_answer()
            context.send(body, held)
    finally:
        held.release()


def _add_correction(endpoint: Endpoint, body: Mapping[str, Any], text: str, wrong: str) -> dict[str, Any]:
    """Return the body with the answer, and what is wrong with it, added to the conversation."""
    correction = f"{wrong}\nAnswer again, with the right JSON only."
    said = Conversation().add_message("assistant", text).add_message("user", correction)
    more = endpoint.build_body(said, Options())
    name = "messages" if "messages" in more else "input"
    before = body.get(name) or []
    earlier = [{"role": "user", "content": before}] if isinstance(before, str) else before
    return {**body, name: [*earlier, *more[name]]}


def response_spec_of(settings: Settings) -> "ResponseSpec | None":
    """Settle what form the answer must have, when one was asked for."""
    options = settings.options
    if is_stored_action(options) or not (options.schema or options.json_object or options.items):
        return None
    return make_response_spec(settings)
