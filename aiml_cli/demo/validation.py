"""Hold a request against the table of options, as the gateway holds it against its specification."""

from collections.abc import Callable, Iterator, Mapping

from aiml_cli.demo.body_validation import (
    MISSING,
    Issues,
    Json,
    check_chat_body,
    check_choice,
    check_range,
    check_responses_body,
    check_type,
    json_type,
)
from aiml_cli.demo.errors import GatewayError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.value_types import (
    JSON,
    JSON_OR_WORD,
    PLACES,
    RESULTS,
    SWITCH,
    TEXT,
    VARIABLES,
    ValueType,
    integer,
    number,
    text_list,
)

TITLE = "Body validation error"

# Where null is as good as nothing: a fact of each specification that the table has no word for.
_NULLABLE = {
    "chat": {"n", "logprobs", "top_logprobs"},
    "responses": {
        "include", "instructions", "parallel_tool_calls", "previous_response_id", "prompt", "prompt.variables",
        "prompt.version", "reasoning", "reasoning.effort", "reasoning.summary", "store", "stream", "temperature",
    },
}  # fmt: skip
_TYPES: Mapping[str, tuple[str, ...]] = {
    SWITCH.name: ("boolean",),
    TEXT.name: ("string",),
    JSON.name: ("object", "array"),
    JSON_OR_WORD.name: ("string", "object"),
    VARIABLES.name: ("object",),
    RESULTS.name: ("object",),
    PLACES.name: ("object",),
    text_list().name: ("array",),
}
_FORMS: Mapping[str, Callable[[Mapping[str, Json]], Issues]] = {
    "chat": check_chat_body,
    "responses": check_responses_body,
}


def check_body(body: Mapping[str, Json], endpoint: str) -> None:
    """Raise Refused naming every property that is wrong; properties that nobody knows are ignored."""
    # The forms look into values whose types the table has found right.
    issues = list(_by_table(body, endpoint)) or list(_FORMS[endpoint](body))
    if issues:
        raise GatewayError(400, "\n".join([TITLE, *dict.fromkeys(issues)]))


def _by_table(body: Mapping[str, Json], endpoint: str) -> Issues:
    yield from check_type("model", body.get("model", MISSING), "string")
    for row in ROWS.values():
        place = row.body_paths.get(endpoint)
        if place:
            yield from _at(body, place.path, row.value_type_on(endpoint), _NULLABLE[endpoint])


def _at(body: Mapping[str, Json], path: str, kind: ValueType[Json], nullable: set[str]) -> Issues:
    """Judge the value at a dotted path, and what lies on the way to it."""
    value: Json = body
    steps = list(_steps(path))
    for step in steps:
        value = value.get(step.rpartition(".")[2], MISSING)
        if value is MISSING or (value is None and step in nullable):
            return
        if step != path and json_type(value) != "object":
            yield from check_type(step, value, "object")
            return
    yield from _judged(path, value, kind)


def _steps(path: str) -> Iterator[str]:
    """Give every dotted beginning of a path: `reasoning`, `reasoning.effort`."""
    names = path.split(".")
    return (".".join(names[: depth + 1]) for depth in range(len(names)))


def json_types(kind: ValueType[Json]) -> tuple[str, ...]:
    """Name the JSON types that a kind's values have; none when the kind is new here."""
    if kind.name.startswith((number().name, integer().name)):
        return ("number",)
    if kind.is_closed and not kind.is_switch:
        return ("string",)
    return _TYPES.get(kind.name, ())


def _judged(path: str, value: Json, kind: ValueType[Json]) -> Issues:
    expected = json_types(kind)
    wrong = list(check_type(path, value, *expected)) if expected else []
    yield from wrong
    if wrong:
        return
    if json_type(value) == "number":
        yield from _number(path, value, kind)
    if json_type(value) == "array" and kind.is_list:
        for index, each in enumerate(value):
            yield from check_type(f"{path}.{index}", each, "string")
    if kind.is_closed and not kind.is_switch:
        yield from check_choice(path, value, *kind.choices)


def _number(path: str, value: float, kind: ValueType[Json]) -> Issues:
    outside = list(check_range(path, value, *kind.limits))
    yield from outside
    if not outside:
        try:
            # 2.0 is a whole number in JSON.
            kind.parse(str(int(value) if isinstance(value, float) and value.is_integer() else value))
        except ValueError:
            yield f"{path}: Expected integer, received float"
