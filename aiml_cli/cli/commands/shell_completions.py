"""Run `aiml config completions`: print the completion script of a shell, or install it."""

import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.store import model_cache, paths
from aiml_cli.system.atomic_write import PendingFile, read_file, refuse_symlink
from aiml_cli.system.stdio import print_err, print_out

# One of the first lines of our scripts; other files are not replaced without --yes.
MARK = b"# Completion of aiml for "
MARK_LINES = 3


class Shell(NamedTuple):
    """The script of a shell, where it is installed, and what to do next.

    `startup_lines` returns the lines that a start-up file needs; they are printed to standard output, so that they
    can be appended to it.
    """

    script: str
    locate: Callable[[], Path]
    next_step: str
    startup_lines: Callable[[Path], str] = lambda _: ""


def show_or_install(name: str, *, install: bool, may_replace: bool) -> int:
    """Print the script of a shell, or install it; without a name that of $SHELL."""
    shell = _SHELLS[_choose_shell(name)]
    script = _read_script(shell.script)
    return _install(shell, script, may_replace) if install else print_out(script.decode())


def _choose_shell(name: str) -> str:
    shell = (name or Path(os.environ.get("SHELL", "")).name).lower()
    if shell not in SHELLS:
        all_shells = f"there are: {', '.join(SHELLS)}"
        near = get_close_matches(shell, SHELLS, 1) if name else []
        hint = f"did you mean {near[0]}? {all_shells}" if near else all_shells
        raise UsageError(f"there are no completions for {name!r}" if name else "which shell is it for?", hint)
    if not name:
        print_err(f"aiml: for {shell}, as $SHELL says")
    return shell


def _read_script(name: str) -> bytes:
    """Read a script: a wheel has them in the package, a checkout beside it."""
    inside = files("aiml_cli") / "shells" / name
    return inside.read_bytes() if inside.is_file() else (Path(__file__).parents[3] / "completions" / name).read_bytes()


def _install(shell: Shell, script: bytes, may_replace: bool) -> int:
    path = shell.locate()
    refuse_symlink(path)
    existing = read_file(path)
    if existing == script:
        print_err(f"aiml: {path} is as it should be")
    elif existing is None or may_replace or _is_ours(existing):
        _write(path, script)
        print_err(f"aiml: wrote {path}")
    else:
        raise UsageError(f"{path} is there already, and is not aiml's", "-y replaces it")
    if not model_cache.model_names_file().exists():
        print_err("aiml: aiml models fetches the list that -m completes from")
    print_err(f"aiml: {shell.next_step}")
    return print_out(shell.startup_lines(path))


def _is_ours(data: bytes) -> bool:
    return any(line.startswith(MARK) for line in data.split(b"\n", MARK_LINES)[:MARK_LINES])


def _write(path: Path, data: bytes) -> None:
    """Write a file that others may read, completely or not at all; raise OutputFailed."""
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(0o755, exist_ok=True)  # zsh refuses a folder that a group can write, whatever the umask
        file = PendingFile(path, path.with_name(f".{path.name}.{os.urandom(4).hex()}"), 0o644)
        try:
            file.write(data)
        except OSError:
            file.discard()
            raise
        file.commit()
    except OSError as error:
        raise OutputFailed(f"{path}: {error.strerror}", "what was there before is unchanged") from None


def _find_folder(variable: str, *below: str) -> Path:
    """Return the absolute folder that a variable names, or else one below the home directory."""
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
        "aiml.bash", _locate_bash, "a new bash finds it, where bash-completion is loaded; else source it in ~/.bashrc"
    ),
    "zsh": Shell(
        "aiml.zsh",
        lambda: _find_data_folder() / "zsh" / "site-functions" / "_aiml",
        "a new zsh finds it, once these lines stand in ~/.zshrc:",
        _format_zsh_lines,
    ),
    "fish": Shell(
        "aiml.fish",
        lambda: _find_folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / "aiml.fish",
        "a new fish finds it; nothing is left to do",
    ),
}
SHELLS = tuple(_SHELLS)
