"""Answer `aiml config completions`: print the script for a shell, or put it where that shell finds it."""

import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.store import model_cache, paths
from aiml_cli.system.atomic_write import PendingFile, read_file
from aiml_cli.system.stdio import print_err, print_out

# How a file of ours is told from somebody else's: by this, in one of its first lines.
MARK = b"# Completion of aiml for "
MARK_LINES = 3


class Shell(NamedTuple):
    """Say what the script of a shell is called, where it goes, and what is left to do then.

    `line` is what a start-up file has to say, "" for nothing; it stands on standard output, so that it can be
    appended there.
    """

    script: str
    place: Callable[[], Path]
    left: str
    line: Callable[[Path], str] = lambda _: ""


def show_or_install(name: str, *, install: bool, may_replace: bool) -> int:
    """Print the script of a shell, or install it; without a name that of the shell that $SHELL names."""
    shell = _TABLE[_named(name)]
    text = _script(shell.script)
    return _install(shell, text, may_replace) if install else print_out(text.decode())


def _named(name: str) -> str:
    """Find the shell that is meant; raise UsageError with the near ones."""
    guessed = Path(os.environ.get("SHELL", "")).name
    found = (name or guessed).lower()
    every = f"there are: {', '.join(SHELLS)}"
    if found not in SHELLS:
        near = get_close_matches(found, SHELLS, 1) if name else []
        hint = f"did you mean {near[0]}? {every}" if near else every
        raise UsageError(f"there are no completions for {name!r}" if name else "which shell is it for?", hint)
    if not name:
        print_err(f"aiml: for {found}, as $SHELL says")
    return found


def _script(name: str) -> bytes:
    """Read a script: a wheel holds them in the package; where the sources are used, they lie beside it."""
    inside = files("aiml_cli") / "shells" / name
    return inside.read_bytes() if inside.is_file() else (Path(__file__).parents[3] / "completions" / name).read_bytes()


def _install(shell: Shell, text: bytes, may_replace: bool) -> int:
    path = shell.place()
    before = _before(path)
    if before == text:
        print_err(f"aiml: {path} is as it should be")
    elif before is None or may_replace or _is_ours(before):
        _write(path, text)
        print_err(f"aiml: wrote {path}")
    else:
        raise UsageError(f"{path} is there already, and is not aiml's", "-y replaces it")
    if not model_cache.model_names_file().exists():
        print_err("aiml: aiml models fetches the list that -m completes from")
    print_err(f"aiml: {shell.left}")
    return print_out(shell.line(path))


def _before(path: Path) -> bytes | None:
    from aiml_cli.system.atomic_write import refuse_symlink  # only a writer needs locks

    refuse_symlink(path)
    return read_file(path)


def _is_ours(data: bytes) -> bool:
    return any(line.startswith(MARK) for line in data.split(b"\n", MARK_LINES)[:MARK_LINES])


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, in a folder that others may read as before: it holds no secret."""
    try:
        for each in reversed([each for each in path.parents if not each.exists()]):
            each.mkdir(0o755, exist_ok=True)  # zsh refuses a folder that a group can write, whatever the umask
        file = PendingFile(path, path.with_name(f".{path.name}.{os.urandom(4).hex()}"), 0o644)
        try:
            file.write(data)
        except OSError:
            file.discard()
            raise
        file.commit()
    except OSError as fault:
        raise OutputFailed(f"{path}: {fault.strerror}", "what was there before is unchanged") from None


def _folder(variable: str, *below: str) -> Path:
    """Give the folder that a variable names, else one below the home directory; a relative one is none."""
    told = Path(os.environ.get(variable, "").partition(":")[0].strip())
    try:
        # An empty HOME would be the root of the file system.
        home = Path(os.environ["HOME"]) if "HOME" in os.environ else Path.home()
    except RuntimeError:
        home = Path()
    found = told if told.is_absolute() else home.joinpath(*below)
    return paths.require_path(found if found.is_absolute() else None)


def _data() -> Path:
    return _folder("XDG_DATA_HOME", ".local", "share")


def _bash() -> Path:
    own = os.environ.get("BASH_COMPLETION_USER_DIR", "").startswith("/")
    folder = _folder("BASH_COMPLETION_USER_DIR") if own else _data() / "bash-completion"
    return folder / "completions" / "aiml"


def _zsh_lines(path: Path) -> str:
    return f"fpath=({quote(str(path.parent))} $fpath)\nautoload -Uz compinit && compinit\n"


_TABLE = {
    "bash": Shell(
        "aiml.bash", _bash, "a new bash finds it, where bash-completion is loaded; else source it in ~/.bashrc"
    ),
    "zsh": Shell(
        "aiml.zsh",
        lambda: _data() / "zsh" / "site-functions" / "_aiml",
        "a new zsh finds it, once these lines stand in ~/.zshrc:",
        _zsh_lines,
    ),
    "fish": Shell(
        "aiml.fish",
        lambda: _folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / "aiml.fish",
        "a new fish finds it; nothing is left to do",
    ),
}
SHELLS = tuple(_TABLE)
