"""Run `aiml config completions`: print the completion script of a shell, or install it."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.store import model_cache, paths
from aiml_cli.system.atomic_write import read_file, refuse_symlink, replace_public_file
from aiml_cli.system.questions import can_ask, confirm
from aiml_cli.system.stdio import print_err, print_out

# One of the first lines of our scripts; other files are not replaced without --yes.
MARK = b"# Completion of aiml for "
# The line of a script that sets the key begins with one of these.
KEY_LINES = (b"_aiml_key=", b"set -l aiml_key ")
KEY_MARK, MARK_LINES = b"# A key of aiml for ", 3
DEFAULT_KEY = "alt-i"  # it is free in the default keymaps of these shells
_KEY_PART = re.compile(r"alt-[a-z0-9]|ctrl-[a-z]|[a-z0-9]")
# These send Ctrl-C, Ctrl-D, Tab, Enter and Ctrl-Z. (A single letter cannot be bound either: it could not be typed.)
_NEEDED_KEYS = ("ctrl-c", "ctrl-d", "ctrl-i", "ctrl-j", "ctrl-m", "ctrl-z")


class Shell(NamedTuple):
    """The completion script of a shell, where it is installed, and what to do next.

    `startup_lines` returns the lines that the start-up file needs; they are printed to standard output, so that they
    can be appended to it. `key_script`, `locate_key` and `key_startup_line` are the same for the script that binds a
    key. `key_line` is its line that sets the key and replaces the key's current function. `alt` and `control` are the
    notations of Alt and Ctrl with a letter.
    """

    name: str
    script: str
    locate: Callable[[], Path]
    next_step: str
    startup_lines: Callable[[Path], str]
    key_script: str
    locate_key: Callable[[], Path]
    key_startup_line: str
    key_line: str
    alt: str
    control: str


def show_or_install(name: str, *, install: bool, key: str | None, may_replace: bool) -> int:
    """Print or install the completion script of a shell; without a name, of the shell in $SHELL.

    With `key`, print the script that binds it; with `key` and `install`, install both. With `install` alone, ask
    whether to install the default key too.
    """
    shell = _SHELLS[_choose_shell(name)]
    parts = _parse_key(key) if key is not None else []
    if not install:
        script = _write_key_script(shell, parts) if parts else _read_script(shell.script)
        return print_out(script.decode())
    path = shell.locate()
    _install(path, _read_script(shell.script), may_replace)
    if not model_cache.model_names_file().exists():
        print_err("aiml: run aiml models once, so that -m completes the ids of models")
    print_err(f"aiml: {shell.next_step}")
    print_out(shell.startup_lines(path))
    return _install_key(shell, key, parts, may_replace)


def _choose_shell(name: str) -> str:
    shell = (name or Path(os.environ.get("SHELL", "")).name).lower()
    if shell not in SHELLS:
        all_shells = f"available: {', '.join(SHELLS)}"
        near = get_close_matches(shell, SHELLS, 1) if name else []
        hint = f"did you mean {near[0]}? {all_shells}" if near else all_shells
        raise UsageError(f"there are no completions for {name!r}" if name else "the name of a shell is required", hint)
    if not name:
        print_err(f"aiml: completions for {shell} (from $SHELL)")
    return shell


def _read_script(name: str) -> bytes:
    """Read a script: in a wheel it is inside the package, in a checkout in the folder completions."""
    inside = files("aiml_cli") / "shells" / name
    return inside.read_bytes() if inside.is_file() else (Path(__file__).parents[3] / "completions" / name).read_bytes()


def _install(path: Path, script: bytes, may_replace: bool) -> None:
    """Write a script; raise UsageError for an existing file that is not from aiml, unless `may_replace` is True."""
    if _is_link_of_installer(path):
        print_err("aiml: completions are already installed by pipx; open a new shell")
        return
    refuse_symlink(path)
    existing = read_file(path)
    if existing == script:
        print_err(f"aiml: {path} is up to date")
    elif existing is None or may_replace or _is_ours(existing):
        replace_public_file(path, script)
        print_err(f"aiml: wrote {path}")
    else:
        raise UsageError(f"{path} already exists and is not from aiml", "add -y to replace it")


def _is_link_of_installer(path: Path) -> bool:
    """True for a symbolic link to the script in an installed package, such as the one that pipx creates."""
    target = path.resolve()
    is_packaged = "pipx" in target.parts or target.is_relative_to(Path(sys.prefix).resolve())
    return path.is_symlink() and path.is_file() and is_packaged and _is_ours(target.read_bytes())


def _is_ours(data: bytes) -> bool:
    return any(line.startswith((MARK, KEY_MARK)) for line in data.split(b"\n", MARK_LINES)[:MARK_LINES])


def _install_key(shell: Shell, key: str | None, parts: Sequence[str], may_replace: bool) -> int:
    """Install the script for `key`, or for the default key if the user agrees; an installed script keeps its key."""
    path = shell.locate_key()
    script = _write_key_script(shell, parts)
    existing = read_file(path) if key is None else None
    if existing and _is_ours(existing):
        script = _replace_key_line(script, _find_key_line(existing))
    elif key is None:
        question = f"aiml: bind Alt+I to turn the words on the command line into a command ({path})?"
        if not can_ask():
            print_err(f"aiml: --install --key {DEFAULT_KEY} also installs a key that turns words into a command")
            return 0
        if not confirm(question):
            return 0
    _install(path, script, may_replace)
    if line := shell.key_startup_line:
        print_err(f"aiml: to bind the key, add this line to ~/.{shell.name}rc and open a new {shell.name}:")
        return print_out(f"{line.format(path=quote(str(path)))}\n")
    print_err(f"aiml: to bind the key, open a new {shell.name}")
    return 0


def _parse_key(key: str) -> list[str]:
    """Return the parts of a key: `ctrl-x i` has two; raise UsageError for one that cannot be bound."""
    parts = key.lower().split()
    if not parts or not all(map(_KEY_PART.fullmatch, parts)) or "-" not in parts[0]:
        raise UsageError(
            f"--key: {key!r} is not a key", "write it as alt-i, ctrl-g, or 'ctrl-x i' for two keys in sequence"
        )
    if parts[0] in _NEEDED_KEYS:
        raise UsageError(f"--key: {key} already has a function in every shell", f"the default is {DEFAULT_KEY}")
    return parts


def _write_key_script(shell: Shell, parts: Sequence[str]) -> bytes:
    """Return the script that binds a key, even if it is in use; without `parts`, the default key if it is free."""
    script = _read_script(shell.key_script)
    if not parts:
        return script
    forms = {"alt": shell.alt, "ctrl": shell.control}
    keys = [forms[part[:-2]].format(part[-1]) if "-" in part else part for part in parts]
    return _replace_key_line(script, shell.key_line.format("".join(keys)).encode())


def _find_key_line(script: bytes) -> bytes:
    return next((line for line in script.split(b"\n") if line.startswith(KEY_LINES)), b"")


def _replace_key_line(script: bytes, line: bytes) -> bytes:
    return script.replace(_find_key_line(script), line, 1) if line else script


def _find_folder(variable: str, *below: str) -> Path:
    """Return the absolute folder in an environment variable, or else one below the home directory."""
    folder = Path(os.environ.get(variable, "").partition(":")[0].strip())
    if not folder.is_absolute():
        try:
            # An empty HOME would be the root of the file system.
            home = Path(os.environ["HOME"]) if "HOME" in os.environ else Path.home()
        except RuntimeError:
            home = Path()
        folder = home.joinpath(*below)
    return paths.require_path(folder if folder.is_absolute() else None)


def _find_data_folder() -> Path:
    return _find_folder("XDG_DATA_HOME", ".local", "share")


def _locate_bash() -> Path:
    is_set = os.environ.get("BASH_COMPLETION_USER_DIR", "").startswith("/")
    folder = _find_folder("BASH_COMPLETION_USER_DIR") if is_set else _find_data_folder() / "bash-completion"
    return folder / "completions" / "aiml"


def _format_zsh_lines(path: Path) -> str:
    return f"fpath=({quote(str(path.parent))} $fpath)\nautoload -Uz compinit && compinit\n"


_SHELLS = {
    "bash": Shell(
        "bash",
        "aiml.bash",
        _locate_bash,
        "open a new bash to use them; without bash-completion, source the file in ~/.bashrc",
        lambda _: "",
        "aiml-key.bash",
        lambda: _find_data_folder() / "aiml" / "key.bash",
        "source {path}",
        "_aiml_key='{}' _aiml_takes_key=1",
        r"\e{}",
        r"\C-{}",
    ),
    "zsh": Shell(
        "zsh",
        "aiml.zsh",
        lambda: _find_data_folder() / "zsh" / "site-functions" / "_aiml",
        "to use them, add these lines to ~/.zshrc and open a new zsh:",
        _format_zsh_lines,
        "aiml-key.zsh",
        lambda: _find_data_folder() / "aiml" / "key.zsh",
        "source {path}",
        "_aiml_key='{}' _aiml_takes_key=1",
        "^[{}",
        "^{}",
    ),
    "fish": Shell(
        "fish",
        "aiml.fish",
        lambda: _find_folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / "aiml.fish",
        "open a new fish to use them",
        lambda _: "",
        "aiml-key.fish",
        lambda: _find_folder("XDG_CONFIG_HOME", ".config") / "fish" / "conf.d" / "aiml.fish",
        "",
        r"set -l aiml_key {}; set -l aiml_takes_key yes",
        r"\e{}",
        r"\c{}",
    ),
}
SHELLS = tuple(_SHELLS)
