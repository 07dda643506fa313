"""Keep a working copy of the config file, which takes its place only when it is in order."""

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.store import paths
from aiml_cli.store.config_file import validate_config
from aiml_cli.system import atomic_write
from aiml_cli.system.atomic_write import read_file
from aiml_cli.system.child_process import run_editor

_EMPTY = b"# Settings of aiml: NAME = VALUE, one a line. Their names: aiml config show\n"


@dataclass(frozen=True, slots=True)
class ConfigDraft:
    """Hold where the working copy is, and what the file held when it was made (None: there was none)."""

    copy: Path
    before: bytes | None


def create_draft() -> ConfigDraft:
    """Make a working copy beside the config file; raise UsageError or OutputFailed where there can be none."""
    path = paths.require_path(paths.config_file())
    atomic_write.refuse_symlink(path)
    before = read_file(path)
    copy = path.with_name(f"config.{os.getpid()}-{token_hex(4)}.toml")
    atomic_write.create_file(copy, _EMPTY if before is None else before)
    return ConfigDraft(copy, before)


def edit_draft(draft: ConfigDraft, editor: str) -> None:
    """Open the working copy in an editor; raise UsageError, and forget the copy, when that fails."""
    try:
        run_editor(draft.copy, editor)
    except UsageError as error:
        _discard(draft)
        error.hint = "nothing was changed; VISUAL or EDITOR names another"
        raise


def find_error(draft: ConfigDraft) -> UsageError | None:
    """Find what is not in order: a line and column, or a setting."""
    try:
        validate_config(read_file(draft.copy) or b"", draft.copy)
    except UsageError as fault:
        return fault
    return None


def install_draft(draft: ConfigDraft) -> bool:
    """Put the working copy in the place of the file and say whether it differs.

    Raises UsageError when somebody else changed the file meanwhile, and as `write.update` does; then the copy stays.
    """
    edited = read_file(draft.copy)
    changed = edited is not None and edited not in (draft.before, _EMPTY)

    def change(now: bytes | None) -> bytes | None:
        if now != draft.before:
            raise UsageError("the config file was changed by another program meanwhile")
        return edited

    try:
        if changed:
            atomic_write.update_file(paths.require_path(paths.config_file()), change)
    except AimlError as fault:
        fault.hint = describe_draft(draft)
        raise
    _discard(draft)
    return changed


def describe_draft(draft: ConfigDraft) -> str:
    """Say where the working copy stays."""
    return f"what you wrote is kept in {draft.copy}"


def _discard(draft: ConfigDraft) -> None:
    draft.copy.unlink(missing_ok=True)
