"""The commands of README.md, the recipes and the tour, and the first example of other pages: each runs as written."""

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forked_process import install_program
from support.paths import ROOT
from support.tool_answers import write_tool_file

from aiml_cli.demo.server import serve

PAGES = ("README.md", "docs/recipes.md", "docs/tour.md")
RECIPE_BLOCK = re.compile(r"(?:<!-- model: (?P<model>\S+) -->\n)?```sh\n(?P<script>.*?)```", re.DOTALL)
RECIPES = [found.groupdict() for page in PAGES for found in RECIPE_BLOCK.finditer((ROOT / page).read_text("utf-8"))]
# Other tests run the blocks of cmd.md, tools.md and many-machines.md; history.md needs conversations of the reader.
OTHER_PAGES = sorted(
    {*ROOT.glob("docs/*.md")}
    - {ROOT / f"docs/{name}.md" for name in ("recipes", "tour", "cmd", "tools", "many-machines", "history")}
)
FIRST_EXAMPLE = re.compile(r"(?:<!--[^\n]*-->\s+)?# [^\n]*\n\n```sh\n(.*?)```", re.DOTALL)
FIRST_EXAMPLES = [
    (page.name, found[1]) for page in OTHER_PAGES if (found := FIRST_EXAMPLE.match(page.read_text("utf-8")))
]
# Models that the pages name or search for, and the demo models that answer instead.
DEMO_MODELS = {
    "openai/gpt-5-1": "demo/echo",
    "anthropic/claude-sonnet-4.5": "demo/markdown",
    "google/gemini-2.5-flash": "demo/reasoning",
    "gpt 5": "echo",
}
WEATHER_TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve() as address:
        yield address


def make_png() -> bytes:
    """Return a PNG of one black point."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.fixture
def folder(empty_home: Path) -> Path:
    """Return a repository with the files that the pages name, two commits, a staged change and a tool."""
    work = empty_home / "work"
    (work / "src").mkdir(parents=True)
    files = {
        "report.txt": "All went well.\n" * 20,
        "words.txt": "ox\nyak\n",
        "reviews.txt": "Good.\nBad.\nSo so.\n",
        "reviews.csv": 'name,text\nAda,"Good, very"\nBob,Bad\n',
        "notes.txt": "Teh notes.\n",
        "big.log": "".join(f"{n}: error {n % 7}\n" for n in range(1200)),
        "app.py": "print('hello')\n",
        "src/main.py": "print('main')\n",
        "tools.json": json.dumps(WEATHER_TOOLS),
    }
    for name, text in files.items():
        (work / name).write_text(text, encoding="utf-8")
    (work / "photo.png").write_bytes(make_png())
    write_tool_file("weather", "echo", "{city}: 21 degrees", params="city?")
    make_repository(work)
    return work


def make_repository(work: Path) -> None:
    git = ["git", "-c", "init.defaultBranch=main", "-C", work]
    for words in (["init", "-q"], ["config", "user.name", "Ada"], ["config", "user.email", "ada@example.org"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, "add", "report.txt"], check=True)
    subprocess.run([*git, "commit", "-qm", "Begin"], check=True)
    subprocess.run([*git, "add", "app.py"], check=True)


@pytest.fixture
def path(empty_home: Path) -> str:
    """Return a PATH on which `aiml` is the program under test."""
    return install_program(empty_home / "bin")


def use_demo_models(script: str) -> str:
    for name, demo in DEMO_MODELS.items():
        script = script.replace(name, demo)
    return script


def get_first_line(recipe: dict[str, str]) -> str:
    return recipe["script"].strip().splitlines()[0][:60]


@pytest.mark.parametrize("recipe", RECIPES, ids=get_first_line)
def test_every_recipe_runs(recipe: dict[str, str], folder: Path, path: str, url: str) -> None:
    if "jq" in recipe["script"] and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    before = read_files(folder)
    done = run_script(recipe["script"], folder, path, url, recipe["model"] or "demo/echo")
    assert done.returncode == 0, done.stderr
    assert done.stdout or read_files(folder) != before or "incomplete: only" in done.stderr, done.stderr


@pytest.mark.parametrize(("name", "script"), FIRST_EXAMPLES, ids=lambda text: text if text.endswith(".md") else "")
def test_the_first_example_of_a_page_runs(name: str, script: str, folder: Path, path: str, url: str) -> None:
    done = run_script(script, folder, path, url, "demo/echo")
    assert done.returncode == 0, f"{name}: {done.stderr}"


def run_script(script: str, folder: Path, path: str, url: str, model: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": path, "AIML_BASE_URL": url, "AIML_MODEL": model, "SHELL": "/bin/bash"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", use_demo_models(script)],
        cwd=folder, env={**os.environ, **environ}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip


def read_files(folder: Path) -> dict[Path, bytes]:
    """Return the content of all files, because a recipe may print nothing and change one."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SCRIPT_FLAGS = [
    "--each",
    "--resume-from",
    "--max-cost",
    "--first",
    "-x",
    "--in-place",
    "--fit",
    "--record",
    "--schema",
    "--cache",
]


@pytest.mark.parametrize("flag", SCRIPT_FLAGS)
def test_the_recipes_use_the_flags_that_scripts_need(flag: str) -> None:
    assert any(f" {flag} " in recipe["script"] for recipe in RECIPES)
