"""How many columns a text takes on a terminal: the one place that knows."""

import re

from rich.cells import cell_len, get_character_cell_size  # light, unlike the rest of rich

# What some terminals join with its neighbour, and others show by itself, two columns wide.
_JOINER = "\u200d"
_HALVES = re.compile("[\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")


def text_width(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def max_text_width(text: str) -> int:
    """Return how many columns a text takes at most, whatever a terminal joins."""
    if text.isascii():
        return len(text)
    if _JOINER not in text and not _HALVES.search(text):
        return cell_len(text)
    return max(cell_len(text), sum(map(_max_width, text)))


def count_fitting(text: str, width: int, *, at_least: int = 0) -> int:
    """Return how many characters fit into so many columns; what combines with the last one stays with it."""
    count = used = 0
    while count < len(text):
        used += _max_width(text[count])
        if used > width and count >= at_least:
            break
        count += 1
        while count < len(text) and (_max_width(text[count]) == 0 or text[count - 1] == _JOINER):
            count += 1
    return count


def _max_width(char: str) -> int:
    return 2 if _HALVES.match(char) else get_character_cell_size(char)
