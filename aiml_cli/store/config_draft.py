"""Keep a working copy of the config file, which takes its place only when it is in order."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aiml_cli.errors import AimlError, Misuse
from aiml_cli.store import paths
from aiml_cli.store.config_file import judge
from aiml_cli.system import atomic_write
from aiml_cli.system.atomic_write import existing

_EMPTY = b"# Settings of aiml: NAME = VALUE, one a line. Their names: aiml config show\n"


@dataclass(frozen=True, slots=True)
class Draft:
    """Hold where the working copy is, and what the file held when it was made (None: there was none)."""

    copy: Path
    before: bytes | None


def begin() -> Draft:
    """Make a working copy beside the config file; raise Misuse or OutputFailed where there can be none."""
    path = paths.needed(paths.config_file())
    atomic_write.refuse_link(path)
    before = existing(path)
    copy = path.with_name(f"config.{os.getpid()}-{token_hex(4)}.toml")
    atomic_write.create(copy, _EMPTY if before is None else before)
    return Draft(copy, before)


def write_in(draft: Draft, editor: str) -> None:
    """Open the working copy in an editor; raise Misuse, and forget the copy, when that fails."""
    try:
        ended = subprocess.run([*shlex.split(editor), str(draft.copy)], check=False).returncode
        reason = f"ended with {ended}" if ended else ""
    except (OSError, ValueError) as fault:
        reason = f"cannot be started: {getattr(fault, 'strerror', None) or fault}"
    if reason:
        _discard(draft)
        raise Misuse(f"the editor {editor!r} {reason}", "nothing was changed; VISUAL or EDITOR names another")


def fault_in(draft: Draft) -> Misuse | None:
    """Find what is not in order: a line and column, or a setting."""
    try:
        judge(existing(draft.copy) or b"", draft.copy)
    except Misuse as fault:
        return fault
    return None


def finish(draft: Draft) -> bool:
    """Put the working copy in the place of the file and say whether it differs.

    Raises Misuse when somebody else changed the file meanwhile, and as `write.update` does; then the copy stays.
    """
    edited = existing(draft.copy)
    changed = edited is not None and edited not in (draft.before, _EMPTY)

    def change(now: bytes | None) -> bytes | None:
        if now != draft.before:
            raise Misuse("the config file was changed by another program meanwhile")
        return edited

    try:
        if changed:
            atomic_write.update(paths.needed(paths.config_file()), change)
    except AimlError as fault:
        fault.hint = kept(draft)
        raise
    _discard(draft)
    return changed


def kept(draft: Draft) -> str:
    """Say where the working copy stays."""
    return f"what you wrote is kept in {draft.copy}"


def _discard(draft: Draft) -> None:
    draft.copy.unlink(missing_ok=True)
