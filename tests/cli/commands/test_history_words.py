"""Words that history commands take: what they find, and the conversations that they name."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from support.stored_history import write_conversation

from aiml_cli.__main__ import main

Capture = pytest.CaptureFixture[str]
# What is searched for, a text that has it, and one that does not.
SEARCHES = [
    ("评审", "代码评审很重要", "代码审评"),
    ("日本", "これは日本語です", "日の本"),
    ("本", "日本", "日木"),
    ("日本", "日本", "日 本"),
    ("日本語が", "私は日本語が好き", "日本語か"),
    ("한국", "한국어는 어렵다", "한 국"),
    ("ไทย", "ภาษาไทยง่าย", "ทย"),
    ("ลาว", "ภาษาลาว", "ลา ว"),
    ("C++", "Modern C++ is odd", "C and Cobol + +"),
    ("c++", "Modern C++ is odd", "c+"),
    ("C#", "why C# here", "C major #"),
    (".NET", "on .net core", "a net"),
    ("node.js", "Node.js now", "node js"),
    ("R", "in R, then", "Rust for her"),
    ("go", "let it GO!", "good gopher, ago"),
    ("q", "Q: what?", "queue"),
    ("a", "a text", "an art"),
    ("100%", "to 100% sure", "100 percent"),
    ("%", "50 % off", "fifty"),
    ("_", "snake_case", "camelCase"),
    ("snake_case", "my snake_case name", "snake case"),
    ("case", "my snake_case name", "lowercase"),
    ("*", "a * b", "a x b"),
    ("a*b", "so a*b holds", "a b"),
    ("AND", "this and that", "hand"),
    ("OR", "this or that", "for her"),
    ("NOT", "to be or not", "knot"),
    ("NEAR(", "near(a b)", "near a"),
    ('"', 'she said "no"', "she said no"),
    ("'", "it's", "its"),
    ("don't", "I DON'T know", "dont"),
    ("--all", "rm --all it", "rm all"),
    ("^", "a ^ b", "a b"),
    ("text:a", "the text:a", "text a"),
    ("(", "f(x)", "f x"),
    ("\\", "C:\\dir", "C:/dir"),
    ("🎉", "done 🎉🎊", "done"),
    ("👩", "a 👩\u200d🚀", "a 🚀"),
    ("❤", "love ❤\ufe0f", "love ♡"),
    ("café", "a cafe\u0301 au lait", "cage"),
    ("cafe\u0301", "a CAFÉ", "caf e"),
    ("cafe", "a café", "decaf"),
    ("ÉCOLE", "une école", "collège"),
    ("straße", "STRASSE", "strase"),
    ("istanbul", "İSTANBUL", "ankara"),
    ("ΟΔΟΣ", "οδος", "οδον"),
    ("ПРИВЕТ", "привет, мир", "пока"),
    ("हिन्दी", "यह हिन्दी है", "यह तमिल है"),
    ("が", "これが", "これか"),
    ("ostri", "two ostriches", "posters trio"),
    ("internationalization", "about internationalization", "about international law"),
    ("fly ostrich", "an ostrich cannot fly", "an ostrich"),
    ("日本 go", "go to 日本", "日本 gone"),
    ("ﬁne", "a fine day", "fin"),
]


@pytest.mark.parametrize(("words", "text", "other_text"), SEARCHES)
def test_a_query_finds_the_text_with_its_words_and_nothing_else(
    words: str, text: str, other_text: str, capfd: Capture
) -> None:
    name = write_conversation("question", f"first line\n{text}\nlast line")
    write_conversation("question", f"first line\n{other_text}\nlast line")
    (found,) = run_json(capfd, "search", "--json", "--", words)
    assert (found["id"], found["snippet"]) == (name, text)
    assert [each["id"] for each in run_json(capfd, "list", "--json", "--", words)] == [name]
    assert run_json(capfd, "show", "--json", "--", words)["id"] == name


@pytest.mark.parametrize("words", ["\u0301", "\ufe0f", "\x00", "\udce9", " ", "\u00a0"])
def test_words_without_visible_characters_find_nothing(words: str, capfd: Capture) -> None:
    write_conversation("hello", "é")
    assert main(["history", "list", "-n", "0", "--json", "--", f"{words} zzz"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_the_words_of_a_query_must_be_in_one_message(capfd: Capture) -> None:
    write_conversation("about zebras", "about lions")
    assert run_json(capfd, "search", "--json", "zebras", "lions") == []


def test_the_snippet_is_from_the_latest_message_that_matches(capfd: Capture) -> None:
    write_conversation("an old zebra", f"{'x ' * 200}zebra{' y' * 200}")
    (found,) = run_json(capfd, "search", "--json", "zebra")
    assert (found["role"], "zebra" in found["snippet"], len(found["snippet"]) < 200) == ("assistant", True, True)


COMMANDS: list[Sequence[str]] = [("show", "--json"), ("export", "--format", "json"), ("rm",)]


@pytest.fixture
def names() -> list[str]:
    """Write three conversations; return their ids, the newest first."""
    return [write_conversation(words) for words in ("about zebras", "about giraffes", "about whales")][::-1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name_format", ["{0}", "{0:.4}", "1", "last", "whales", "about whales", "WHALES", "whal"])
def test_every_command_accepts_every_kind_of_name(
    command: Sequence[str], name_format: str, names: list[str], capfd: Capture
) -> None:
    words = (f"{names[0]:.4}" if ":" in name_format else name_format.format(names[0])).split()
    assert main(["history", *command, *words]) == 0
    written = capfd.readouterr()
    if command[0] == "rm":
        assert written.err.endswith("aiml: 1 conversation deleted\n")
        assert [each["id"] for each in run_json(capfd, "list", "--json")] == names[1:]
    else:
        assert names[0] in written.out
        assert names[1] not in written.out


@pytest.mark.parametrize("command", COMMANDS)
def test_an_ambiguous_word_is_an_error_that_lists_the_matches(
    command: Sequence[str], names: list[str], capfd: Capture
) -> None:
    assert main(["history", *command, "about"]) == 2
    written = capfd.readouterr()
    assert written.out == ""
    assert all(f"  {name}  about " in written.err for name in names)
    assert "hint: use the id of one" in written.err
    assert len(run_json(capfd, "list", "--json")) == 3


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [["lions"], ["no", "lions"], ["0"], ["1000"], ["zzzzzz"], ["../up"], ["é"], [" "]])
def test_a_name_that_matches_nothing_gives_the_same_error_everywhere(
    command: Sequence[str], words: list[str], capfd: Capture
) -> None:
    write_conversation("about zebras")
    assert main(["history", *command, "--", *words]) == 2
    assert f"no conversation matches {' '.join(words)!r}" in capfd.readouterr().err


@pytest.mark.parametrize("command", [("export", "--format", "json"), ("rm",)])
def test_several_ids_and_numbers_select_several_conversations(
    command: Sequence[str], names: list[str], capfd: Capture
) -> None:
    assert main(["history", *command, names[2], "1", names[0]]) == 0
    written = capfd.readouterr()
    assert names[1] not in written.out
    left = [each["id"] for each in run_json(capfd, "list", "--json")]
    assert left == ([names[1]] if command == ("rm",) else names)


def test_one_unknown_name_among_several_stops_the_command(names: list[str], capfd: Capture) -> None:
    assert main(["history", "rm", names[0], "wrong"]) == 2
    assert "no conversation matches 'wrong'" in capfd.readouterr().err
    assert len(run_json(capfd, "list", "--json")) == 3


def test_show_accepts_only_one_conversation(names: list[str], capfd: Capture) -> None:
    assert main(["history", "show", *names]) == 2
    assert "only one conversation can be shown at a time" in capfd.readouterr().err


def run_json(capfd: Capture, *arguments: str) -> Any:
    """Run a history command and parse its output."""
    capfd.readouterr()
    assert main(["history", *arguments]) == 0
    return json.loads(capfd.readouterr().out)
