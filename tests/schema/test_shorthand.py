"""The short form of a schema is expanded."""

from typing import Any

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.schema.load import parse_parameters, parse_shorthand

STRING, INTEGER = {"type": "string"}, {"type": "integer"}

FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("name, age int, tags: list of str", {"name": STRING, "age": INTEGER, "tags": {"type": "array", "items": STRING}}),
    ("a str,b float , c bool,", {"a": STRING, "b": {"type": "number"}, "c": {"type": "boolean"}}),
    ("a list of list of int", {"a": {"type": "array", "items": {"type": "array", "items": INTEGER}}}),
    ("bio: a short bio", {"bio": {**STRING, "description": "a short bio"}}),
    ("age int: in years", {"age": {**INTEGER, "description": "in years"}}),
    ("tags: list of str: what it is about", {"tags": {"type": "array", "items": STRING, "description": "what it is about"}}),
    ("speed: km/h: measured", {"speed": {**STRING, "description": "km/h: measured"}}),
    ("a: one, two\n\n  b int,\n", {"a": {**STRING, "description": "one, two"}, "b": INTEGER}),
    ("mood good|bad, stars 1 | 2 | 2", {"mood": {**STRING, "enum": ["good", "bad"]}, "stars": {**INTEGER, "enum": [1, 2]}}),
    ("tags list of red|blue", {"tags": {"type": "array", "items": {**STRING, "enum": ["red", "blue"]}}}),
    ("a int?, b?", {"a": {"type": ["integer", "null"]}, "b": {"type": ["string", "null"]}}),
    ("a? list of int", {"a": {"type": ["array", "null"], "items": INTEGER}}),
    ("a: list of int?", {"a": {"type": ["array", "null"], "items": INTEGER}}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "properties"), FIELDS)
def test_fields_become_required_properties_of_a_closed_object(text: str, properties: dict[str, Any]) -> None:
    required = list(properties)
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    assert parse_shorthand(text) == whole
    assert list(parse_shorthand(text)["properties"]) == required


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("age inty", "'age inty' is not a field", "'inty' is not a type"),
        ("a list of", "'a list of' is not a field", "is not a type"),
        ("a list of things", "is not a field", "'list of things' is not a type"),
        ("1st", "'1st' is not a field", "a name consists of letters"),
        ("a/b int", "is not a field", "a name consists of letters"),
        (": words", "is not a field", "a name consists of letters"),
        ("a, b, a int", "'a' appears twice", ""),
        (" ,\n, ", "is empty", "list its fields"),
    ],
)
def test_an_invalid_field_is_named_in_the_error(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shorthand(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "properties", "required"),
    [
        ("city, unit?", {"city": STRING, "unit": STRING}, ["city"]),
        ("city: where, days? int: how many", {"city": {**STRING, "description": "where"}, "days": {**INTEGER, "description": "how many"}}, ["city"]),
        ("days: int?, tags? list of str", {"days": INTEGER, "tags": {"type": "array", "items": STRING}}, []),
        ("", {}, []),
        (" \n ,", {}, []),
    ],
)  # fmt: skip
def test_an_optional_parameter_may_be_missing(text: str, properties: dict[str, Any], required: list[str]) -> None:
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    assert parse_parameters(text, "params") == whole


@pytest.mark.parametrize("text", ["city, unit??", "a b c", "x, x", "no/name"])
def test_an_invalid_parameter_is_named_in_the_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^weather\.toml: params: '|^weather\.toml: params: the field"):
        parse_parameters(text, "weather.toml: params")
