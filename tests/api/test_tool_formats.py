"""Tools, tool choices and formats are converted to the form of the endpoint."""

import copy
from typing import Any

import pytest

from aiml_cli.api import chat_completions, responses
from aiml_cli.api.messages import Conversation
from aiml_cli.api.tool_formats import (
    HOSTED_TOOL_TYPES,
    TOOL_CHOICE_MODES,
    convert_tools,
    to_chat_choice,
    to_chat_format,
    to_chat_tool,
    to_responses_choice,
    to_responses_format,
    to_responses_tool,
)
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
FLAT_TOOL = {"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA, "strict": True}
NESTED_TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": SCHEMA, "strict": True},
}
SEARCH_TOOL = {"type": "web_search_preview", "search_context_size": "low"}
SCHEMA_FORMAT = {"name": "place", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize("tool", [FLAT_TOOL, NESTED_TOOL])
def test_a_function_is_converted_to_the_form_of_each_endpoint(tool: dict[str, Any]) -> None:
    assert to_chat_tool(tool) == NESTED_TOOL
    assert to_responses_tool(tool) == FLAT_TOOL


@pytest.mark.parametrize(
    "tool", [{"type": "function", "name": "now"}, {"type": "function", "function": {"name": "now"}}]
)
def test_properties_that_an_endpoint_requires_are_added(tool: dict[str, Any]) -> None:
    anything = {"type": "object", "properties": {}}
    assert to_chat_tool(tool) == {"type": "function", "function": {"name": "now", "parameters": anything}}
    assert to_responses_tool(tool) == {"type": "function", "name": "now", "parameters": anything, "strict": False}


def test_strict_null_becomes_a_boolean_where_one_is_required() -> None:
    assert to_responses_tool({"type": "function", "function": {"name": "now", "strict": None}})["strict"] is False


@pytest.mark.parametrize(
    "tool", [SEARCH_TOOL, {"type": "mcp", "server_label": "docs"}, {"type": "custom", "custom": {"name": "sql"}}, {}]
)
def test_tools_of_other_types_are_unchanged(tool: dict[str, Any]) -> None:
    assert to_chat_tool(tool) == to_responses_tool(tool) == tool


@pytest.mark.parametrize("mode", TOOL_CHOICE_MODES)
def test_the_tool_choices_of_the_api_are_accepted(mode: str) -> None:
    assert to_chat_choice(mode) == to_responses_choice(mode) == mode


@pytest.mark.parametrize(
    "choice", ["look", {"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}]
)
def test_a_function_is_chosen_by_its_name(choice: Any) -> None:
    assert to_chat_choice(choice) == {"type": "function", "function": {"name": "look"}}
    assert to_responses_choice(choice) == {"type": "function", "name": "look"}


@pytest.mark.parametrize("tool_type", HOSTED_TOOL_TYPES)
def test_a_hosted_tool_is_chosen_by_its_type(tool_type: str) -> None:
    assert to_responses_choice(tool_type) == to_responses_choice({"type": tool_type}) == {"type": tool_type}


@pytest.mark.parametrize(
    "response_format",
    [{"type": "json_schema", **SCHEMA_FORMAT}, {"type": "json_schema", "json_schema": SCHEMA_FORMAT}],
    ids=["flat", "nested"],
)
def test_a_schema_is_converted_to_the_form_of_each_endpoint(response_format: dict[str, Any]) -> None:
    assert to_chat_format(response_format) == {"type": "json_schema", "json_schema": SCHEMA_FORMAT}
    assert to_responses_format(response_format) == {"type": "json_schema", **SCHEMA_FORMAT}


@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}, None])
def test_other_formats_are_unchanged(response_format: Any) -> None:
    assert to_chat_format(response_format) == to_responses_format(response_format) == response_format


def test_without_a_tool_choice_none_is_sent() -> None:
    assert to_chat_choice(None) is None
    assert to_responses_choice(None) is None


