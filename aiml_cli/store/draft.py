"""Keep a working copy of the config file, which takes its place only when it is in order."""

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aiml_cli.errors import Misuse
from aiml_cli.store import paths, write
from aiml_cli.store.config import judge
from aiml_cli.store.read import existing

_EMPTY = b"# Settings of aiml: NAME = VALUE, one a line. Their names: aiml config show\n"


@dataclass(frozen=True, slots=True)
class Draft:
    """Hold where the working copy is, and what the file held when it was made (None: there was none)."""

    copy: Path
    before: bytes | None


def begin() -> Draft:
    """Make a working copy beside the config file; raise Misuse or OutputFailed where there can be none."""
    path = paths.needed(paths.config_file())
    write.refuse_link(path)
    before = existing(path)
    copy = path.with_name(f"config.{os.getpid()}-{token_hex(4)}.toml")
    write.create(copy, _EMPTY if before is None else before)
    return Draft(copy, before)


def check(draft: Draft) -> None:
    """Raise Misuse naming file, line and column, or the setting, that is not in order."""
    judge(existing(draft.copy) or b"", draft.copy)


def finish(draft: Draft) -> bool:
    """Put the working copy in the place of the file and say whether it differs.

    Raises Misuse when somebody else changed the file meanwhile; the working copy is kept then.
    """
    edited = existing(draft.copy)
    changed = edited is not None and edited not in (draft.before, _EMPTY)

    def change(now: bytes | None) -> bytes | None:
        if now != draft.before:
            raise Misuse("the config file was changed by another program meanwhile", kept(draft))
        return edited

    if changed:
        write.update(paths.needed(paths.config_file()), change)
    discard(draft)
    return changed


def discard(draft: Draft) -> None:
    """Remove the working copy."""
    draft.copy.unlink(missing_ok=True)


def kept(draft: Draft) -> str:
    """Say where the working copy stays."""
    return f"what you wrote is kept in {draft.copy}"
