"""--dry-run -u: the estimated tokens of each part on standard error, and only the request on standard output."""

import json
import re
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback

from aiml_cli.__main__ import main

TOOLS = '[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]'


def read_parts(err: str) -> tuple[int, dict[str, str]]:
    """Return the sum and the tokens of each part."""
    total = re.search(r"aiml: about ([\d,]+) tokens? of input:\n", err)
    assert total
    rows = re.findall(r"^ {6} *([\d,?]+)  (.*)$", err, re.MULTILINE)
    return int(total[1].replace(",", "")), {name: count.replace(",", "") for count, name in rows}


@pytest.fixture
def files(empty_home: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer_with(HELLO)
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    (empty_home / "a.txt").write_text("a" * 300)
    (empty_home / "b.txt").write_text("b" * 3000)
    (empty_home / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (empty_home / "p.pdf").write_bytes(b"%PDF-1.7\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("form", [["--dry-run"], ["--as", "curl"], ["--as", "json"]])
def test_each_part_is_listed_with_its_tokens_and_the_total(
    command: str, form: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["-f", "a.txt", "-f", "b.txt", "-f", "p.png", "-s", "s" * 30, "--tools", TOOLS, "--schema", "name, age int"]
    assert main([command, *form, "-u", *flags, "w" * 9]) == 0
    total, parts = read_parts(capfd.readouterr().err)
    assert list(parts) == [
        "system text", "a.txt", "b.txt", "words", "names of files", "images", "tools", "schema of the answer",
    ]  # fmt: skip
    assert (parts["system text"], parts["a.txt"], parts["b.txt"], parts["words"]) == ("10", "100", "1000", "3")
    assert total == sum(map(int, parts.values()))


@pytest.mark.usefixtures("files")
def test_standard_output_contains_only_the_request(capfd: pytest.CaptureFixture[str]) -> None:
    main(["chat", "--dry-run", "-f", "a.txt", "hi"])
    plain = capfd.readouterr()
    assert "tokens" not in plain.err
    main(["chat", "--dry-run", "-u", "-f", "a.txt", "hi"])
    listed = capfd.readouterr()
    assert listed.out == plain.out
    assert json.loads(listed.out)["method"] == "POST"
    main(["chat", "--dry-run", "-u", "-q", "-f", "a.txt", "hi"])
    assert capfd.readouterr() == (plain.out, "")


@pytest.mark.usefixtures("files")
def test_previous_turns_and_uncountable_parts_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "hello"]) == 0
    assert main(["chat", "-c", "--dry-run", "-u", "-f", "p.pdf", "and"]) == 0
    total, parts = read_parts(capfd.readouterr().err)
    assert list(parts) == ["previous turns", "words", "PDFs and audio"]
    assert parts["PDFs and audio"] == "?"
    assert total == int(parts["previous turns"]) + int(parts["words"])


def test_standard_input_is_listed(
    server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch, aiml: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(aiml)
    done = aiml("chat", "--dry-run", "-u", "why", stdin=b"x" * 300)
    assert read_parts(done.stderr.decode())[1]["standard input"] == "100"
