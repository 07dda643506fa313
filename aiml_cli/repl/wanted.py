"""Say whether a command line asks for a conversation in turns; light, for every question passes here."""

from collections.abc import Sequence

from aiml_cli.prompt.stdin import holds_something
from aiml_cli.screen.output import is_terminal
from aiml_cli.settings.flags import Flags

# What asks for something by itself, without a prompt.
ASKS = (
    "print", "file", "messages", "tool_result", "continue", "resume", "template", "edit", "save", "wait", "show",
    "cancel", "dry_run", "as", "output", "prompt_id", "in_place", "each",
)  # fmt: skip


def wants_turns(words: Sequence[str], flags: Flags) -> bool:
    """Say so for -i, and for a terminal on which nothing is asked; -i with rows is refused where those are asked."""
    if "interactive" in flags:
        return "each" not in flags
    is_bare = not words and not any(name in flags for name in ASKS)
    return is_bare and is_terminal(0) and is_terminal(1) and not holds_something()
