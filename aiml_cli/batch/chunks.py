"""Ask for each piece of a long input, and with --reduce for one answer of all."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.api.messages import Conversation
from aiml_cli.batch.chunk_output import ChunkCollector, ChunkPrinter
from aiml_cli.batch.chunk_workers import ask_in_order
from aiml_cli.core import turn
from aiml_cli.core.build_conversation import read_inputs
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.context_window import split_text
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.choose_renderer import choose_output, output_format
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.prompt.attachments import text_block
from aiml_cli.prompt.compose import PLACE, extract_mentions, read_at_file
from aiml_cli.prompt.decode_text import decode_any_text
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, print_out

MOST = 1000
# What is asked of the one answer in the end, and not of each piece.
OF_THE_LAST = ("extract", "schema", "json_object", "items", "n", "output", "meta", "format", "json")


class Chunk(NamedTuple):
    """Hold a piece of the input, and its name: of which text it is the how manieth of how many."""

    name: str
    text: str


def ask_chunks(name: str, words: Sequence[str], settings: Settings) -> int:
    """Ask for each piece, and show the answers in order, or the one of all; give the exit code."""
    options = settings.options
    try:
        _see_that_it_agrees(settings, words)
        prompt = _prompt_of_all(options)
        text = decode_any_text(os.fsencode(extract_mentions(words)[0]), "the prompt")[0]
        cut = _cut(words, settings)
    except AimlError as error:
        if output_format(options) == "json":
            found = answer_to_dict(Answer(name, error=error))
            print_out(json_line([found] if options.reduce is None else found, indent=2).decode())
        raise
    announce_count(options, cut)
    if options.dry_run or options.as_:
        return _print_first(name, text, settings, cut)
    with start_demo_if_asked(settings) as settled:
        questions = _questions(name, text, settled, cut)
        return _reduced(questions, settled, prompt) if prompt else _listed(questions, settled)


def announce_count(options: Options, cut: Sequence[Chunk]) -> None:
    """Say how many pieces are asked for."""
    if not options.quiet:
        verb = "would ask" if options.dry_run or options.as_ else "asks"
        many = f"{len(cut)} piece{'s' if len(cut) > 1 else ''} of about {options.chunk:,} tokens"
        print_err(f"aiml: {verb} for {many}")


def _prompt_of_all(options: Options) -> str:
    """Give what is asked of all answers, "" where nothing is; raise UsageError where that is empty."""
    prompt = read_at_file(options.reduce or "")
    if options.reduce is not None and not prompt.strip():
        raise UsageError("what shall be made of the answers? --reduce is empty", "nothing was sent")
    return prompt


def _see_that_it_agrees(settings: Settings, words: Sequence[str]) -> None:
    """Raise UsageError for what only one question can have."""
    options = settings.options
    if output_format(options) in ("jsonl", "raw") and not options.reduce:
        raise UsageError(f"--format {output_format(options)} is for one answer", "--format json gives an array")
    if PLACE in " ".join(words):
        raise UsageError(f"with --chunk there is no {PLACE}: each piece stands before the words", "nothing was sent")
    if not extract_mentions(words)[0].strip(" -"):
        raise UsageError("what shall be asked of each piece?", "say it behind the command")


def _cut(words: Sequence[str], settings: Settings) -> list[Chunk]:
    """Read the input, and cut each of its texts; raise UsageError where there is none, or too many pieces."""
    options = settings.options
    cut = [
        piece
        for each in read_inputs(words, settings, _teller(options))
        for piece in _pieces(each.name, each.text, options.chunk or 1)
    ]
    if not cut:
        raise UsageError("--chunk: there is no input to cut", "pipe it in, or name files with -f")
    if len(cut) > MOST:
        raise UsageError(
            f"--chunk: these are {len(cut):,} pieces, and at most {MOST:,} are asked for", "allow larger ones"
        )
    return cut


def _pieces(name: str, text: str, tokens: int) -> list[Chunk]:
    """Cut a text; pieces that say nothing are none."""
    cut = [piece for piece in split_text(text, tokens) if piece.strip()]
    return [Chunk(f"{name}, piece {place} of {len(cut)}", piece) for place, piece in enumerate(cut, 1)]


def _teller(options: Options) -> Callable[[str], None]:
    return lambda words: None if options.quiet else print_err(f"aiml: {words}")


def _questions(name: str, text: str, settings: Settings, cut: Sequence[Chunk]) -> list[ChatRequest]:
    """Make the questions; the key is looked for once, and the system text read once."""
    settings = _of_a_piece(settings)
    first = turn.resolve_conversation(ChatRequest(ENDPOINTS[name], (), settings, response_spec_of(settings)))
    first = first.with_known_system()
    first = replace(first, known_key=(resolve_key(first),))
    many = len(cut)
    return [
        replace(first, words=(text, f"(piece {place} of {many})"), repeated=_said(text, piece))
        for place, piece in enumerate(cut, 1)
    ]


def _of_a_piece(settings: Settings) -> Settings:
    """Leave out what --reduce asks of the one answer only."""
    if not settings.options.reduce:
        return settings
    plain = {ROWS[each].attribute: ROWS[each].default for each in OF_THE_LAST}
    return replace(settings, options=replace(settings.options, **plain))


def _said(text: str, piece: Chunk) -> Conversation:
    return Conversation().add_message("user", f"{''.join(text_block('file', piece.text, piece.name))}\n\n{text}")


def _print_first(name: str, text: str, settings: Settings, cut: Sequence[Chunk]) -> int:
    """Print the program for the first request, and send nothing."""
    from aiml_cli.core import dry_run  # needed here only

    settled = dry_run.use_placeholder_server(_of_a_piece(settings))
    question = ChatRequest(ENDPOINTS[name], (), settled, response_spec_of(settled), repeated=_said(text, cut[0]))
    return dry_run.print_snippet(question, "this is the first request; the others differ in the piece only")


def _listed(questions: Sequence[ChatRequest], settings: Settings) -> int:
    """Show the answers in order, an empty line between any two."""
    shown = ChunkPrinter(settings.options, os.environ)
    return ask_in_order(questions, settings.options, shown).finish()


def _reduced(questions: Sequence[ChatRequest], settings: Settings, prompt: str) -> int:
    """Ask for one answer of all answers, and show that only."""
    options = settings.options
    screen, unseen = choose_output(options, os.environ), ChunkCollector(options)
    try:
        ask_in_order(questions, options, unseen).finish()
        last = _last(questions, prompt, settings, unseen)
    except (AimlError, Stopped) as fault:
        why = fault.error if isinstance(fault, Stopped) else fault
        try:
            unseen.save(screen.file)
        finally:
            screen.close(Answer(questions[0].endpoint.name, error=why))
        raise
    answer = turn.run_turn(last, screen).answer
    if answer.error:
        unseen.save(None)
        raise answer.error
    if answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")
    return 0


def _last(questions: Sequence[ChatRequest], prompt: str, settings: Settings, unseen: ChunkCollector) -> ChatRequest:
    """Make the question that has the answers as its input."""
    many = len(questions)
    texts = ["".join(text_block("answer", text, f"piece {n} of {many}")) for n, text in enumerate(unseen.texts, 1)]
    said = Conversation().add_message("user", "\n\n".join([*texts, prompt]))
    first = questions[0]
    last = replace(first, words=(prompt,), settings=settings, repeated=said, response_spec=response_spec_of(settings))
    if settings.options.max_cost is not None:
        from aiml_cli.core import budget  # few set a limit

        budget.check_max_cost(settings, last.build_body(said), unseen.spent)
    return last
