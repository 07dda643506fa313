"""Look at who else can get at what is private, and who could change where the key goes."""

from collections.abc import Iterator
from pathlib import Path

from aiml_cli.store import paths

WRITE, ANY = 0o022, 0o077


def look() -> Iterator[tuple[str, bool]]:
    """Say of the config's directory, the config file and the file of keys whether others are kept out."""
    file, stored = paths.config_file(), paths.keys_file()
    if file is None or stored is None:
        yield "there is no home directory, and so no config file", True
        return
    for path, forbidden in (file.parent, WRITE), (file, WRITE), (stored, ANY):
        yield _judged(path, forbidden)


def is_open(path: Path) -> bool:
    """Say whether others than its owner can get at a file."""
    return bool(path.stat().st_mode & ANY)


def _judged(path: Path, forbidden: int) -> tuple[str, bool]:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return f"there is no {path}", True
    except OSError as fault:
        return f"{path}: {fault.strerror}", False
    mode = facts.st_mode & 0o777
    if not mode & forbidden:
        return f"{path}: mode {mode:03o}", True
    word = "read" if forbidden == ANY else "change"
    return f"{path}: others can {word} it (chmod {'700' if path.is_dir() else '600'} {path})", False
