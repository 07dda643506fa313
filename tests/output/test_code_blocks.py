"""`-x` prints a code block of the answer and nothing else, on both endpoints, in a pipe and on a terminal."""

from pathlib import Path
from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.answers import stream_text
from support.console import Console
from support.loopback import Loopback, delta, event, response_object, stream, text_events
from support.pty_run import HOSTILE_TEXT, run_on_pty
from support.run_cli import Aiml

from aiml_cli.output.code_blocks import find_blocks

ANSWER_WITH_FOUR_BLOCKS = """Here:

```python
print(1)

print(2)
```

1. a list

   ~~~bash title=x
   echo three
   ~~~

and

    indented

````yml
a: "```"
````

Done.
"""
PYTHON, BASH, INDENTED, YAML = "print(1)\n\nprint(2)\n", "echo three\n", "indented\n", 'a: "```"\n'
LIST_OF_BLOCKS = "it has 4 code blocks: 1: python print(1); 2: bash echo three; 3: indented; 4: yml"


@pytest.mark.parametrize("endpoint", ["chat", "respond"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["-x"], PYTHON),
        (["-x", "2"], BASH),
        (["-x", "last"], YAML),
        (["-x", "all"], f"{PYTHON}\n{BASH}\n{INDENTED}\n{YAML}"),
        (["-x", "py"], PYTHON),
        (["-x", "sh"], BASH),
        (["-x", "yaml"], YAML),
        (["--extract=Shell"], BASH),
    ],
    ids=str,
)
def test_only_the_requested_block_is_printed(
    endpoint: str, flags: list[str], expected: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text(endpoint, ANSWER_WITH_FOUR_BLOCKS))
    result = aiml(endpoint, *flags, "--", "hi")
    assert (result.stdout.decode(), result.stderr, result.returncode) == (expected, b"", 0)


@pytest.mark.parametrize(
    ("flags", "prompt"),
    [
        (["-yx", "hi"], "hi"),
        (["-qyx", "hi"], "hi"),
        (["-x", "--", "-x", "-r"], "-x -r"),
        (["-x", "write it"], "write it"),
        (["-x", "never", "--color", "never"], "never"),
        (["-yx", "1", "hi"], "hi"),
    ],
)
def test_without_a_number_the_flag_takes_no_word_of_the_prompt(
    flags: list[str], prompt: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text("chat", "```\n1\n```"))
    assert aiml("chat", *flags).stdout == b"1\n"
    assert server.requests[0].json["messages"] == [{"role": "user", "content": prompt}]


@pytest.mark.parametrize("word", ["5", "rust"])
def test_a_missing_block_ends_with_9_and_a_list_of_the_existing_ones(
    word: str, server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    server.answer_with(stream_text("chat", ANSWER_WITH_FOUR_BLOCKS))
    (tmp_path / "f").write_text("old")
    result = aiml("chat", "hi", "-x", word, "-o", "f")
    assert (result.returncode, result.stdout, (tmp_path / "f").read_text()) == (9, b"", "old")
    assert LIST_OF_BLOCKS in result.stderr.decode()
    assert [path.name for path in tmp_path.glob("*f*") if path.is_file()] == ["f"]


def test_an_answer_without_code_ends_with_9(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "No `code` here.\n\n`` ``` ``"))
    result = aiml("chat", "hi", "-x", "all")
    assert (result.returncode, result.stdout, result.stderr) == (
        9, b"", b"aiml: the answer has no code block\nhint: aiml history show prints the answer\n",
    )  # fmt: skip
    server.answer_with(stream_text("chat", "None."))
    assert b"hint" not in aiml("chat", "hi", "-x", "--no-log").stderr


@settings(derandomize=True)  # rarely markdown-it sees code where the specification continues a paragraph
@given(st.lists(st.sampled_from(["```", "~~~", "    ", " ", "\n", "- ", "1. ", "a", "<p>"])).map("".join))
@example("\ta")
@example("    a")
@example("~~~\na")
def test_the_quick_search_for_code_finds_every_block(text: str) -> None:
    found = [token for token in MarkdownIt("commonmark").parse(text) if token.type in {"fence", "code_block"}]
    assert [block.text.rstrip() for block in find_blocks(text)] == [token.content.rstrip() for token in found]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("|a|\n|-|\n```\nb\n```", ["b\n"]),
        ("|a|\n|-|\n|b|\n    c\n", ["c\n"]),
        ("|a|\n|-|\n|b|\n~~~\n    c\n~~~\n```\nd\n```", ["    c\n", "d\n"]),
        ("$$\n```\n$$\n\n```\nx\n```", ["x\n"]),
        ("[^1]: note\n    ```\n    x\n    ```", ["x\n"]),
        ("<think>\n```\nx\n```\n</think>\n```\ny\n```", ["y\n"]),
        ("<think>\n```\nx\n```\n", []),
        ("<THINK>\u0130\u0130</think>```\ny\n```", ["y\n"]),
        ("```make\na:\n\tb\n\n\n```\n", ["a:\n\tb\n\n\n"]),
        ("- ```\n  \ta\n\tb\n  ```", ["\ta\n  b\n"]),
        ("```\r\na\r\n```\r\n", ["a\n"]),
        ("```\n```", [""]),
        ("".join(f"```\n{number}\n```\n\n" for number in range(30)), [f"{number}\n" for number in range(30)]),
        ("```\n" + "x\n" * 50 + "```\n", ["x\n" * 50]),
    ],
)
def test_the_blocks_are_those_that_are_drawn(text: str, codes: list[str]) -> None:
    assert [block.text for block in find_blocks(text)] == codes


