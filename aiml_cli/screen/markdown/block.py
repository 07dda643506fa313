"""What Markdown is cut into: blocks, and what they stand in."""

import re
from typing import NamedTuple

_CELL_END = re.compile(r"(?<!\\)\|")


class Frame(NamedTuple):
    """Hold what a block stands in: a quote (">"), an item ("-", "3.") or a footnote ("[1]").

    `indent` is how far what stands in it is indented in the text.
    """

    mark: str
    indent: int = 0


class Block(NamedTuple):
    """Hold a paragraph, heading, fence, code, table, rule.

    `opens` counts the frames, from the last, that begin with this block: their marks are shown. `gap` says that
    blank lines stand before it. `part` counts the pieces of a long one, of which the last `closes`.
    """

    kind: str
    text: str
    frames: tuple[Frame, ...] = ()
    opens: int = 0
    gap: bool = False
    level: int = 0
    info: str = ""
    part: int = 0
    closes: bool = True


def cells(row: str) -> list[str]:
    """Cut a row of a table into its cells."""
    row = row.strip()
    row = row.removeprefix("|")
    row = row[:-1] if row.endswith("|") and not row.endswith("\\|") else row
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(row)]
