"""Refuse what does not go with many rows, before anything is read or sent."""

from aiml_cli.errors import Misuse
from aiml_cli.settings.options import ROWS, value_of
from aiml_cli.settings.resolve import Settings, Source

_ONE = "each row is asked on its own"
_LINES = "results are JSON lines"
REFUSED = {
    "continue": _ONE,
    "resume": _ONE,
    "interactive": _ONE,
    "tool_result": _ONE,
    "background": "the answers are waited for; -j says how many at a time",
    "wait": _ONE,
    "show": _ONE,
    "cancel": _ONE,
    "save": _ONE,
    "items": _LINES,
    "extract": f"{_LINES}; take the code out of their text",
    "meta": "each result says what it cost",
    "audio_out": "one file cannot hold the sounds of all rows",
    "in_place": f"{_LINES}; name a file for them with -o",
    "save_dir": "the files of the rows would have the same names",
    "chunk": "a row is asked whole",
    "reduce": "a row is asked whole",
    "fit": "a row is asked whole",
    "first": "all rows ask one model",
}
WITH_ROWS = ("jobs", "unordered", "resume_from", "shard")


def see_that_it_fits(settings: Settings, models: int) -> None:
    """Raise Misuse for a flag that makes no sense with --each, or only with it; a config file's are left aside."""
    options = settings.options
    if not options.each:
        _see_that_rows_are_meant(settings)
    if models > 1:
        raise Misuse("several models do not go with --each", "ask one after the other, or A,B for one or the other")
    for name, why in REFUSED.items():
        if value_of(options, ROWS[name]) and settings.sources.get(name) in (Source.FLAG, Source.TEMPLATE):
            raise Misuse(f"{ROWS[name].flag} does not go with --each", why)
    is_other = options.format not in ("json", "jsonl") and settings.sources.get("format") is Source.FLAG
    if is_other and not options.json:
        raise Misuse(f"--format {options.format} does not go with --each", _LINES)
    if options.output and options.resume_from:
        raise Misuse("--output and --resume-from exclude each other", "results are added to the file of --resume-from")
    _see_the_input(settings)


def _see_the_input(settings: Settings) -> None:
    options = settings.options
    files = options.file or ()
    if len(files) > 1:
        raise Misuse(
            f"--each takes its rows from one file, not {len(files)}",
            "name what goes along with every row as @FILE behind the command",
        )
    if options.messages == "-" and not (files and files[0] != "-"):
        raise Misuse("standard input cannot be both --messages and the rows")


def _see_that_rows_are_meant(settings: Settings) -> None:
    named = [ROWS[name].flag for name in WITH_ROWS if settings.sources.get(name) is Source.FLAG]
    raise Misuse(f"{named[0]} says nothing without --each", "--each line asks for each line")
