"""Choose the screens for an answer: by the format asked for, and by what standard output and error are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from aiml_cli.api.answer import Answer
from aiml_cli.api.events import Batch
from aiml_cli.errors import OutputFailed, ReaderGone
from aiml_cli.screen.aside import Aside
from aiml_cli.screen.file import OutputFile
from aiml_cli.screen.json import Json, JsonLines, Silent
from aiml_cli.screen.output import check_stdout, is_terminal, say, write
from aiml_cli.screen.plain import Plain
from aiml_cli.screen.renderer import Renderer
from aiml_cli.settings.options import Options

Write = Callable[[bytes], None]


@dataclass(slots=True)
class Screen:
    """Show an answer to whom it concerns. `raw` takes the server's bytes, where they are wanted."""

    main: Renderer
    aside: Aside
    raw: Write | None
    file: OutputFile | None

    def show(self, batch: Batch) -> None:
        """Show what a network read brought."""
        self.aside.show(batch)
        self.main.show(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Write the bytes that pass, where they are wanted."""
        return _teed(chunks, self.raw) if self.raw else chunks

    def close(self, answer: Answer) -> None:
        """Show what is left; an output that failed is left alone."""
        if not isinstance(answer.error, OutputFailed | ReaderGone):
            self.main.close(answer)
        self.aside.close(answer)
        if self.file and (part := self.file.close(complete=answer.error is None)):
            say(f"aiml: what came is in {part}")


def choose(options: Options, environ: Mapping[str, str]) -> Screen:
    """Open the screens; raise before anything is sent when the answer would have no place to go."""
    file = OutputFile(options.output) if options.output else None
    if file is None:
        check_stdout()
    put: Write = file.write if file else write
    text = _form(options) == "text"
    aside = Aside(
        reasoning=text and not options.hide_reasoning and not options.quiet,
        notices=text and not options.quiet,
        usage=bool(options.usage),
        color=wants_color(2, options.color or "auto", environ),
    )
    return Screen(_main(options, put, to_file=file is not None), aside, put if _form(options) == "raw" else None, file)


def _form(options: Options) -> str:
    return "json" if options.json else options.format or "text"


def _main(options: Options, put: Write, *, to_file: bool) -> Renderer:
    match _form(options):
        case "json":
            return Json(put)
        case "jsonl":
            return JsonLines(put)
        case "raw":
            return Silent()
        case _:
            return Plain(put, terminal=not to_file and is_terminal(1))


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
