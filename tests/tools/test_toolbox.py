"""Names: each tool has one that the API takes, and one that people read and allow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.tools.tool import Arguments, CallResult, Definition, ToolError
from aiml_cli.tools.toolbox import make_source, make_wire_name, name_tools, parse_arguments

WIRE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class NamedTool:
    """A tool that has only a name."""

    name: str

    @property
    def definition(self) -> Definition:
        return Definition(self.name, "", {})

    def preview(self, _arguments: Arguments) -> str:
        return self.name

    def call(self, _arguments: Arguments) -> CallResult:
        return CallResult(self.name)


def list_names(*sources: tuple[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the name and the name on the wire of each tool of these sources."""
    opened = name_tools([(label, [NamedTool(name) for name in names]) for label, names in sources])
    return [(tool.name, tool.wire_name) for tool in opened]


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("weather", "weather"),
        ("fs.read_file", "fs__read_file"),
        ("a b/c", "a_b_c"),
        ("größe", "gr__e"),
        ("x" * 64, "x" * 64),
    ],
)
def test_a_tool_name_is_converted_to_a_valid_api_name(name: str, wire_name: str) -> None:
    assert make_wire_name(name) == wire_name


def test_a_long_name_ends_with_a_hash_of_all_of_it() -> None:
    first, second = make_wire_name("x" * 100 + "a"), make_wire_name("x" * 100 + "b")
    assert first != second
    assert first.startswith("x" * 55 + "_")
    assert len(first) == len(second) == 64


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=20))
def test_wire_names_are_valid_and_unique(names: list[str]) -> None:
    wire_names = [wire_name for _, wire_name in list_names(("mcp:s", names))]
    assert len(set(wire_names)) == len(names)
    assert all(WIRE_NAME.fullmatch(name) for name in wire_names)


def test_tools_with_the_same_name_are_prefixed_with_their_source() -> None:
    named = list_names(("weather", ["weather"]), ("lib/tools.py", ["weather", "add"]), ("mcp:fs", ["fs.read"]))
    assert named == [
        ("weather", "weather"),
        ("tools.weather", "tools__weather"),
        ("add", "add"),
        ("fs.read", "fs__read"),
    ]


def test_sources_with_the_same_name_are_numbered() -> None:
    named = list_names(("tools.py", ["add"]), ("tools.py", ["add", "sub"]), ("tools.py", ["add"]))
    assert [name for name, _ in named] == ["tools.add", "tools2.add", "sub", "tools3.add"]


def test_of_two_tools_with_one_name_in_a_source_the_first_is_kept() -> None:
    assert list_names(("mcp:s", ["a", "b", "a"])) == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize("text", ["", "  ", "{}", ' {"a": 1}\n'])
def test_arguments_must_be_an_object_or_empty(text: str) -> None:
    assert parse_arguments(text) in ({}, {"a": 1})


@pytest.mark.parametrize("text", ["[]", '"a"', "null", "{", "{'a': 1}", "[" * 100_000, "1" * 10_000])
def test_other_arguments_are_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ToolError, match="the arguments cannot be read"):
        parse_arguments(text)


@pytest.mark.parametrize(
    ("name", "is_demo", "expected"),
    [
        ("wether", True, "did you mean weather?"),
        ("wether", False, "there are no tools yet"),
        ("sums.py:add", False, "are used together: sums.py"),
        ("weather,time", False, "is not a valid tool name"),
    ],
)
def test_an_unknown_tool_name_is_explained(name: str, is_demo: bool, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_source(name, demo=is_demo).wait_until_ready()
    assert expected in f"{caught.value.message} {caught.value.hint}"
