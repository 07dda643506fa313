"""Choose the screens for an answer: by the format asked for, and by what standard output and error are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed
from aiml_cli.output.json_output import JsonLinesRenderer, JsonRenderer, NullRenderer
from aiml_cli.output.output_file import OutputFile
from aiml_cli.output.plain_text import PlainTextRenderer
from aiml_cli.output.stderr_renderer import NullStderrRenderer, StderrRenderer
from aiml_cli.settings.options import Options
from aiml_cli.system.stdio import check_stdout, make_sanitized_writer, print_err, write_out
from aiml_cli.system.terminal import is_terminal

if TYPE_CHECKING:
    from aiml_cli.output.output_file import MetaFile

Write = Callable[[bytes], None]


class Renderer(Protocol):
    """Show an answer."""

    def show(self, batch: EventBatch) -> None:
        """Show the events of one network read."""

    def close(self, answer: Answer) -> None:
        """Show what is left, however the answer ended."""


@dataclass(slots=True)
class AnswerOutput:
    """Show an answer to whom it concerns. `raw` takes the server's bytes, where they are wanted."""

    stdout: Renderer
    stderr: StderrRenderer | NullStderrRenderer
    raw: Write | None
    file: OutputFile | None
    meta: "MetaFile | None" = None

    def show(self, batch: EventBatch) -> None:
        """Show what a network read brought."""
        self.stderr.show(batch)
        self.stdout.show(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Write the bytes that pass, where they are wanted."""
        return _teed(chunks, self.raw) if self.raw else chunks

    def close(self, answer: Answer) -> None:
        """Show what is left, and keep what is known, also of a failure on the way."""
        try:
            self._close(answer)
        except AimlError as fault:
            answer = replace(answer, error=answer.error or fault)
            raise
        finally:
            if self.meta:
                self.meta.close(answer)

    def _close(self, answer: Answer) -> None:
        """Show what is left; an output that failed is left alone."""
        if not isinstance(answer.error, OutputFailed | ReaderClosed) or "place" in answer.error.details:
            self.stderr.end_reasoning()
            self.stdout.close(answer)
        self.stderr.close(answer)
        if self.file and (part := self.file.close(complete=answer.error is None)):
            print_err(f"aiml: what came is in {part}")


def choose_output(options: Options, environ: Mapping[str, str]) -> AnswerOutput:
    """Open the screens; raise before anything is sent when the answer would have no place to go."""
    file = OutputFile(options.output) if options.output else None
    if file is None:
        check_stdout()
    meta = _meta(options.meta, file) if options.meta else None
    return replace(build_output(file, options, environ), file=file, meta=meta)


def build_output(file: OutputFile | None, options: Options, environ: Mapping[str, str]) -> AnswerOutput:
    """Give the screens for an answer that is not the only one on standard output, or in a file that is open."""
    put: Write = file.write if file else write_out
    text = output_format(options) in ("md", "text", "items")
    aside = StderrRenderer(
        reasoning=text and not options.hide_reasoning and not options.quiet,
        notices=text and not options.quiet,
        usage=bool(options.usage),
        color=wants_color(2, options.color or "auto", environ),
        sources=file is not None or not is_terminal(1),
        hints=not options.quiet,
        verbose=bool(options.verbose and not options.quiet),
    )
    terminal = file.is_terminal if file else is_terminal(1)
    main = _main(options, put, environ, terminal=terminal, to_file=file is not None)
    return AnswerOutput(main, aside, _raw(put, terminal=terminal) if output_format(options) == "raw" else None, None)


def null_output() -> AnswerOutput:
    """Give screens that show nothing: for an answer that goes elsewhere than to the user."""
    return AnswerOutput(NullRenderer(), NullStderrRenderer(), None, None)


def _raw(put: Write, *, terminal: bool) -> Write:
    return make_sanitized_writer(put) if terminal else put


def _meta(name: str, file: OutputFile | None) -> "MetaFile":
    from aiml_cli.output.output_file import open_meta_file  # few want such a file

    return open_meta_file(name, file)


def output_format(options: Options) -> str:
    """Give the word for how the answer is written."""
    return "json" if options.json else "items" if options.items else options.format or "md"


def _main(options: Options, put: Write, environ: Mapping[str, str], *, terminal: bool, to_file: bool) -> Renderer:
    match output_format(options):
        case "json":
            return JsonRenderer(put)
        case "jsonl":
            return JsonLinesRenderer(put)
        case "raw":
            return NullRenderer()
        case "items":
            from aiml_cli.output.array_items import ItemsRenderer  # for few calls only

            return ItemsRenderer(put)
        case _:
            return _text(options, put, environ, terminal=terminal, to_file=to_file)


def _text(options: Options, put: Write, environ: Mapping[str, str], *, terminal: bool, to_file: bool) -> Renderer:
    if options.extract:
        from aiml_cli.output.code_blocks import CodeBlockRenderer  # for few calls only

        return CodeBlockRenderer(put, options.extract, terminal=terminal)
    wants_logprobs = options.logprobs or options.top_logprobs is not None
    if wants_logprobs and not to_file and wants_color(1, options.color or "auto", environ):
        from aiml_cli.output.logprobs import LogprobsRenderer  # few ask for them

        return LogprobsRenderer(put, terminal=terminal, legend=not options.quiet)
    if terminal and output_format(options) == "md" and environ.get("TERM", "") not in ("", "dumb"):
        return _growing(put, options.color or "auto", environ)
    return PlainTextRenderer(put, terminal=terminal)


def _growing(put: Write, wish: str, environ: Mapping[str, str]) -> Renderer:
    """Draw Markdown; who wants no colours may still want bold, unless they said never."""
    from aiml_cli.output.markdown import ansi
    from aiml_cli.output.markdown.live_renderer import LiveMarkdownRenderer  # a pipe needs no drawing
    from aiml_cli.system.terminal import terminal_size

    toned = ansi.strip_styles if wish == "never" else ansi.strip_colors
    if wants_color(1, wish, environ):
        toned = ansi.keep_styles
    return LiveMarkdownRenderer(
        lambda text: put(toned(text).encode("utf-8", "replace")), lambda: terminal_size(1), environ
    )


def _teed(chunks: Iterator[bytes], put: Write) -> Iterator[bytes]:
    for chunk in chunks:
        put(chunk)
        yield chunk


def wants_color(fd: int, wish: str, environ: Mapping[str, str]) -> bool:
    """Decide for one file descriptor: the flag, then NO_COLOR, then FORCE_COLOR, then what the terminal can."""
    if wish != "auto":
        return wish == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return is_terminal(fd) and environ.get("TERM", "") not in ("", "dumb")
