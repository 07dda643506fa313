"""Edit the config file in a copy, which replaces the file only after it has been checked."""

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.store import paths
from aiml_cli.store.config_file import validate_config
from aiml_cli.system.atomic_write import create_file, read_file, refuse_symlink, update_file
from aiml_cli.system.child_process import run_editor

_EMPTY = b"# Settings of aiml: NAME = VALUE, one a line. Their names: aiml config show\n"


@dataclass(frozen=True, slots=True)
class ConfigDraft:
    """A copy of the config file, and what the file contained at that time (None: no file)."""

    copy: Path
    original: bytes | None


def create_draft() -> ConfigDraft:
    """Copy the config file to a new file beside it; raise UsageError or OutputFailed if that is not possible."""
    path = paths.require_path(paths.config_file())
    refuse_symlink(path)
    original = read_file(path)
    copy = path.with_name(f"config.{os.getpid()}-{token_hex(4)}.toml")
    create_file(copy, _EMPTY if original is None else original)
    return ConfigDraft(copy, original)


def edit_draft(draft: ConfigDraft, editor: str) -> None:
    """Open the copy in an editor; if that fails, delete the copy and raise UsageError."""
    try:
        run_editor(draft.copy, editor)
    except UsageError as error:
        draft.copy.unlink(missing_ok=True)
        error.hint = "nothing was changed; VISUAL or EDITOR names another"
        raise


def find_error(draft: ConfigDraft) -> UsageError | None:
    """Return the first syntax error or bad setting of the copy."""
    try:
        validate_config(read_file(draft.copy) or b"", draft.copy)
    except UsageError as error:
        return error
    return None


def install_draft(draft: ConfigDraft) -> bool:
    """Replace the config file by the copy and return whether it differs.

    Raises UsageError if another program changed the file, and as `update_file` does; then the copy stays.
    """
    edited = read_file(draft.copy)
    is_changed = edited is not None and edited not in (draft.original, _EMPTY)

    def change(current: bytes | None) -> bytes | None:
        if current != draft.original:
            raise UsageError("the config file was changed by another program meanwhile")
        return edited

    try:
        if is_changed:
            update_file(paths.require_path(paths.config_file()), change)
    except AimlError as error:
        error.hint = describe_draft(draft)
        raise
    draft.copy.unlink(missing_ok=True)
    return is_changed


def describe_draft(draft: ConfigDraft) -> str:
    """Return a sentence that says where the copy is."""
    return f"what you wrote is kept in {draft.copy}"
