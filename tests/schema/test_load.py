"""A schema is a file, JSON or the short form; anything else is an error before anything is sent."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.schema.load import load_schema

SCHEMA = {"type": "object", "title": "One person!", "properties": {"a": {}}}


def test_json_is_taken_as_it_is_and_named_by_its_title() -> None:
    loaded = load_schema(f" {json.dumps(SCHEMA)} ")
    assert (loaded.schema, loaded.name, loaded.strict, loaded.is_shorthand) == (SCHEMA, "One_person", False, False)


@pytest.mark.parametrize("argument", ["person.json", "@person.json", "@./person.json"])
def test_a_file_is_read_with_its_byte_order_mark(argument: str) -> None:
    Path("person.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(SCHEMA).encode())
    assert load_schema(argument).schema == SCHEMA


def test_a_schema_is_read_from_a_pipe_of_the_shell() -> None:
    reader, writer = os.pipe()
    os.write(writer, json.dumps(SCHEMA).encode())
    os.close(writer)
    assert load_schema(f"/dev/fd/{reader}").schema == SCHEMA
    os.close(reader)


def test_a_file_may_hold_the_short_form_only_when_it_is_text_of_fields() -> None:
    Path("fields").write_text("name\nage int", encoding="utf-8")
    with pytest.raises(UsageError, match="fields is not a JSON object"):
        load_schema("./fields")


def test_the_short_form_makes_a_strict_schema() -> None:
    loaded = load_schema("name, speed: in km/h")
    assert (loaded.name, loaded.strict, loaded.is_shorthand) == ("answer", True, True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ('{"type":', "the schema is not JSON: Expecting value, line 1, column 9"),
        ("missing.json", "missing.json: No such file"),
        ("@missing", "missing: No such file"),
        ("@.", "Is a directory"),
        ("bad.json", "bad.json is not UTF-8"),
        ("@~nobody-of-that-name/x", "home directory"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"name": "n", "schema": {}}', "a complete response format"),
        ('{"type": "json_schema", "json_schema": {}}', "a complete response format"),
        ("x" * 5000 + " inty", "is not a field"),
        ("a\0b", "is not a field"),
    ],
    ids=lambda text: text[:30].replace("\0", "0"),
)
def test_an_argument_that_is_not_a_schema_is_an_error(argument: str, message: str) -> None:
    Path("bad.json").write_bytes(b"\xff{}")
    with pytest.raises(UsageError) as caught:
        load_schema(argument)
    assert message in caught.value.message


CLOSED_OBJECT: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED_OBJECT, True),
        ({**CLOSED_OBJECT, "properties": {"a": {"type": "string"}}, "required": ["a"]}, True),
        ({**CLOSED_OBJECT, "properties": {"a": {"type": "string"}}}, False),
        ({**CLOSED_OBJECT, "additionalProperties": True}, False),
        (
            {**CLOSED_OBJECT, "properties": {"a": {"type": "array", "items": {"type": "object"}}}, "required": ["a"]},
            False,
        ),
        ({**CLOSED_OBJECT, "properties": {"a": {"type": ["object", "null"]}}, "required": ["a"]}, False),
        ({**CLOSED_OBJECT, "properties": {"a": {"anyOf": [{"type": "object"}]}}, "required": ["a"]}, False),
        ({**CLOSED_OBJECT, "$defs": {"a": {"type": "object"}}}, False),
        ({**CLOSED_OBJECT, "$defs": {"a": CLOSED_OBJECT}}, True),
        ({**CLOSED_OBJECT, "allOf": [CLOSED_OBJECT]}, False),
        ({"type": "array", "items": CLOSED_OBJECT}, False),
        ({"anyOf": [CLOSED_OBJECT]}, False),
    ],
    ids=json.dumps,
)
def test_a_schema_is_sent_as_strict_only_if_it_keeps_to_the_strict_subset(schema: dict[str, Any], strict: bool) -> None:
    assert load_schema(json.dumps(schema)).strict is strict


@pytest.mark.promise("current-directory")
@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize("value", ["person", "name, age int", "name: who it is", "n int?", "tags: list of str"])
def test_the_short_form_is_never_the_name_of_a_file(value: str, is_typed: bool) -> None:
    Path(value).write_text('{"type": "array"}', encoding="utf-8")
    assert load_schema(value, is_typed=is_typed).is_shorthand
    assert load_schema(f"@{value}", is_typed=is_typed).schema == {"type": "array"}
    assert load_schema(f"./{value}", is_typed=is_typed).schema == {"type": "array"}


@pytest.mark.promise("current-directory")
@pytest.mark.parametrize("value", ['{"type": "string"}', ' {"type": "string"}', "[1]", "5", '"x"', '{"a.json'])
def test_json_is_never_the_name_of_a_file(value: str) -> None:
    Path(value).write_text('{"type": "array"}', encoding="utf-8")
    with suppress(UsageError):
        assert load_schema(value).schema == {"type": "string"}


def test_a_typed_word_that_is_not_a_short_form_is_the_name_of_a_file() -> None:
    Path("a.schema").write_text('{"type": "array"}', encoding="utf-8")
    assert load_schema("a.schema").schema == {"type": "array"}
    with pytest.raises(UsageError, match="is not a field"):
        load_schema("a.schema", is_typed=False)
