"""Insist on an answer of the form that was asked for: ask again until it has it."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.api.stream_events import Batch
from aiml_cli.core.chat_request import is_errand
from aiml_cli.errors import AimlError, NotAsAsked
from aiml_cli.output.choose_renderer import Screen
from aiml_cli.schema.check import Wanted, want
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import Talk
    from aiml_cli.transport.http_types import Request

Mask = Callable[[AimlError], AimlError]
NATIVE = "structured_output"


class Asked(Protocol):
    """Say what is asked of whom."""

    @property
    def endpoint(self) -> Endpoint:
        """Give the endpoint."""

    @property
    def options(self) -> Options:
        """Give the settled options."""

    @property
    def wanted(self) -> Wanted | None:
        """Give what the answer must be."""


def wanted(settings: Settings) -> Wanted:
    """Settle what the answer must be; say so when it can only be asked for in words."""
    native = not settings.options.schema or settings.options.demo or _is_native(settings)
    found = want(settings, native=bool(native))
    if not native and not settings.options.quiet:
        print_err(
            f"aiml: {settings.options.model} knows no schemas, says the catalogue; the schema goes into the system text"
        )
    return found


def _is_native(settings: Settings) -> bool:
    """Look up in the stored catalogue whether the model takes a schema; who is not known there is trusted.

    Of several that are asked in turn all have to.
    """
    from aiml_cli.api.model_list import exact
    from aiml_cli.catalog.find_models import known

    models = known(settings) or []
    found = [exact(models, name.strip()) for name in (settings.options.model or "").split(",")]
    # Until 2026 an entry had features, with slashes in their names, which say nothing of schemas.
    told = [[word for word in model.capabilities if "/" not in word] for model in found if model]
    return all(not words or NATIVE in words for words in told)


def unmet(asked: Asked, completion: Completion) -> NotAsAsked | None:
    """Give the failure of an answer that is whole but not of the form that was asked for."""
    found = asked.wanted and _failing(asked.wanted, completion)
    if not found and completion.first.text.lstrip().startswith("```") and not asked.options.quiet:
        print_err("aiml: the JSON stands in a code fence; a program that reads it must take that off")
    hint = "" if asked.options.schema_retries else "--schema-retries N asks again"
    return NotAsAsked(found[1], hint) if found else None


def _failing(wanted: Wanted, completion: Completion) -> tuple[Choice, str] | None:
    """Find the first choice that fails, and why; one that only calls tools answers nothing yet."""
    spoken = [choice for choice in completion.choices if choice.text or not choice.tool_calls]
    for choice in spoken if completion.complete else ():
        if wrong := wanted.wrong(choice.text):
            return choice, f"choice {choice.index + 1}: {wrong}" if len(completion.choices) > 1 else wrong
    return None


class Held:
    """Look on while an answer comes, and show it when it is known that it shall be shown."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._batches: list[Batch] = []
        self._raw: list[bytes] = []

    def show(self, batch: Batch) -> None:
        """Keep what belongs on standard output; what stands aside need not wait."""
        self._screen.aside.show(batch)
        self._batches.append(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Keep the bytes that pass, where they are wanted."""
        for chunk in chunks:
            if self._screen.raw:
                self._raw.append(chunk)
            yield chunk

    def forget(self) -> None:
        """Drop what was kept."""
        self._batches, self._raw = [], []

    def release(self) -> None:
        """Show what was kept."""
        if self._screen.raw:
            self._screen.raw(b"".join(self._raw))
        for batch in self._batches:
            self._screen.main.show(batch)


def hold(talk: "Talk", asked: Asked, request: "Request", screen: Screen, mask: Mask) -> None:
    """Hold one talk after the other until an answer is as asked; standard output gets the last one only."""
    options, held = asked.options, Held(screen)
    tries = options.schema_retries or 0
    try:
        talk.hold(request, options, held, mask)
        for count in range(1, tries + 1):
            if not (found := asked.wanted and _failing(asked.wanted, talk.completion())):
                return
            request = _corrected(asked.endpoint, request, found[0].text, found[1])
            if talk.purse and talk.purse.is_too_small_for(request, talk.part()):
                return
            if not options.quiet:
                print_err(f"aiml: {found[1]}; asking again ({count} of {tries})")
            held.forget()
            talk.begin_anew()
            talk.hold(request, options, held, mask)
    finally:
        held.release()


def _corrected(endpoint: Endpoint, request: "Request", text: str, wrong: str) -> "Request":
    """Add the answer, and what is wrong with it, to what is asked."""
    said = Conversation().said("assistant", text).said("user", f"{wrong}\nAnswer again, with the right JSON only.")
    body, more = json.loads(request.body or b"{}"), endpoint.body(said, Options())
    place = "messages" if "messages" in more else "input"
    before = body.get(place) or []
    body[place] = [*([{"role": "user", "content": before}] if isinstance(before, str) else before), *more[place]]
    return request._replace(body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def wanted_of(settings: Settings) -> "Wanted | None":
    """Settle what form the answer must have, when one was asked for."""
    options = settings.options
    if is_errand(options) or not (options.schema or options.json_object or options.items):
        return None
    return wanted(settings)
