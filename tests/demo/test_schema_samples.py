"""The JSON that the demo makes for a schema."""

import json

from support.demo_client import DemoClient, Json

DEMO_PREFIX = "[demo: no model ran]"


def get_text(demo: DemoClient, response_format: Json) -> str:
    text: str = demo.chat(response_format=response_format).json["choices"][0]["message"]["content"]
    return text


def test_free_json_is_an_object_with_the_usual_answer(demo: DemoClient) -> None:
    value = json.loads(get_text(demo, {"type": "json_object"}))
    assert value["answer"].startswith(DEMO_PREFIX)
    assert value["words"] == 2


def test_the_sample_satisfies_every_part_of_the_schema(demo: DemoClient) -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted: dict[str, Json] = {
        "s": {"type": "string"},
        "i": {"type": "integer", "minimum": 5},
        "x": {"type": "number", "exclusiveMinimum": 2},
        "b": {"type": "boolean"},
        "e": {"enum": ["red", "green"]},
        "c": {"const": 7},
        "l": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        "p": {"$ref": "#/$defs/person"},
        "o": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "t": {"type": ["null", "string"]},
        "short": {"type": "string", "maxLength": 3},
        "when": {"type": "string", "format": "date"},
    }
    schema = {"type": "object", "properties": wanted, "required": list(wanted), "$defs": {"person": person}}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(get_text(demo, response_format)) == {
        "s": DEMO_PREFIX, "i": 5, "x": 2.5, "b": True, "e": "red", "c": 7, "l": [1, 1], "p": {"name": DEMO_PREFIX}, "o": 1, "t": DEMO_PREFIX,
        "short": DEMO_PREFIX[:3], "when": "2026-01-31",
    }  # fmt: skip


def test_a_recursive_schema_gives_a_finite_sample(demo: DemoClient) -> None:
    schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert "next" in json.loads(get_text(demo, response_format))
    schema["required"] = ["next"]  # which nothing can satisfy
    assert "next" in json.loads(get_text(demo, response_format))


def test_an_invalid_schema_is_refused(demo: DemoClient) -> None:
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object", "properties": [1]}},
    }
    reply = demo.chat(response_format=response_format)
    assert (reply.status, "Invalid schema" in reply.json["message"]) == (400, True)
