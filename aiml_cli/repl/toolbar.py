"""Say below the prompt whom the next message goes to, what was spent so far, what is sent along."""

from pathlib import Path

from prompt_toolkit.formatted_text import FormattedText

from aiml_cli.repl.session import Session
from aiml_cli.screen.safe import visible


def toolbar(session: Session, width: int) -> FormattedText:
    """Give a line, and above it one of the files that wait, where some do."""
    spent = f" · {session.tokens} tokens · ${session.cost_usd:.4f}"
    waiting = [*(Path(each).name or each for each in session.files), *(each.name for each in session.outputs)]
    lines = [f"sends along {', '.join(waiting)}"] if waiting else []
    model = _line(session.model_name(), width - len(spent) - 2)
    return FormattedText([("", "\n".join(f" {_line(each, width - 2)}" for each in [*lines, model + spent]))])


def _line(text: str, width: int) -> str:
    """Make a text harmless, and cut it to a line."""
    shown = visible(text.replace("\n", "\\n").replace("\t", "\\t"))
    return shown if len(shown) <= width else shown[: max(width - 1, 0)] + "…"
