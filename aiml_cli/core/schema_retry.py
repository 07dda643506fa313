"""Check an answer against the requested format, and ask again until it is valid."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.messages import Conversation, HistoryMode
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.core.chat_request import ChatRequest, has_answer_format
from aiml_cli.core.send_with_retries import TurnContext
from aiml_cli.errors import AnswerMismatch
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.schema.check import ResponseSpec, build_response_spec, parse_answer_json
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

SCHEMA_CAPABILITY = "structured_output"


def response_spec_of(settings: Settings) -> ResponseSpec | None:
    """Return the format that the answer must have, or None if no format is requested."""
    return make_response_spec(settings) if has_answer_format(settings.options) else None


def make_response_spec(settings: Settings) -> ResponseSpec:
    """Return the format that the answer must have; print a notice if the schema is sent in the system text."""
    options = settings.options
    is_native = not options.schema or options.demo or _is_native(options.model or "", settings)
    spec = build_response_spec(settings, native=bool(is_native))
    if not is_native and not options.quiet:
        print_err(
            f"aiml: {options.model} does not support schemas according to the catalog; "
            "the schema is added to the system text"
        )
    return spec


def _is_native(names: str, settings: Settings) -> bool:
    """True unless one of the models does not support schemas according to the stored catalog."""
    from aiml_cli.catalog.find_models import find_model, load_stored_models  # few requests have a schema

    stored = load_stored_models(settings) or []
    models = [find_model(stored, name.strip()) for name in names.split(",")]
    # Until the summer of 2026 an entry listed features, with slashes in their names, but none about schemas.
    capabilities = [[name for name in model.capabilities if "/" not in name] for model in models if model]
    return all(not names or SCHEMA_CAPABILITY in names for names in capabilities)


def check_answer(request: ChatRequest, completion: Completion) -> AnswerMismatch | None:
    """Return the error of a complete answer that does not have the requested format."""
    invalid = request.response_spec and _find_invalid_choice(request.response_spec, completion)
    is_fenced = completion.first.text.lstrip().startswith("```")
    if not invalid and is_fenced and has_answer_format(request.options) and not request.options.quiet:
        print_err("aiml: the JSON is in a code fence, which a program that reads it must remove")
    hint = "" if request.options.schema_retries else "--schema-retries N asks again"
    return AnswerMismatch(invalid[1], hint) if invalid else None


def parse_data(request: ChatRequest, completion: Completion) -> Any:
    """Return the parsed JSON of the answer if the output is JSON; None if the answer is not JSON."""
    if request.options.json or request.options.format in ("json", "jsonl"):
        with suppress(ValueError):
            return parse_answer_json(completion.first.text)
    return None


def _find_invalid_choice(spec: ResponseSpec, completion: Completion) -> tuple[Choice, str] | None:
    """Return the first invalid choice, and what is wrong; a choice that only calls tools is not checked."""
    choices = [choice for choice in completion.choices if choice.text or not choice.tool_calls]
    for choice in choices if completion.is_complete else ():
        if problem := spec.find_error(choice.text):
            return choice, f"choice {choice.index + 1}: {problem}" if len(completion.choices) > 1 else problem
    return None


class BufferedOutput:
    """An output that shows an answer once it is known to be the last one."""

    def __init__(self, output: AnswerOutput) -> None:
        self._output = output
        self._batches: list[EventBatch] = []
        self._raw: list[bytes] = []

    def show(self, batch: EventBatch) -> None:
        """Show the events for stderr immediately, and buffer all others."""
        self._output.stderr.show(batch)
        self._batches.append(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks unchanged; buffer them for a raw output."""
        for chunk in chunks:
            if self._output.raw:
                self._raw.append(chunk)
            yield chunk

    def discard(self) -> None:
        """Empty the buffer."""
        self._batches, self._raw = [], []

    def release(self) -> None:
        """Show the buffered answer."""
        if self._output.raw:
            self._output.raw(b"".join(self._raw))
        for batch in self._batches:
            self._output.stdout.show(batch)


def send_until_valid(context: TurnContext) -> None:
    """Send a request, and send it again with a correction until the answer is valid; show the last answer only."""
    request, sender = context.request, context.sender
    output, limit = BufferedOutput(context.output), request.options.schema_retries or 0
    body, reservation = context.build_body(history=HistoryMode.FULL), context.reservation
    try:
        context.send(body, output)
        for count in range(1, limit + 1):
            completion = sender.completion()
            if request.tools is not None and completion.first.tool_calls:
                return  # the answer comes after the tool results; text before the calls is not checked
            invalid = request.response_spec and _find_invalid_choice(request.response_spec, completion)
            if not invalid:
                return
            body = _add_correction(request.endpoint, body, invalid[0].text, invalid[1])
            if context.budget and reservation:
                from aiml_cli.core.budget import reserve_next  # few users set a limit

                reservation = reserve_next(context.budget, reservation, sender.segment(), body)
                if reservation is None:
                    return
            request.notify(f"{invalid[1]}; asking again ({count} of {limit})")
            output.discard()
            sender.start_next_answer()
            context.send(body, output)
    finally:
        output.release()


def _add_correction(endpoint: Endpoint, body: Mapping[str, Any], text: str, problem: str) -> dict[str, Any]:
    """Return the body with the answer, and what is wrong with it, added to the conversation."""
    correction = f"{problem}\nAnswer again, with the right JSON only."
    conversation = Conversation().add_message("assistant", text).add_message("user", correction)
    new = endpoint.build_body(conversation, Options())
    name = "messages" if "messages" in new else "input"
    old = body.get(name) or []
    messages = [{"role": "user", "content": old}] if isinstance(old, str) else old
    return {**body, name: [*messages, *new[name]]}
