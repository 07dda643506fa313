"""Words and flags: flags stand before the first word or after the last, and what may be a word is not taken as a flag."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.loopback import HELLO, Loopback

from aiml_cli.__main__ import main

Capture = pytest.CaptureFixture[str]
FLAGS_BETWEEN_WORDS = [
    "what does rm -rf do",
    "what does grep -v do",
    "explain set -e in bash",
    "explain set -euo pipefail in bash",
    "what is ls -h for",
    "why -m a/b is it",
    "why --model a/b is it",
    "why --model=a/b is it",
    "what does curl --output do please",
    "does --demo need a key",
    "explain tar -xzf x.tgz please",
    "is -5 below zero",
    "how does git checkout -f -- file work",
    "why -u -- is it",
]
AMBIGUOUS_WORDS = [
    ("explain rm -rf", "-rf is ambiguous: part of the text, or -r with the value f"),
    ("explain tar -xvf", "-xvf is ambiguous"),
    ("explain curl -s -o", "-s needs a value, and -o looks like a flag"),
    ("explain curl -s --output", "-s needs a value, and --output looks like a flag"),
    ("explain grep -n", "-n needs a value"),
    ("explain ls -la", "aiml chat has no flag -l"),
    ("explain git commit --amend", "aiml chat has no flag --amend"),
    ("explain git commit --amend please", "aiml chat has no flag --amend"),
    ("explain java -model", "aiml chat has no flag -model"),
]


def build_body(capfd: Capture, *arguments: str) -> Any:
    """Return the request body that a command line makes."""
    assert main([arguments[0], "--dry-run", *arguments[1:]]) == 0
    return json.loads(capfd.readouterr().out)["body"]


def build_prompt(capfd: Capture, *arguments: str) -> Any:
    return build_body(capfd, "chat", *arguments)["messages"][-1]["content"]


def read_refusal(capfd: Capture, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    shown = capfd.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 2)
    return shown.err


@pytest.mark.promise("flags-between-words")
@pytest.mark.parametrize("command", [["chat"], ["respond"], ["cmd"], ["chat", "-S"]], ids=" ".join)
@pytest.mark.parametrize("words", FLAGS_BETWEEN_WORDS)
def test_a_flag_between_words_is_refused_with_a_hint_to_quote_the_prompt(
    command: list[str], words: str, server: Loopback, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    server.answer_with(HELLO)
    told = read_refusal(capfd, *command, *words.split())
    assert f"quote the prompt: aiml {' '.join(command)} '{words}'" in told
    assert server.requests == []


@pytest.mark.promise("flags-between-words")
@pytest.mark.parametrize(("words", "message"), AMBIGUOUS_WORDS)
def test_an_ambiguous_word_is_refused_and_not_taken_as_a_flag(words: str, message: str, capfd: Capture) -> None:
    shown = read_refusal(capfd, "chat", *words.split())
    assert message in shown
    assert f"quote the prompt: aiml chat '{words}'" in shown


@pytest.mark.parametrize("words", ["rm -rf files", "grep -v -n me", "what --json does"])
@pytest.mark.parametrize("command", ["search", "list", "rm", "export", "show"])
def test_flags_between_the_words_of_a_search_are_refused_too(command: str, words: str, capfd: Capture) -> None:
    assert f"quote the prompt: aiml history {command} '{words}'" in read_refusal(
        capfd, "history", command, *words.split()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "a/b", "what", "is", "it"],
        ["what", "is", "it", "-m", "a/b"],
        ["-u", "what", "is", "it", "-m", "a/b", "-q"],
        ["-uqm", "a/b", "what is it"],
        ["what is it", "-ma/b"],
        ["-m", "a/b", "--", "what", "is", "it"],
        ["--model=a/b", "what", "is", "it", "--temperature", "1"],
    ],
)
def test_flags_before_and_after_the_words_work(arguments: list[str], capfd: Capture) -> None:
    sent = build_body(capfd, "chat", *arguments)
    assert (sent["model"], sent["messages"]) == ("a/b", [{"role": "user", "content": "what is it"}])


@pytest.mark.parametrize(
    "arguments",
    [["what does rm -rf do"], ["--", "what", "does", "rm", "-rf", "do"], ["what", "does", "rm", "--", "-rf", "do"]],
)
def test_quotes_or_two_dashes_turn_flags_into_words(arguments: list[str], capfd: Capture) -> None:
    assert build_prompt(capfd, *arguments) == "what does rm -rf do"


def test_a_value_that_begins_with_a_dash_requires_an_equals_sign(capfd: Capture) -> None:
    assert build_body(capfd, "chat", "--system=-o", "hi")["messages"][0]["content"] == "-o"
    assert "write --system=-o" in read_refusal(capfd, "chat", "--system", "-o", "hi")
    assert "not a number from 0 to 2" in read_value_refusal(capfd, "chat", "hi", "--temperature", "-1")


def read_value_refusal(capfd: Capture, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capfd.readouterr().err


@pytest.mark.parametrize("flag", ["-model", "-system", "-output", "-temperature=1"])
def test_a_long_flag_with_one_dash_gives_a_suggestion(flag: str, capfd: Capture) -> None:
    assert f"did you mean -{flag}?" in read_refusal(capfd, "chat", flag, "x")


def test_a_short_flag_may_be_joined_with_a_known_value(capfd: Capture) -> None:
    assert build_prompt(capfd, "hi", "-xpy") == "hi"
    assert build_body(capfd, "chat", "hi", "-n2")["n"] == 2


@pytest.mark.parametrize("secret", [["--api-key", "sk-123456"], ["--header", "X-A: abc"], ["--api-key=sk-123456"]])
def test_the_suggested_command_contains_no_secret(secret: list[str], capfd: Capture) -> None:
    told = read_refusal(capfd, "chat", "why", *secret, "-v", "is", "it")
    assert "sk-123456" not in told
    assert "abc" not in told


@given(words=st.lists(st.text("-abrxs= @{'", max_size=6), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_words_are_sent_or_refused(words: list[str], capfd: Capture) -> None:
    code = main(["chat", "--dry-run", "--no-stdin", *words])
    capfd.readouterr()
    assert code in (0, 2)


@pytest.fixture
def write() -> Callable[..., None]:
    def write_files(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(f"text of {name}")

    return write_files


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["-f", "a.py", "b.py", "c.py", "review", "these"], ["a.py", "b.py", "c.py"]),
        (["review", "these", "-f", "a.py", "b.py"], ["a.py", "b.py"]),
        (["-f", "LICENSE", "Makefile", "a.py", "review", "these"], ["LICENSE", "Makefile", "a.py"]),
        (["-f", "LICENSE", "Makefile", "notes", "review", "these"], ["LICENSE", "Makefile", "notes"]),
        (["-u", "-f", "src/d.py", "src/e.py", "-q", "review", "these"], ["src/d.py", "src/e.py"]),
        (["-f", "a.py", "-f", "b.py", "c.py", "review", "these"], ["a.py", "b.py", "c.py"]),
        (["-f", "a.py", "review", "these"], ["a.py"]),
    ],
)
def test_files_from_a_shell_pattern_are_sent(
    arguments: list[str], files: list[str], capfd: Capture, write: Callable[..., None]
) -> None:
    write("a.py", "b.py", "c.py", "LICENSE", "Makefile", "notes", "src/d.py", "src/e.py")
    sent = build_prompt(capfd, *arguments)
    assert sent.split('"')[1::2] == files
    assert sent.endswith("review these")


def test_a_single_word_that_happens_to_be_a_file_name_stays_a_word(capfd: Capture, write: Callable[..., None]) -> None:
    write("a.py", "test")
    assert build_prompt(capfd, "-f", "a.py", "test", "this").endswith("test this")


@pytest.mark.parametrize(
    ("arguments", "notice"),
    [
        (["-f", "a.py", "compare with", "b.py"], "b.py is a file; send it with -f"),
        (["review", "a.py", "b.py"], "a.py, b.py are files; send them with -f"),
        (["a.py"], "a.py is a file; send it with -f"),
        (["what", "is", "a.py"], ""),
        (["-f", "a.py", "what", "is", "a.py"], ""),
    ],
)
def test_a_notice_names_the_words_that_are_files(
    arguments: list[str], notice: str, capfd: Capture, write: Callable[..., None]
) -> None:
    write("a.py", "b.py")
    assert main(["chat", "--dry-run", *arguments]) == 0
    assert (notice or "aiml:") in capfd.readouterr().err if notice else capfd.readouterr().err == ""
