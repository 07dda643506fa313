"""Hold a request against the table of options, as the gateway holds it against its specification."""

from collections.abc import Callable, Iterator, Mapping

from aiml_cli.demo.body_validation import chat_form, responses_form
from aiml_cli.demo.errors import Refused
from aiml_cli.demo.value_checks import MISSING, Issues, Json, one_of, received, typed, within
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.value_types import (
    JSON,
    JSON_OR_WORD,
    PLACES,
    RESULTS,
    SWITCH,
    TEXT,
    VARIABLES,
    Kind,
    integer,
    number,
    words,
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
    words().name: ("array",),
}
_FORMS: Mapping[str, Callable[[Mapping[str, Json]], Issues]] = {"chat": chat_form, "responses": responses_form}


def check(body: Mapping[str, Json], endpoint: str) -> None:
    """Raise Refused naming every property that is wrong; properties that nobody knows are ignored."""
    # The forms look into values whose types the table has found right.
    issues = list(_by_table(body, endpoint)) or list(_FORMS[endpoint](body))
    if issues:
        raise Refused(400, "\n".join([TITLE, *dict.fromkeys(issues)]))


def _by_table(body: Mapping[str, Json], endpoint: str) -> Issues:
    yield from typed("model", body.get("model", MISSING), "string")
    for row in ROWS.values():
        place = row.wire.get(endpoint)
        if place:
            yield from _at(body, place.path, row.kind_on(endpoint), _NULLABLE[endpoint])


def _at(body: Mapping[str, Json], path: str, kind: Kind[Json], nullable: set[str]) -> Issues:
    """Judge the value at a dotted path, and what lies on the way to it."""
    value: Json = body
    steps = list(_steps(path))
    for step in steps:
        value = value.get(step.rpartition(".")[2], MISSING)
        if value is MISSING or (value is None and step in nullable):
            return
        if step != path and received(value) != "object":
            yield from typed(step, value, "object")
            return
    yield from _judged(path, value, kind)


def _steps(path: str) -> Iterator[str]:
    """Give every dotted beginning of a path: `reasoning`, `reasoning.effort`."""
    names = path.split(".")
    return (".".join(names[: depth + 1]) for depth in range(len(names)))


def types_of(kind: Kind[Json]) -> tuple[str, ...]:
    """Name the JSON types that a kind's values have; none when the kind is new here."""
    if kind.name.startswith((number().name, integer().name)):
        return ("number",)
    if kind.closed and not kind.switch:
        return ("string",)
    return _TYPES.get(kind.name, ())


def _judged(path: str, value: Json, kind: Kind[Json]) -> Issues:
    expected = types_of(kind)
    wrong = list(typed(path, value, *expected)) if expected else []
    yield from wrong
    if wrong:
        return
    if received(value) == "number":
        yield from _number(path, value, kind)
    if received(value) == "array" and kind.many:
        for index, each in enumerate(value):
            yield from typed(f"{path}.{index}", each, "string")
    if kind.closed and not kind.switch:
        yield from one_of(path, value, *kind.choices)


def _number(path: str, value: float, kind: Kind[Json]) -> Issues:
    outside = list(within(path, value, *kind.limits))
    yield from outside
    if not outside:
        try:
            # 2.0 is a whole number in JSON.
            kind.parse(str(int(value) if isinstance(value, float) and value.is_integer() else value))
        except ValueError:
            yield f"{path}: Expected integer, received float"