@pytest.mark.parametrize(
    "convert",
    [to_chat_tool, to_responses_tool, to_chat_choice, to_responses_choice, to_chat_format, to_responses_format],
)
@pytest.mark.parametrize(
    "value", [FLAT_TOOL, NESTED_TOOL, SEARCH_TOOL, {"type": "json_schema", **SCHEMA_FORMAT}], ids=repr
)
def test_the_users_objects_are_not_modified(convert: Any, value: dict[str, Any]) -> None:
    before = copy.deepcopy(value)
    once = convert(value)
    assert value == before
    assert convert(once) == once


@pytest.mark.parametrize(
    "tools",
    [
        5,
        "look",
        None,
        {"type": "function", "name": "look"},
        [5],
        [None],
        ["look"],
        [[]],
        [{"type": "function", "function": "look"}],
    ],
)
@pytest.mark.parametrize("endpoint", [chat_completions, responses], ids=lambda endpoint: endpoint.NAME)
def test_invalid_tools_are_refused_and_a_single_tool_is_accepted(endpoint: Any, tools: Any) -> None:
    try:
        body = endpoint.build_body(Conversation().add_message("user", "Hi"), Options(model="a/b", tools=tools))
    except UsageError:
        return
    assert all(isinstance(tool, dict) for tool in body.get("tools", []))


@pytest.mark.parametrize("tools", [FLAT_TOOL, [FLAT_TOOL], {"tools": [NESTED_TOOL]}], ids=["one", "list", "object"])
def test_tools_may_be_a_single_object_a_list_or_inside_an_object(tools: Any) -> None:
    assert convert_tools(tools, to_responses_tool) == [FLAT_TOOL]


@pytest.mark.parametrize(
    "tool", [{"name": "now"}, {"function": {"name": "now"}}, {"type": "function", "name": "now", "parameters": None}]
)
def test_optional_properties_of_a_function_may_be_missing(tool: dict[str, Any]) -> None:
    anything = {"type": "object", "properties": {}}
    assert convert_tools(tool, to_responses_tool) == [
        {"type": "function", "name": "now", "parameters": anything, "strict": False}
    ]
    assert convert_tools(tool, to_chat_tool) == [
        {"type": "function", "function": {"name": "now", "parameters": anything}}
    ]


@pytest.mark.parametrize("name", ["a", "A-z_0", "x" * 64])
def test_a_function_name_has_at_most_64_plain_characters(name: str) -> None:
    assert convert_tools({"name": name}, to_responses_tool)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "é", "a\n", "x" * 65, None, 5])
@pytest.mark.parametrize("convert", [to_responses_tool, to_chat_tool])
def test_an_invalid_function_name_is_refused(name: Any, convert: Any) -> None:
    for tool in ({"type": "function", "name": name}, {"type": "function", "function": {"name": name}}):
        with pytest.raises(UsageError):
            convert_tools([tool], convert)


@pytest.mark.parametrize("convert", [to_responses_choice, to_chat_choice])
def test_a_tool_choice_without_a_function_name_is_refused(convert: Any) -> None:
    with pytest.raises(UsageError):
        convert("look it up")


def test_a_function_without_a_name_or_a_schema_is_refused() -> None:
    for tool in ({}, {"type": "function"}, {"type": 5, "name": "now"}, {"name": "now", "parameters": "any"}):
        with pytest.raises(UsageError):
            convert_tools(tool, to_responses_tool)


def test_no_more_than_128_tools_are_taken() -> None:
    assert len(convert_tools([{"name": f"f{number}"} for number in range(128)], to_chat_tool) or ()) == 128
    with pytest.raises(UsageError, match="129"):
        convert_tools([{"name": f"f{number}"} for number in range(129)], to_chat_tool)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_choice_among_several_functions_is_unchanged(mode: str) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NESTED_TOOL]}}
    assert to_chat_choice(choice) == to_responses_choice(choice) == choice
