"""Generate files from the options, commands, errors and tests; --check only compares them."""

import sys
from collections.abc import Callable
from pathlib import Path

from generators import (
    bash,
    exit_codes,
    files,
    fish,
    help,  # noqa: A004 - named after docs/help.md
    man,
    options,
    reliability,
    repl,
    zsh,
)

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS: dict[str, Callable[[], str]] = {
    "docs/options.md": options.render,
    "docs/help.md": help.render,
    "docs/exit-codes.md": exit_codes.render,
    "docs/development/files.md": files.render,
    "docs/development/reliability.md": reliability.render,
    "docs/repl.md": repl.render,
    "completions/aiml.bash": bash.render,
    "completions/aiml.zsh": zsh.render,
    "completions/aiml.fish": fish.render,
    "completions/aiml-key.bash": bash.render_key,
    "completions/aiml-key.zsh": zsh.render_key,
    "completions/aiml-key.fish": fish.render_key,
    "docs/aiml.1": man.render,
}


def list_stale(root: Path) -> list[str]:
    """Return the files below `root` that are out of date."""
    return [*_render_stale(root)]


def write_stale(root: Path) -> list[str]:
    """Write the files below `root` that are out of date, and return their names."""
    stale = _render_stale(root)
    for name, content in stale.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return [*stale]


def _render_stale(root: Path) -> dict[str, bytes]:
    rendered = ((name, render().encode()) for name, render in OUTPUTS.items())
    return {name: content for name, content in rendered if _read_file(root / name) != content}


def _read_file(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the files, or only compare them with --check; return the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/generate.py [--check]", file=sys.stderr)
        return 2
    names = list_stale(root) if arguments else write_stale(root)
    for name in names:
        print(f"{name} differs; run: make generate" if arguments else f"wrote {name}")
    return 1 if arguments and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
