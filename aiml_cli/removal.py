"""Answer `aiml history rm`: delete conversations for good."""

import sys
import time
from collections.abc import Sequence

from aiml_cli.errors import Misuse
from aiml_cli.recall import recalled, settled
from aiml_cli.screen.output import is_terminal, say, tell
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import Options
from aiml_cli.store import past
from aiml_cli.store.forget import Outcome, count_of_copies, forget, forget_copies
from aiml_cli.store.history import History, damaged_copies
from aiml_cli.store.past import Conversation

WAYS = "say ids, or --older-than, or --all"


def rm(words: Sequence[str], flags: Flags, seconds: float | None, everything: bool) -> int:
    """Delete the conversations of some ids, those older than a time, or all with what was damaged.

    Raises Misuse when one of them stays because another process is writing it.
    """
    options = settled(flags)
    if bool(words) + (seconds is not None) + everything != 1:
        raise Misuse("which conversations?" if not words else "either ids or a flag says which conversations", WAYS)
    kept = recalled(lambda history: _removed(history, words, seconds, options))
    if kept:
        raise Misuse(
            f"not deleted, for another process is writing {'it' if len(kept) == 1 else 'them'}: {_names(kept)}",
            "delete again when that has ended",
        )
    return 0


def _removed(history: History, words: Sequence[str], seconds: float | None, options: Options) -> list[Conversation]:
    """Delete, and give those that stay."""
    chosen = _chosen(history, words, seconds)
    copies = 0 if words or seconds is not None else count_of_copies(damaged_copies(history.path))
    if not chosen and not copies:
        _say(
            options,
            "nothing was deleted: no conversation is so old" if seconds is not None else "there is no history yet",
        )
        return []
    if not words and not _may(_counted(len(chosen), copies), options):
        _say(options, "nothing was deleted")
        return []
    outcome = forget(history, chosen)
    if copies:
        forget_copies(history)
    _tell(outcome, copies, history, options)
    return outcome.kept


def _chosen(history: History, words: Sequence[str], seconds: float | None) -> list[Conversation]:
    if words:
        return list({each.id: each for each in (past.called(history, word) for word in words)}.values())
    return past.everything(history) if seconds is None else past.everything(history, time.time() - seconds)


def _may(what: str, options: Options) -> bool:
    """Ask, unless yes was said beforehand; raise Misuse where nobody can be asked."""
    if options.yes:
        return True
    if not (is_terminal(0) and is_terminal(2)):
        raise Misuse(f"this would delete {what}", "say -y to do so")
    tell(f"delete {what}? [y/N] ")
    return sys.stdin.readline().strip().lower().startswith("y")


def _tell(outcome: Outcome, copies: int, history: History, options: Options) -> None:
    _say(options, f"{_counted(len(outcome.gone), copies)} deleted")
    if not outcome.is_clean:
        say(f"aiml: some of the text may be in {history.path}-wal until the other processes that read it have ended")


def _counted(conversations: int, copies: int) -> str:
    said = [f"{conversations} conversation{'' if conversations == 1 else 's'}"] if conversations or not copies else []
    said += [f"{copies} damaged {'copy' if copies == 1 else 'copies'}"] if copies else []
    return " and ".join(said)


def _names(kept: Sequence[Conversation]) -> str:
    return ", ".join(each.name for each in kept)


def _say(options: Options, words: str) -> None:
    if not options.quiet:
        say(f"aiml: {words}")
