"""Find the bytes that a name stands for: a file's, those of a folder's texts, of a glob's files, of an address."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from aiml_cli.errors import Misuse
from aiml_cli.prompt.budget import Budget

Fetch = Callable[[str], tuple[bytes, str]]
Tell = Callable[[str], None]

SCHEMES = ("http://", "https://")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
MOST_FILES = 1000


class Source(NamedTuple):
    """Hold what was found under a name; `charset` is what a server said of it."""

    name: str
    data: bytes
    charset: str = ""


def sources(name: str, budget: Budget, fetch: Fetch, tell: Tell) -> Iterator[Source]:
    """Give what a name stands for; raise Misuse when that is nothing, cannot be read, or is too much."""
    if name.lower().startswith(SCHEMES):
        yield _fetched(name, budget, fetch)
    elif (path := there(name)) is None:
        yield from (Source(each, read(each, budget)) for each in _matches(name))
    elif path.is_dir():
        from aiml_cli.prompt.folder import texts  # few prompts have a folder

        yield from (Source(each, data) for each, data in texts(name, path, budget, tell))
    else:
        yield Source(name, read(name, budget))


def is_image_address(name: str) -> bool:
    """Say whether a name is the address of an image, which the server can fetch itself."""
    return name.lower().startswith(SCHEMES) and urlsplit(name).path.lower().endswith(IMAGE_ENDINGS)


def there(name: str) -> Path | None:
    """Give the path that a name means, if something is there."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long a name; no such user; a zero in it
        return None


def read(name: str, budget: Budget | None = None) -> bytes:
    """Read a file; raise Misuse when it cannot be read, or is too large."""
    try:
        with Path(name).expanduser().open("rb", buffering=0) as file:
            return (budget or Budget()).read(name, lambda most: file.read(most) or b"")
    except (OSError, RuntimeError, ValueError) as fault:
        raise Misuse(f"{name}: {getattr(fault, 'strerror', None) or fault}", "nothing was sent") from None


def _fetched(url: str, budget: Budget, fetch: Fetch) -> Source:
    data, kind = fetch(url)
    budget.spend(url, len(data))
    charset = kind.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return Source(url, data, charset)


def _matches(name: str) -> list[str]:
    """List the files that a glob means; a name that is no glob is its own only match."""
    if not set(name) & set("*?["):
        return [name]
    from glob import iglob  # few names are globs

    pattern = str(Path(name).expanduser()) if name.startswith("~") else name
    every = iglob(pattern, recursive=True)  # noqa: PTH207 - a Path's own finds hidden files too
    found = sorted(each for each in every if Path(each).is_file())
    if not found:
        raise Misuse(f"{name}: no file matches", "nothing was sent")
    if len(found) > MOST_FILES:
        raise Misuse(f"{name}: {len(found):,} files match, and at most {MOST_FILES:,} can be sent", "name fewer")
    return found
