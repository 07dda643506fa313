"""Send a request for each chunk of a long input, and with --reduce one more that combines the answers."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple, Protocol, TypeVar

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.batch.chunk_output import ChunkCollector, ChunkPrinter
from aiml_cli.batch.worker_pool import ClientContext, Worker, WorkerPool, fit_to_file_limit
from aiml_cli.core import budget, turn
from aiml_cli.core.budget import Reservation
from aiml_cli.core.build_conversation import read_inputs
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.context_window import split_text
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.choose_renderer import choose_output, null_output, output_format
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.prompt import stdin
from aiml_cli.prompt.compose import extract_mentions
from aiml_cli.prompt.decode_text import decode_any_text
from aiml_cli.prompt.file_sources import read_at_file
from aiml_cli.prompt.message_parts import wrap_in_tag
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import make_notifier, prefix_lines, print_err, print_out
from aiml_cli.transport import choose_transport

MAX_CHUNKS = 1000
# Options that --reduce applies to the combined answer only.
REDUCE_OPTIONS = ("extract", "schema", "json_object", "items", "n", "output", "meta", "format", "json")
# How long to wait until aborted answers are in the history.
ABORT_S = 5.0


class Chunk(NamedTuple):
    """A chunk of the input, and its name: source and position, such as `a.txt, chunk 2 of 5`."""

    name: str
    text: str


def ask_chunks(endpoint: str, words: Sequence[str], settings: Settings) -> int:
    """Send a request for each chunk, and print the answers in order or the combined one; return the exit code."""
    options = settings.options
    try:
        _check_input(settings, words)
        reduce_prompt = _read_reduce_prompt(options)
        prompt = decode_any_text(os.fsencode(extract_mentions(words)[0]), "the prompt")[0]
        chunks = _split_inputs(words, settings)
    except AimlError as error:
        if output_format(options) == "json":
            result = answer_to_dict(Answer(endpoint, error=error))
            print_out(json_line([result] if options.reduce is None else result, indent=2).decode())
        raise
    _announce_count(options, chunks)
    if options.dry_run or options.as_:
        return _print_first(endpoint, prompt, settings, chunks)
    with start_demo_if_asked(settings) as resolved:
        requests = _build_requests(endpoint, prompt, resolved, chunks)
        if reduce_prompt:
            return _combine_answers(requests, resolved, reduce_prompt)
        return ask_in_order(requests, resolved.options, ChunkPrinter(resolved.options, os.environ)).finish()


def _announce_count(options: Options, chunks: Sequence[Chunk]) -> None:
    if not options.quiet:
        verb = "would send" if options.dry_run or options.as_ else "sends"
        count = f"{len(chunks)} chunk{'s' if len(chunks) > 1 else ''}"
        print_err(f"aiml: {verb} {count} of about {options.chunk:,} tokens")


def _read_reduce_prompt(options: Options) -> str:
    """Return the prompt of --reduce, or ""; raise UsageError if it is empty."""
    prompt = read_at_file(options.reduce or "")
    if options.reduce is not None and not prompt.strip():
        raise UsageError("--reduce is empty: it needs a prompt that combines the answers")
    return prompt


def _check_input(settings: Settings, words: Sequence[str]) -> None:
    """Raise UsageError for a format or a prompt that only works with a single request."""
    options = settings.options
    if output_format(options) in ("jsonl", "raw") and not options.reduce:
        raise UsageError(
            f"--format {output_format(options)} only works with a single answer", "--format json gives an array"
        )
    if stdin.PLACEHOLDER in " ".join(words):
        message = f"{stdin.PLACEHOLDER} cannot be used with --chunk: each chunk is put before the prompt"
        raise UsageError(message)
    if not extract_mentions(words)[0].strip(" -"):
        raise UsageError("the prompt is empty: what should be asked about each chunk?", "write it after the command")


def _split_inputs(words: Sequence[str], settings: Settings) -> list[Chunk]:
    """Read the input and split its texts; raise UsageError if there is none, or too many chunks."""
    options = settings.options
    inputs = read_inputs(words, settings, make_notifier(options.quiet) or (lambda _: None))
    chunks = [chunk for source in inputs for chunk in _split(source.name, source.text, options.chunk or 1)]
    if not chunks:
        raise UsageError("--chunk: there is no input to split", "pipe it in, or pass files with -f")
    if len(chunks) > MAX_CHUNKS:
        message = f"--chunk: the input is split into {len(chunks):,} chunks; at most {MAX_CHUNKS:,} are allowed"
        raise UsageError(message, "use a larger --chunk")
    return chunks


def _split(name: str, text: str, tokens: int) -> list[Chunk]:
    """Split a text into chunks that are not blank."""
    texts = [part for part in split_text(text, tokens) if part.strip()]
    return [Chunk(f"{name}, chunk {number} of {len(texts)}", part) for number, part in enumerate(texts, 1)]


def _build_requests(endpoint: str, prompt: str, settings: Settings, chunks: Sequence[Chunk]) -> list[ChatRequest]:
    """Build the requests; the key is looked up once, and the system prompt is read once."""
    settings = _chunk_settings(settings)
    first = turn.resolve_conversation(ChatRequest(get_endpoint(endpoint), (), settings, response_spec_of(settings)))
    first = first.with_known_system()
    first = replace(first, known_key=(resolve_key(first),))
    return [
        replace(first, words=(prompt, f"(chunk {number} of {len(chunks)})"), repeated=_build_message(prompt, chunk))
        for number, chunk in enumerate(chunks, 1)
    ]


def _chunk_settings(settings: Settings) -> Settings:
    """Return the settings without those that apply to the combined answer only."""
    if not settings.options.reduce:
        return settings
    defaults = {ROWS[name].attribute: ROWS[name].default for name in REDUCE_OPTIONS}
    return replace(settings, options=replace(settings.options, **defaults))


def _build_message(prompt: str, chunk: Chunk) -> Conversation:
    return Conversation().add_message("user", f"{''.join(wrap_in_tag('file', chunk.text, chunk.name))}\n\n{prompt}")


def _print_first(endpoint: str, prompt: str, settings: Settings, chunks: Sequence[Chunk]) -> int:
    """Print the program for the first request, and send nothing."""
    from aiml_cli.core import dry_run  # needed here only

    settings, message = dry_run.use_placeholder_server(_chunk_settings(settings)), _build_message(prompt, chunks[0])
    request = ChatRequest(get_endpoint(endpoint), (), settings, response_spec_of(settings), repeated=message)
    return dry_run.print_snippet(request, "this is the first request; the others differ only in the chunk")


def _combine_answers(requests: Sequence[ChatRequest], settings: Settings, reduce_prompt: str) -> int:
    """Send the requests, and then one that combines their answers; print only the combined answer."""
    options = settings.options
    output, collector = choose_output(options, os.environ), ChunkCollector(options)
    try:
        ask_in_order(requests, options, collector).finish()
        last = _build_last_request(requests, reduce_prompt, settings, collector)
    except (AimlError, Stopped) as cause:
        try:
            collector.save(output.file)
        finally:
            error = cause.error if isinstance(cause, Stopped) else cause
            output.close(Answer(requests[0].endpoint.name, error=error))
        raise
    answer = turn.run_turn(last, output).answer
    if answer.error:
        collector.save(None)
        raise answer.error
    if answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")
    return 0


def _build_last_request(
    requests: Sequence[ChatRequest], prompt: str, settings: Settings, collector: ChunkCollector
) -> ChatRequest:
    """Build the request that combines the answers; raise UsageError if it could exceed --max-cost."""
    total = len(requests)
    texts = ["".join(wrap_in_tag("answer", text, f"chunk {n} of {total}")) for n, text in enumerate(collector.texts, 1)]
    message, spec = Conversation().add_message("user", "\n\n".join([*texts, prompt])), response_spec_of(settings)
    last = replace(requests[0], words=(prompt,), settings=settings, repeated=message, response_spec=spec)
    if settings.options.max_cost is not None:
        budget.check_max_cost(settings, last.build_body(message), collector.spent)
    return last


class AnswerConsumer(Protocol):
    """Receives the answers in order, and None for a request that was not sent."""

    def begin(self, requests: Sequence[ChatRequest]) -> None:
        """Receive all requests before any is sent; if this raises an error, none is sent."""

    def reserve(self, request: ChatRequest) -> Reservation | None:
        """Reserve the cost of a request; if this raises an error, the request is not sent. Called in the workers."""

    def settle(self, reservation: Reservation | None, answer: Answer) -> None:
        """Count the cost of an answer before its worker sends another request. Called in the workers."""

    def add(self, position: int, answer: Answer | None) -> None:
        """Show the next answer."""

    def close(self, error: AimlError | None) -> None:
        """Finish the output; called once, even after an error."""


Consumer = TypeVar("Consumer", bound=AnswerConsumer)


class _PlacedAnswer(NamedTuple):
    """An answer, and the position of its request."""

    position: int
    answer: Answer


def ask_in_order(requests: Sequence[ChatRequest], options: Options, consumer: Consumer) -> Consumer:
    """Send the requests with --jobs workers, and return the consumer; after a failure, no new request is sent."""
    error: AimlError | None = None
    try:
        consumer.begin(requests)
        _consume_answers(_ChunkWorkers(requests, options, consumer), consumer, len(requests))
    except (AimlError, Stopped) as cause:
        error = cause.error if isinstance(cause, Stopped) else cause
        raise
    finally:
        consumer.close(error)
    return consumer


def _consume_answers(workers: "_ChunkWorkers", consumer: AnswerConsumer, count: int) -> None:
    """Pass on the answers in order; after a signal, wait up to `ABORT_S` for those that still arrive."""
    in_order = _InOrder(consumer)
    try:
        for answer in workers.results():
            in_order.add(answer)
    except (AimlError, Stopped) as cause:
        workers.abort(cause.args[0] if isinstance(cause, Stopped) else signal.SIGINT)
        if isinstance(cause, Stopped):
            for answer in workers.results(monotonic() + ABORT_S):
                in_order.add(answer)
        raise
    in_order.finish(count)


class _InOrder:
    """Passes answers to a consumer in order; an answer waits until all earlier ones have arrived."""

    def __init__(self, consumer: AnswerConsumer) -> None:
        self._consumer, self._next = consumer, 0
        self._waiting: dict[int, Answer] = {}

    def add(self, placed: _PlacedAnswer) -> None:
        self._waiting[placed.position] = placed.answer
        while self._next in self._waiting:
            position, self._next = self._next, self._next + 1
            self._consumer.add(position, self._waiting.pop(position))

    def finish(self, count: int) -> None:
        """Pass on the remaining answers, and None for requests that were not sent."""
        for position in range(self._next, count):
            self._consumer.add(position, self._waiting.get(position))


class _ChunkWorkers:
    """The workers for a fixed number of requests."""

    def __init__(self, requests: Sequence[ChatRequest], options: Options, consumer: AnswerConsumer) -> None:
        self._requests, self._options, self._consumer = requests, options, consumer
        notify = make_notifier(options.quiet) or (lambda _: None)
        size = fit_to_file_limit(min(options.jobs or 1, len(requests)), notify)
        self._pool = WorkerPool(range(len(requests)), self._send, size=size, connect=self._connect)
        self._pool.start()

    def results(self, until: float | None = None) -> Iterator[_PlacedAnswer]:
        """Yield the answers as they arrive; raise the exception of a worker."""
        yield from self._pool.results(until=until)
        if self._pool.error:
            raise self._pool.error

    def abort(self, signal_number: int) -> None:
        """Close all connections, and send nothing more."""
        self._pool.abort(signal_number)

    def _connect(self) -> ClientContext:
        return choose_transport.open_client(self._options, self._requests[0].url)

    def _send(self, position: int, worker: Worker) -> _PlacedAnswer:
        request = self._requests[position]
        try:
            reservation = self._consumer.reserve(request)
        except AimlError as error:
            answer = Answer(request.endpoint.name, error=error)
        else:
            with prefix_lines(f"chunk {position + 1} of {len(self._requests)}"):
                answer = turn.run_turn(request, null_output(), worker.client, worker).answer
            self._consumer.settle(reservation, answer)
        if answer.error:
            self._pool.stop()  # requests in progress cost money, so their answers are waited for
        return _PlacedAnswer(position, answer)
