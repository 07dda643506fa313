"""The recipes of docs/recipes.md: each runs as it stands, against the embedded server."""

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from aiml_cli.demo.server import serve

PAGE = ROOT / "docs/recipes.md"
BLOCK = re.compile(r"(?:<!-- model: (?P<model>\S+) -->\n)?```sh\n(?P<script>.*?)```", re.DOTALL)
RECIPES = [found.groupdict() for found in BLOCK.finditer(PAGE.read_text("utf-8"))]
# Who plays the models that the page names.
PLAYED = {
    "openai/gpt-5-1": "demo/echo",
    "anthropic/claude-sonnet-4.5": "demo/markdown",
    "google/gemini-2.5-flash": "demo/reasoning",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve() as address:
        yield address


def picture() -> bytes:
    """Make a PNG of one black point."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.fixture
def folder(clean: Path) -> Path:
    """Give a folder with what the recipes speak of: some files, and a repository with a staged change."""
    place = clean / "work"
    place.mkdir()
    (place / "report.txt").write_text("All went well.\n" * 20)
    (place / "words.txt").write_text("ox\nyak\n")
    (place / "reviews.txt").write_text("Good.\nBad.\nSo so.\n")
    (place / "reviews.csv").write_text('name,text\nAda,"Good, very"\nBob,Bad\n')
    (place / "notes.txt").write_text("Teh notes.\n")
    (place / "big.log").write_text("".join(f"{n}: error {n % 7}\n" for n in range(1200)))
    (place / "app.py").write_text("print('hello')\n")
    (place / "photo.png").write_bytes(picture())
    git = ["git", "-c", "init.defaultBranch=main", "-C", place]
    for words in (["init", "-q"], ["config", "user.name", "Ada"], ["config", "user.email", "ada@example.org"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, "add", "report.txt"], check=True)
    subprocess.run([*git, "commit", "-qm", "Begin"], check=True)
    subprocess.run([*git, "add", "app.py"], check=True)
    return place


@pytest.fixture
def path(clean: Path) -> str:
    """Give a PATH on which aiml is the one under test."""
    place = clean / "bin"
    place.mkdir()
    (place / "aiml").write_text(f'#!/bin/sh\nexec {sys.executable} -m aiml_cli "$@"\n')
    (place / "aiml").chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def played(script: str) -> str:
    for name, part in PLAYED.items():
        script = script.replace(name, part)
    return script


def named(recipe: dict[str, str]) -> str:
    return recipe["script"].strip().splitlines()[0][:60]


@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_every_recipe_runs(recipe: dict[str, str], folder: Path, path: str, url: str) -> None:
    if "jq" in recipe["script"] and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    place = {"PATH": path, "AIML_BASE_URL": url, "AIML_MODEL": recipe["model"] or "demo/echo"}
    before = files(folder)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", played(recipe["script"])],
        cwd=folder, env={**os.environ, **place}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout or files(folder) != before or "cut: what came" in done.stderr, done.stderr


def files(folder: Path) -> dict[Path, bytes]:
    """Give what the files hold, for a recipe may print nothing and change one."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_has_recipes_for_what_scripts_need() -> None:
    text = "".join(recipe["script"] for recipe in RECIPES)
    flags = (
        "--each",
        "--resume-from",
        "--max-cost",
        "--first",
        "-x",
        "--in-place",
        "--fit",
        "--chunk",
        "--record",
        "--schema",
    )
    assert [flag for flag in flags if flag not in text] == []
