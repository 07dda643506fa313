"""Choose the renderers of an answer by its format, and by what stdout and stderr are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from aiml_cli.api.answer import Answer, ToolRound
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed, UsageError
from aiml_cli.output.plain_text import NullRenderer, PlainTextRenderer
from aiml_cli.output.stderr_renderer import NullStderrRenderer, StderrRenderer
from aiml_cli.settings.options import Options
from aiml_cli.system.stdio import check_stdout, make_sanitized_writer, print_err, write_out
from aiml_cli.system.terminal import get_terminal_size, is_terminal

if TYPE_CHECKING:
    from aiml_cli.output.output_file import MetaFile, OutputFile

Write = Callable[[bytes], None]
UNCHANGED_CLIPBOARD = "nothing was copied; the clipboard was not changed"


class Renderer(Protocol):
    """Renderer of one answer."""

    def show(self, batch: EventBatch) -> None:
        """Show the events of one network read."""

    def close(self, answer: Answer) -> None:
        """Show the rest, whether or not the answer is complete."""


@dataclass(slots=True, repr=False, eq=False)  # generated methods would slow down the start
class AnswerOutput:
    """Everything that one answer is written to; `raw` receives the server's bytes with --format raw."""

    stdout: Renderer
    stderr: StderrRenderer | NullStderrRenderer
    raw: Write | None
    file: "OutputFile | None"
    meta: "MetaFile | None" = None
    copied: "CopyingRenderer | None" = None
    draw_images: Callable[[Answer], None] | None = None

    def show(self, batch: EventBatch) -> None:
        """Show the events of one network read."""
        self.stderr.show(batch)
        self.stdout.show(batch)

    def end_round(self, answer: Answer) -> None:
        """Show the end of an answer that calls tools, before they are announced."""
        from aiml_cli.output.tool_rounds import AllRoundsRenderer, LastRoundRenderer  # few answers call tools

        self.stderr.end_reasoning()
        for renderer in (self.copied.stdout, self.copied.text) if self.copied else (self.stdout,):
            if isinstance(renderer, AllRoundsRenderer | LastRoundRenderer):
                renderer.end_round(answer)

    def show_results(self, tool_round: ToolRound) -> None:
        """Show what the tools of a round returned, if the format includes it."""
        from aiml_cli.output.json_output import JsonLinesRenderer  # as above

        if isinstance(self.stdout, JsonLinesRenderer):
            self.stdout.show_results(tool_round)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the chunks; with --format raw, each is also written as it passes."""
        return _write_chunks(chunks, self.raw) if self.raw else chunks

    def close(self, answer: Answer) -> None:
        """Show the rest, and write the --meta file even if showing the rest fails."""
        try:
            self._close_renderers(answer)
        except AimlError as error:
            answer = replace(answer, error=answer.error or error)
            raise
        finally:
            if self.meta:
                self.meta.close(answer)

    def _close_renderers(self, answer: Answer) -> None:
        # If stdout failed, nothing more is written to it; an error with a `place` is about another file (save_media).
        if not isinstance(answer.error, OutputFailed | ReaderClosed) or "place" in answer.error.details:
            self.stderr.end_reasoning()
            self.stdout.close(answer)
            if self.draw_images:
                self.draw_images(answer)
        self.stderr.close(answer)
        if self.file:
            self.file.close_and_report(complete=answer.error is None)
        if self.copied:
            self.copied.copy(answer)


class CopyingRenderer:
    """Renderer of --copy: shows the answer, and copies the text that a file would contain.

    `text` is the renderer that writes into `kept`.
    """

    def __init__(self, stdout: Renderer, text: Renderer, kept: bytearray, *, quiet: bool) -> None:
        self.stdout, self.text = stdout, text
        self._kept, self._quiet = kept, quiet

    def show(self, batch: EventBatch) -> None:
        """Show the events of one network read, and keep their text."""
        self.stdout.show(batch)
        self.text.show(batch)

    def close(self, answer: Answer) -> None:
        """Show what remains."""
        self.stdout.close(answer)
        self.text.close(answer)

    def copy(self, answer: Answer) -> None:
        """Copy a complete answer and print a notice; leave the clipboard unchanged otherwise; raise OutputFailed."""
        from aiml_cli.system.clipboard import copy_text  # few answers are copied

        message, text = UNCHANGED_CLIPBOARD, self._kept.decode("utf-8", "replace")
        if answer.error is None and text.strip():
            message = copy_text(text)
        elif answer.error and not text.strip():
            return
        if not self._quiet:
            print_err(f"aiml: {message}")


def choose_output(options: Options, environ: Mapping[str, str]) -> AnswerOutput:
    """Open the output of a single answer; raise an error before anything is sent if it cannot be written."""
    if not options.copy:
        return _open_output(options, environ)
    from aiml_cli.output.tool_rounds import LastRoundRenderer  # like the clipboard, for few calls only
    from aiml_cli.system.clipboard import check_clipboard

    check_clipboard()
    output, kept = _open_output(options, environ), bytearray()
    renderer = _choose_renderer(options, kept.extend, environ, terminal=False, to_file=True)
    copied = CopyingRenderer(output.stdout, LastRoundRenderer(renderer, quiet=True), kept, quiet=bool(options.quiet))
    return replace(output, stdout=copied, copied=copied)


def _open_output(options: Options, environ: Mapping[str, str]) -> AnswerOutput:
    """Open the output of a single answer, without the clipboard."""
    if not (options.output or options.meta or options.audio_out):
        check_stdout()
        return build_output(None, options, environ)
    from aiml_cli.output.output_file import check_audio_file, is_stdout, open_meta_file, open_output

    check_audio_file(options)
    is_audio = is_stdout(options.audio_out)
    if is_audio:
        is_text_elsewhere = bool(options.output) and not is_stdout(options.output)
        _check_audio_alone(options, is_text_elsewhere=is_text_elsewhere, is_meta_here=is_stdout(options.meta))
    file = open_output(options.output)
    meta = open_meta_file(options.meta, file) if options.meta else None
    output = replace(build_output(file, options, environ), file=file, meta=meta)
    return replace(output, stdout=NullRenderer()) if is_audio and file is None else output


def _check_audio_alone(options: Options, *, is_text_elsewhere: bool, is_meta_here: bool) -> None:
    """Raise UsageError if audio would go to a terminal, or be mixed with other output."""
    if is_terminal(1):
        raise UsageError("--audio-out -: a terminal cannot play audio", "redirect it to a file: > FILE")
    is_plain = output_format(options) in ("md", "text") and not (options.extract or options.output)
    if not (is_text_elsewhere or is_plain) or is_meta_here:
        message = "--audio-out - writes the audio to standard output, so nothing else can be written there"
        raise UsageError(message, "-o FILE writes the answer to a file, --meta FILE its tokens and cost")


def build_output(file: "OutputFile | None", options: Options, environ: Mapping[str, str]) -> AnswerOutput:
    """Return the output of one of several answers; it neither checks stdout nor closes the file."""
    write: Write = file.write if file else write_out
    form = output_format(options)
    is_text = form in ("md", "text", "items")
    stderr = StderrRenderer(
        reasoning=is_text and not options.hide_reasoning and not options.quiet,
        notices=is_text and not options.quiet,
        usage=bool(options.usage),
        color=has_color(2, options.color or "auto", environ),
        sources=file is not None or not is_terminal(1),
        hints=not options.quiet,
        verbose=bool(options.verbose and not options.quiet),
    )
    terminal = file.is_terminal if file else is_terminal(1)

    def make() -> Renderer:
        return _choose_renderer(options, write, environ, terminal=terminal, to_file=file is not None)

    stdout = _show_rounds(make, write, options) if options.run_tool or options.mcp_server else make()
    raw = (make_sanitized_writer(write) if terminal else write) if form == "raw" else None
    draws = terminal and form == "md" and not options.extract
    return AnswerOutput(stdout, stderr, raw, None, draw_images=_make_image_drawer(write, environ) if draws else None)


def _make_image_drawer(write: Write, environ: Mapping[str, str]) -> Callable[[Answer], None]:
    """Return a function that draws the images of an answer, if the terminal is known to support it."""

    def draw(answer: Answer) -> None:
        if images := [image for choice in answer.completion.choices for image in choice.images]:
            from aiml_cli.output import terminal_images  # few answers have images

            if protocol := terminal_images.choose_protocol(environ):
                terminal_images.draw_images(images, protocol, 1, write)

    return draw


def _show_rounds(make: Callable[[], Renderer], write: Write, options: Options) -> Renderer:
    """Return a renderer for an answer that may call tools; programs and files get only the last answer."""
    from aiml_cli.output.tool_rounds import AllRoundsRenderer, LastRoundRenderer  # few answers call tools

    form = output_format(options)
    if form in ("json", "jsonl", "raw"):
        return make()
    is_whole = options.output or options.extract or options.schema or options.json_object or options.response_format
    if form == "items" or is_whole:
        return LastRoundRenderer(make(), quiet=bool(options.quiet))
    return AllRoundsRenderer(make, write)


def null_output() -> AnswerOutput:
    """Return an output that shows nothing, for an answer that the program uses itself."""
    return AnswerOutput(NullRenderer(), NullStderrRenderer(), None, None)


def output_format(options: Options) -> str:
    """Return the name of the output format: that of --format, or json or items."""
    return "json" if options.json else "items" if options.items else options.format or "md"


def _choose_renderer(
    options: Options, write: Write, environ: Mapping[str, str], *, terminal: bool, to_file: bool
) -> Renderer:
    match output_format(options):
        case "json" | "jsonl" as name:
            from aiml_cli.output.json_output import JsonLinesRenderer, JsonRenderer  # for few calls only

            return JsonRenderer(write) if name == "json" else JsonLinesRenderer(write)
        case "raw":
            return NullRenderer()
        case "items":
            from aiml_cli.output.array_items import ItemsRenderer  # for few calls only

            return ItemsRenderer(write)
        case _:
            return _choose_text_renderer(options, write, environ, terminal=terminal, to_file=to_file)


def _choose_text_renderer(
    options: Options, write: Write, environ: Mapping[str, str], *, terminal: bool, to_file: bool
) -> Renderer:
    color = options.color or "auto"
    if options.extract:
        from aiml_cli.output.code_blocks import CodeBlockRenderer  # for few calls only

        return CodeBlockRenderer(write, options.extract, terminal=terminal)
    has_logprobs = options.logprobs or options.top_logprobs is not None
    if has_logprobs and not to_file and has_color(1, color, environ):
        from aiml_cli.output.logprobs import LogprobsRenderer  # for few calls only

        return LogprobsRenderer(write, terminal=terminal, legend=not options.quiet)
    if terminal and output_format(options) == "md" and environ.get("TERM", "") not in ("", "dumb"):
        return _build_live_renderer(write, options, environ)
    return PlainTextRenderer(write, terminal=terminal)


def _build_live_renderer(write: Write, options: Options, environ: Mapping[str, str]) -> Renderer:
    """Return a renderer for Markdown; without colors it keeps bold and underline, unless --color is never."""
    from aiml_cli.output.markdown import ansi  # a pipe needs no Markdown renderer
    from aiml_cli.output.markdown.live_renderer import LiveMarkdownRenderer

    color = options.color or "auto"
    filter_styles = ansi.strip_styles if color == "never" else ansi.strip_colors
    if has_color(1, color, environ):
        filter_styles = ansi.keep_styles
    filter_links = ansi.keep_styles if ansi.has_hyperlinks(environ) else ansi.strip_links
    return LiveMarkdownRenderer(
        lambda text: write(filter_styles(filter_links(text)).encode("utf-8", "replace")),
        lambda: get_terminal_size(1),
        environ,
        is_json=bool(options.json_object or options.schema),
        hides_reasoning=bool(options.hide_reasoning),
    )


def _write_chunks(chunks: Iterator[bytes], write: Write) -> Iterator[bytes]:
    for chunk in chunks:
        write(chunk)
        yield chunk


def has_color(fd: int, color: str, environ: Mapping[str, str]) -> bool:
    """True if a file descriptor gets colors: by --color, then NO_COLOR, then FORCE_COLOR, then the terminal."""
    if color != "auto":
        return color == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return is_terminal(fd) and environ.get("TERM", "") not in ("", "dumb")
