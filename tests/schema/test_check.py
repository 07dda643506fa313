"""An answer is checked against a schema, and the error names the place; an invalid schema is refused first."""

import contextlib
from time import process_time
from typing import Any

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.schema.check import make_checker, parse_answer_json

INTEGER = {"type": "integer"}
SCHEMA: dict[str, Any] = {"properties": {"age": INTEGER, "tags": {"type": "array", "items": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"age": 1, "tags": ["a"]}, ""),
        ({"age": "x"}, "$.age: 'x' is not of type 'integer'"),
        ({"tags": ["a", 2]}, "$.tags[1]: 2 is not of type 'string'"),
    ],
)
def test_a_violation_names_its_place(value: Any, message: str) -> None:
    assert make_checker(SCHEMA)(value) == message


def test_a_long_value_is_not_quoted_in_full() -> None:
    message = make_checker(SCHEMA)({"age": "x" * 100_000})
    assert message.endswith("is not of type 'integer'")
    assert len(message) < 400


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "whole"}, "not a valid JSON Schema: $.type: 'whole'"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern"),
        ({"properties": {"a": {"$ref": "#/$defs/missing"}}}, "a reference cannot be resolved"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "a reference cannot be resolved"),
        ({"$ref": "#"}, "refers to itself endlessly"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself endlessly"),
    ],
    ids=repr,
)
def test_an_invalid_schema_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_checker(schema)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"$ref": {"type": "integer"}}},
        {"enum": [{"$ref": "#/nowhere"}]},
        {"properties": {"next": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": INTEGER}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True},
    ],
    ids=repr,
)
def test_an_unusual_but_valid_schema_is_accepted(schema: dict[str, Any]) -> None:
    assert make_checker(schema)(None) == "" or "enum" in schema


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "\n [1]\n",
        "```json\n[1]\n```",
        "\n```\n[1]```\n",
        "\ufeff[1]",
        "```JSON\r\n[1]\r\n```",
        "\ufeff```json\n[1]\n```",
        "```\n\ufeff[1]\n```",
    ],
)
def test_a_code_fence_around_the_json_is_ignored(text: str) -> None:
    assert parse_answer_json(text) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1"),
        ("Here: {}", "line 1, column 1"),
        ('{"a": 1,\n}', "line 2, column 1"),
        ("NaN", "NaN is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_the_place_where_json_ends_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_answer_json(text)


@pytest.mark.parametrize(
    "text", ["`[1]`", "``\n[1]\n``", "```json [1] ```", "```\n[1]", "[1]\n```", "```a`b\n[1]\n```", "```"]
)
def test_text_around_the_json_that_is_not_a_code_fence_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"line \d, column"):
        parse_answer_json(text)


@pytest.mark.parametrize("digits", [400, 4300])
def test_a_long_number_is_a_number(digits: int) -> None:
    assert parse_answer_json("1" * digits) == int("1" * digits)


@pytest.mark.parametrize("text", ["1" * 4301, "-" + "1" * 5000, '[{"a": ' + "1" * 100_000 + "}]"])
def test_a_number_with_too_many_digits_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="digits is too long"):
        parse_answer_json(text)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "1e-400", "0." + "1" * 5000])
@pytest.mark.parametrize("keyword", [{"multipleOf": 0.1}, {"multipleOf": 3}, {"maximum": 2.5}, {"type": "integer"}])
def test_an_odd_number_is_checked_without_a_failure(number: str, keyword: dict[str, Any]) -> None:
    assert isinstance(make_checker(keyword)(parse_answer_json(number)), str)


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize(
    ("prefix", "end"), [("", ""), ("```\n", "```"), ("```\n", "x"), ("```json\n[1", "]\n```"), (" ", "```")]
)
@pytest.mark.parametrize("unit", [" ", "\n", "\t", " \n", "`", "```", "```\n", "\u3000", "[", "1", '"'])
def test_a_code_fence_is_found_in_time_that_grows_with_the_text(prefix: str, end: str, unit: str) -> None:
    def measure_seconds(length: int) -> float:
        start = process_time()
        with contextlib.suppress(ValueError):
            parse_answer_json(prefix + unit * (length // len(unit)) + end)
        return process_time() - start

    # The garbage collector may run in one of the measurements.
    assert any(measure_seconds(200_000) < max(40 * measure_seconds(20_000), 0.2) for _ in range(3))
