"""Rows of the option table become flags of a command, which gets exactly what was typed."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from aiml_cli.api.endpoints import ENDPOINT_NAMES
from aiml_cli.cli.app import app
from aiml_cli.cli.flags import FlagCallback, Words, with_options
from aiml_cli.settings.options import Option, flags_of
from aiml_cli.settings.resolve import Flags, RawValue


class ParsedArguments:
    """The words and flags that a command was given."""

    def __init__(self, endpoint: str = "chat", words: str = "The prompt.") -> None:
        self.words: Words = []
        self.flags: Flags = {}
        self.app = typer.Typer(add_completion=False, rich_markup_mode=None)

        @self.app.command()
        @with_options(flags_of(endpoint), words)
        def ask(words: Words, flags: Flags) -> None:
            """Ask."""
            self.words, self.flags = words, flags

    def parse(self, *argv: str) -> "ParsedArguments":
        result = CliRunner().invoke(self.app, argv)
        assert result.exit_code == 0, result.output
        return self


def list_spellings() -> Iterator[Any]:
    for endpoint in ENDPOINT_NAMES:
        for row in flags_of(endpoint):
            for word in (row.flag, row.short, *row.aliases):
                if word:
                    yield pytest.param(endpoint, row, word, id=f"{endpoint}{word}")


def list_flag_words(endpoint: str) -> list[str]:
    params = typer.main.get_command(ParsedArguments(endpoint).app).params
    return [word for param in params for word in (*param.opts, *param.secondary_opts)]


def test_without_arguments_there_are_no_words_and_no_flags() -> None:
    typed = ParsedArguments().parse()
    assert typed.words == []
    assert typed.flags == {}


@pytest.mark.parametrize(("endpoint", "row", "word"), list(list_spellings()))
def test_every_spelling_of_a_flag_sets_its_option(endpoint: str, row: Option[Any], word: str) -> None:
    value = [] if row.value_type.is_switch else ["a value"]
    off = row.name == "stream" and word == row.short
    text = ("off" if off else "on") if row.value_type.is_switch else "a value"
    assert ParsedArguments(endpoint).parse(word, *value).flags == {row.name: RawValue((text,), row.flag)}


@pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)
def test_no_two_flags_of_a_command_share_a_spelling(endpoint: str) -> None:
    assert [word for word, count in Counter(list_flag_words(endpoint)).items() if count > 1] == []


@pytest.mark.parametrize(
    ("argv", "name", "text"),
    [
        (["-S"], "stream", "off"),
        (["--no-stream"], "stream", "off"),
        (["--stream"], "stream", "on"),
        (["--logprobs"], "logprobs", "on"),
        (["--no-logprobs"], "logprobs", "off"),
        (["--no-stdin"], "no_stdin", "on"),
        (["--as", "curl"], "as", "curl"),
        (["--temperature", "0"], "temperature", "0"),
        (["--temperature", "-1"], "temperature", "-1"),
        (["--temperature=warm"], "temperature", "warm"),
        (["-n2"], "n", "2"),
        (["-s", ""], "system", ""),
        (["-s", "a\nb é"], "system", "a\nb é"),
    ],
)
def test_the_text_of_a_flag_is_kept_uninterpreted(argv: list[str], name: str, text: str) -> None:
    assert {key: value.texts for key, value in ParsedArguments().parse(*argv).flags.items()} == {name: (text,)}


def test_repeated_flags_are_kept_in_order() -> None:
    typed = ParsedArguments().parse("-f", "a", "-a", "b", "--attach", "c", "-O", "x=1", "--option", "y=2")
    assert typed.flags["file"].texts == ("a", "b", "c")
    assert typed.flags["option"].texts == ("x=1", "y=2")


def test_words_need_no_quotes_and_flags_may_come_before_and_after_them() -> None:
    typed = ParsedArguments().parse("-m", "a/b", "why", "is", "the sky", "blue", "-u")
    assert typed.words == ["why", "is", "the sky", "blue"]
    assert (typed.flags["model"].texts, typed.flags["usage"].texts) == (("a/b",), ("on",))


def test_two_dashes_end_the_flags() -> None:
    typed = ParsedArguments().parse("what", "is", "--", "-m", "--stream")
    assert typed.words == ["what", "is", "-m", "--stream"]
    assert typed.flags == {}


def test_a_lone_dash_is_a_word() -> None:
    assert ParsedArguments().parse("-").words == ["-"]


@pytest.mark.parametrize(
    "argv", [["--no-such-flag"], ["--model"], ["--no-no-stdin"], ["--no-demo"], ["--api-key", "x"]]
)
def test_an_unknown_flag_is_a_usage_error(argv: list[str]) -> None:
    assert CliRunner().invoke(ParsedArguments().app, argv).exit_code == 2


def test_a_command_without_words_accepts_none() -> None:
    assert ParsedArguments(words="").parse("-m", "a/b").words == []
    assert CliRunner().invoke(ParsedArguments(words="").app, ["word"]).exit_code == 2


@pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)
def test_help_lists_every_flag(endpoint: str) -> None:
    shown = CliRunner().invoke(ParsedArguments(endpoint).app, ["--help"], terminal_width=200).output
    assert [row.flag for row in flags_of(endpoint) if row.flag not in shown] == []
    assert "[default: openai/gpt-5-1]" in shown
    assert "[default: True]" not in shown
    assert re.search(r"--temperature\s+NUMBER", shown)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("hi", set()),
        ("-m a hi there", {"model"}),
        ("--model=a -o out hi", {"model", "output"}),
        ("--base-url http://127.0.0.1:9 --no-stream hi -q", {"base_url", "stream", "quiet"}),
        ("-S hi", {"stream"}),
        ("-f a.py b.py hi", {"file"}),
        ("--attach a.py -", {"file"}),
        ("hi -- --model -x --unknown", set()),
        ("explain set -e in bash", {"edit"}),
    ],
)
def test_only_the_flags_that_are_typed_are_built(arguments: str, names: set[str]) -> None:
    chat = next(command.callback for command in app.registered_commands if command.name == "chat")
    assert isinstance(chat, FlagCallback)
    assert {*chat.select_typed(arguments.split()).__signature__.parameters} == {"words", *names}


@pytest.mark.parametrize(
    "arguments", ["--help", "-h", "-yx hi", "--modle a hi", "-model=a hi", "-n5 hi", "rm -rf", "-m=a hi", "hi -5"]
)
def test_all_flags_are_built_if_an_argument_is_ambiguous(arguments: str) -> None:
    chat = next(command.callback for command in app.registered_commands if command.name == "chat")
    assert isinstance(chat, FlagCallback)
    assert chat.select_typed(arguments.split()) is chat
