"""Format the help screens: -h shows the most used flags, --help all of them in groups."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from typing import Any

from aiml_cli.settings.options import ROWS

MAX_WIDTH, MIN_WIDTH = 80, 50
MAX_FLAG_WIDTH = 27  # the help of a longer flag goes below it
MAX_BRIEF_LINES = 39  # fits on a terminal of 40 lines, with the next shell prompt
_FIRST_SENTENCE = re.compile(r".*?[.](?=\s|$)", re.DOTALL)
_DEFAULT = "[default: "
Pair = tuple[str, str]


def format_help(command: Any, context: Any, *, is_brief: bool) -> str:
    """Return the help of a Typer command; `is_brief` leaves out the less used flags if they do not fit on a screen."""
    options = [param for param in command.get_params(context) if param.param_type_name == "option"]
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    examples = [f"  {line}" for line in (command.epilog or "").splitlines()]
    end = ["\n".join(["Examples:", *examples])] if examples else []
    start = [command.get_usage(context), *_wrap_help(command.help or "", context)]
    if not is_brief or len(options) < MAX_BRIEF_LINES:
        sections = {"Arguments": [(param.make_metavar(context), param.help or "") for param in arguments]}
        sections |= {"Commands": _list_commands(command), **_group_options(options, context)}
        text = _join_blocks([*start, "\n".join(_format_sections(sections, context, gap=True)), *end])
        if not is_brief or text.count("\n") < MAX_BRIEF_LINES:
            return text
    hints = [line for param in arguments for line in _wrap_help(first_sentence(param.help or ""), context)]
    common = "\n".join(_format_sections(_list_common(options, context), context, gap=False))
    return _join_blocks(
        [start[0], "\n".join([start[1], *hints]), common, *end, f"All flags: {context.command_path} --help"]
    )


def _join_blocks(blocks: Iterable[str]) -> str:
    return "\n\n".join(filter(None, blocks))


def _wrap_help(text: str, context: Any) -> list[str]:
    return ["\n".join(_wrap(part, _get_width(context), 2)) for part in inspect.cleandoc(text).split("\n\n")]


def first_sentence(text: str) -> str:
    """Return the first sentence of a help text, with the default value at its end."""
    text, mark, default = text.partition(_DEFAULT)
    sentence = found[0] if (found := _FIRST_SENTENCE.match(text.rstrip())) else text.rstrip()
    return f"{sentence} {mark}{default}" if default.endswith("]") else sentence


def _get_width(context: Any) -> int:
    """Return the width of the help, which is a little less than that of the terminal."""
    return context.terminal_width or max(min(get_terminal_size().columns, MAX_WIDTH) - 2, MIN_WIDTH)


def _list_commands(command: Any) -> list[Pair]:
    """Return the names of the commands of a group, each with the first paragraph of its help."""
    commands = getattr(command, "commands", {})
    texts = {name: inspect.cleandoc(below.help or "") for name, below in commands.items() if not below.hidden}
    return [(name, " ".join(text.partition("\n\n")[0].split())) for name, text in texts.items()]


def _group_options(options: Sequence[Any], context: Any) -> dict[str, list[Pair]]:
    """Return all flags by the heading of their group."""
    groups: dict[str, list[Pair]] = {}
    records = [(param.rich_help_panel, param.get_help_record(context)) for param in options]
    headings = {panel for panel, record in records if panel and record}
    for panel, record in records:
        if record:
            heading = panel or ("Help" if headings else "Options")
            groups.setdefault(heading if len(headings) != 1 else "Options", []).append(record)
    return groups


def _list_common(options: Iterable[Any], context: Any) -> dict[str, list[Pair]]:
    """Return the most used flags, and those that only this command has, each with the first sentence of its help."""
    groups: dict[str, list[Pair]] = {}
    for param in options:
        row = ROWS.get((param.name or "").rstrip("_"))
        if row is None and param.rich_help_panel:
            left, text = param.get_help_record(context)
            groups.setdefault(param.rich_help_panel, []).append((left, first_sentence(text)))
        elif row and row.common and row.flag in param.opts:
            spelling = ", ".join(filter(None, (row.short, row.flag)))
            metavar = "" if row.value_type.is_switch else _shorten_metavar(row.value_type.metavar, spelling)
            pair = (f"{spelling} {metavar}".rstrip(), first_sentence(param.help or ""))
            groups.setdefault(row.panel, []).append(pair)
    return groups


def _shorten_metavar(metavar: str, spelling: str) -> str:
    """Return a metavar; if it is too long, only its first form, or WORD if that form is a literal."""
    if len(f"{spelling} {metavar}") <= MAX_FLAG_WIDTH:
        return metavar
    first = metavar.partition("|")[0]
    return first if first.isupper() else "WORD"


def _format_sections(sections: dict[str, list[Pair]], context: Any, *, gap: bool) -> Iterator[str]:
    """Yield the lines of sections whose second column begins at the same place."""
    pairs = [pair for section in sections.values() for pair in section]
    column = max((len(left) for left, _ in pairs if len(left) <= MAX_FLAG_WIDTH), default=0)
    is_first = True
    for heading, section in sections.items():
        if not section:
            continue
        yield from [""] * (gap and not is_first)
        yield f"{heading}:"
        for left, text in section:
            yield from _format_pair(left, text, column, _get_width(context))
        is_first = False


def _format_pair(left: str, text: str, column: int, width: int) -> Iterator[str]:
    lines = _wrap(text, width, column + 4)
    if len(left) > column or not lines:
        yield from (f"  {left}", *lines)
        return
    yield f"  {left:{column}}  {lines[0].lstrip()}"
    yield from lines[1:]


def _wrap(text: str, width: int, indent: int) -> list[str]:
    import textwrap

    return textwrap.wrap(
        " ".join(text.split()), width, initial_indent=" " * indent, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