def test_a_fence_that_the_end_of_the_answer_closes_is_a_block(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "```\nx\ny"))
    result = aiml("chat", "hi", "-x")
    assert (result.stdout, result.returncode) == (b"x\ny\n", 0)


INCOMPLETE_ANSWERS = [
    ("```\na\n```\n\n```\nhal", "all", "a\n"),
    ("```\na\n```\n\n```\nhal", "1", "a\n"),
    ("```\na\n```\n\n```\nhal", "2", ""),
    ("```\na\n```\n\n```\nhal", "last", ""),
    ("```\nhalf\n", "1", ""),
    ("```\nhalf", "1", ""),
    ("```", "1", ""),
    ("- ```\n  a\n\nand", "1", "a\n"),
    ("```\na\n```\n\nand", "last", ""),
    ("    half\n", "1", ""),
    ("    a\n\nb", "1", "a\n"),
]


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize("ending", ["cut", "length"])
@pytest.mark.parametrize(("text", "block", "expected"), INCOMPLETE_ANSWERS)
def test_only_complete_blocks_of_an_incomplete_answer_are_printed(
    text: str, block: str, expected: str, ending: str, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(stream_text("chat", text, "length") if ending == "length" else stream(delta(text), end=b""))
    result = aiml("chat", "hi", "-x", block)
    assert (result.stdout.decode(), result.returncode) == (expected, 8)


def test_an_accepted_length_limit_still_prints_no_half_block(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "```\nhalf\nof", "length"))
    result = aiml("chat", "hi", "-x", "--allow-cut")
    assert (result.stdout, result.returncode) == (b"", 9)


def test_a_block_in_several_parts_of_an_answer_is_joined(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream_text("chat", "```\none\ntw", "length"))
    server.answer_with(stream_text("chat", "o\n```\n"))
    result = aiml("chat", "hi", "-x", "--auto-continue", "1", "-q")
    assert (result.stdout, result.returncode) == (b"one\ntwo\n", 0)


def test_every_choice_must_have_its_block(server: Loopback, aiml: Aiml) -> None:
    ends = [delta(finish="stop"), delta(finish="stop", index=1)]
    server.answer_with(stream(delta("```\na\n```"), delta("```\nb\n```", index=1), *ends))
    server.answer_with(stream(delta("```\na\n```"), delta("none", index=1), *ends))
    assert aiml("chat", "hi", "-x", "-n", "2").stdout == b"a\n\nb\n"
    result = aiml("chat", "hi", "-x", "-n", "2")
    assert (result.returncode, result.stderr.splitlines()[0]) == (9, b"aiml: choice 2 has no code block")


def test_a_file_gets_the_block(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(
        stream(
            *text_events(ANSWER_WITH_FOUR_BLOCKS),
            event({"type": "response.completed", "response": response_object(ANSWER_WITH_FOUR_BLOCKS)}),
        )
    )
    assert aiml("respond", "hi", "-x", "-o", "f.py").returncode == 0
    assert (tmp_path / "f.py").read_text() == PYTHON


@pytest.mark.parametrize(
    "flags", [["--json"], ["--format", "jsonl"], ["--format", "raw"], ["--schema", "a"], ["--json-object"], ["--items"]]
)
def test_flags_that_cannot_be_used_with_a_block_are_refused_before_anything_is_sent(
    flags: list[str], server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    result = aiml("chat", "hi", "-x", "-o", "f", *flags)
    assert (result.returncode, server.connections) == (2, 0)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    assert b"cannot be used with" in result.stderr


@pytest.mark.promise("terminal-control")
def test_code_on_a_terminal_is_plain_and_sanitized(server: Loopback) -> None:
    server.answer_with(stream(delta(f"# Title\n\n```python\nx = '{HOSTILE_TEXT}'\n```\n"), delta(finish="stop")))
    wrote, code, screen = run_on_pty(server, "chat", "hi", "-x")
    assert (code, screen.display[0].startswith("x = '\\x1b]52;c;ZXZpbA==\\x07")) == (0, True)
    assert not set(wrote.decode()) & set("\x07\x08\x9b\u202e\U000e0041")


def test_the_repl_refuses_the_flag_and_names_its_own_command(server: Loopback) -> None:
    console = Console("chat", "-i", "-x", AIML_BASE_URL=server.url)
    assert console.wait_for_exit() == 2
    assert "/copy N" in console.read_text()
    assert server.connections == 0


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("head", ["```py\n", "```\n```\n", "```\n```\n> ", ""])
@pytest.mark.parametrize(
    "unit",
    [
        " ",
        "\n",
        "\t",
        "`",
        "```\n",
        "> ",
        "- ",
        "- a\n",
        "[",
        "[a\n",
        "[a]: b\n",
        "\\",
        "    a\n\n",
        "* ",
        "<!--\n",
        "#",
    ],
)
def test_blocks_are_found_in_linear_time(head: str, unit: str) -> None:
    def measure_seconds(length: int) -> float:
        start = process_time()
        find_blocks(head + unit * (length // len(unit)))
        return process_time() - start

    seconds = [min(measure_seconds(length) for _ in range(3)) for length in (2_000, 20_000)]
    assert seconds[1] < max(40 * seconds[0], 0.1)
