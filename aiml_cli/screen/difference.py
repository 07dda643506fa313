"""Write the unified difference of two texts, harmless to a terminal."""

from difflib import unified_diff
from io import StringIO

from aiml_cli.screen.safe import visible

COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def difference(old: str, new: str, name: str, *, color: bool) -> str:
    """Give the lines that change, with those around them."""
    # Lines end at newlines only: splitlines knows a dozen other ends, which a file's lines may hold.
    before, after = (list(StringIO(text, newline="\n")) for text in (old, new))
    lines = list(unified_diff(before, after, name, f"{name} (the answer)"))
    return "".join(_line(line, is_head=place < 2, color=color) for place, line in enumerate(lines))  # noqa: PLR2004


def _line(line: str, *, is_head: bool, color: bool) -> str:
    end = "\n" if line.endswith("\n") else "\n\\ No newline at end of file\n"
    shown = visible(line.removesuffix("\n"))
    tone = BOLD if is_head else COLOURS.get(line[:1], "")
    return f"{tone}{shown}{PLAIN}{end}" if color and tone else shown + end
