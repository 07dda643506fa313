"""Mistyped flags, commands and settings: the same beginning first, then values of other flags, then spelling."""

import pytest
from support.console import Console

from aiml_cli.__main__ import main
from aiml_cli.settings.value_types import find_similar

MISTYPED_FLAGS = [
    ("--temp", "--temperature"),
    ("--sys", "did you mean --system?"),
    ("--mod", "did you mean --model?"),
    ("--no-streaming", "did you mean --no-stream?"),
    ("--stream-options", "did you mean --stream?"),
    ("--curl", "did you mean --as curl?"),
    ("--python", "did you mean --as python?"),
    ("--jsonl", "--format jsonl"),
    ("--high", "--effort high"),
    ("--cid", "use --resume"),
    ("--outptu", "did you mean --output?"),
    ("--effrt", "did you mean --effort?"),
    ("--store", "--store belongs to aiml respond"),
    ("--include", "--include belongs to aiml respond"),
]
MISTYPED_COMMANDS = [
    ("hist", "did you mean aiml history?"),
    ("conf", "did you mean aiml config?"),
    ("temp", "did you mean aiml templates?"),
    ("mdoels", "did you mean aiml models?"),
    ("key", "did you mean aiml config key?"),
    ("logs", "use aiml history"),
]


@pytest.mark.parametrize(("flag", "hint"), MISTYPED_FLAGS)
def test_a_mistyped_flag_gives_a_suggestion(flag: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", flag, "hi"]) == 2
    assert hint in capfd.readouterr().err


@pytest.mark.parametrize("flag", ["--json", "--format", "--items", "--schema", "--extract"])
def test_a_flag_of_chat_used_with_cmd_is_explained(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cmd", flag, "list files"]) == 2
    assert f"hint: {flag} belongs to aiml chat; in a pipe" in capfd.readouterr().err


def test_no_flag_of_another_command_is_suggested(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cmd", "--raw", "list files"]) == 2
    assert "--format" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["zzz"], "to search it: aiml history search zzz"),
        (["tall", "trees"], "to search it: aiml history search tall trees"),
        (["tall trees"], "to search it: aiml history search 'tall trees'"),
        (["serch"], "did you mean aiml history search?"),
        (["lst"], "did you mean aiml history list?"),
        (["x" * 300], "to search it: aiml history search WORDS"),
    ],
)
def test_words_after_history_suggest_search_or_a_command(
    words: list[str], hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", *words]) == 2
    assert f"hint: {hint}\n" in capfd.readouterr().err


@pytest.mark.parametrize("flag", ["--yess", "--ye", "--sys", "--yas", "--y"])
@pytest.mark.parametrize("command", [["chat"], ["history", "rm"], ["config", "templates"]], ids=" ".join)
def test_yes_is_never_suggested(command: list[str], flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*command, flag]) == 2
    assert "--yes?" not in capfd.readouterr().err


@pytest.mark.parametrize(("word", "hint"), MISTYPED_COMMANDS)
def test_a_mistyped_command_gives_a_suggestion(word: str, hint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert hint in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "prompt"), [("why is it", "why is it"), ("what does rm -rf do", "'what does rm -rf do'")]
)
def test_a_question_without_a_command_suggests_chat(words: str, prompt: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert f"to ask a question: aiml chat {prompt}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (["chat", "--output"], "aiml chat --help"),
        (["respond", "-o"], "aiml respond --help"),
        (["usage", "--period"], "aiml usage --help"),
        (["config", "key", "--base-url"], "aiml config key --help"),
        (["history", "export", "-o"], "aiml history export --help"),
    ],
)
def test_a_missing_value_refers_to_the_help_of_the_command(
    arguments: list[str], page: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert f"see: {page}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "similar"),
    [
        ("temp", ["temperature", "template_path"]),
        ("maxtokens", ["max_tokens"]),
        ("models", ["model"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_words_with_the_same_beginning_come_first(word: str, similar: list[str]) -> None:
    assert find_similar(word, ["model", "temperature", "template_path", "max_tokens", "system"]) == similar


@pytest.mark.parametrize(("name", "hint"), [("temp", "temperature"), ("effrt", "effort"), ("maxtok", "max_tokens")])
def test_a_mistyped_setting_in_the_repl_gives_a_suggestion(name: str, hint: str) -> None:
    console = Console("chat", "--demo")
    console.wait_until("Ctrl-D to leave")
    console.type_line(f"/set {name}=1")
    console.wait_until("unknown setting")
    console.wait_until(f"did you mean {hint}")
