"""The format that an answer must have: request it, and check the answer."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.schema import load
from aiml_cli.schema.load import LoadedSchema, load_schema
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source

JSON_ONLY = "Answer with JSON only: no other words, and no code fence."
Check = Callable[[Any], str]
FENCE = "```"
MAX_DIGITS = 4300  # Python parses longer numbers in quadratic time
BOM = "\ufeff"
MAX_MESSAGE_CHARS = 300
DATA_KEYWORDS = ("enum", "const", "default", "examples")
TYPE_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """The format that an answer must have; each check returns the problem with a value, or "".

    If the model does not support schemas (`is_native` False), the schema is sent in the system text.
    """

    checks: tuple[Check, ...]
    response_format: Mapping[str, Any] | None = None
    is_native: bool = True

    def apply(self, options: Options) -> Options:
        """Return the options with the response format, or with the schema in the system text."""
        if self.response_format is None:
            return options
        if self.is_native:
            return replace(options, response_format=self.response_format)
        schema = json.dumps(self.response_format["json_schema"]["schema"], ensure_ascii=False)
        instruction = f"{JSON_ONLY} It must meet this JSON Schema:\n{schema}"
        return replace(options, system=f"{options.system}\n\n{instruction}" if options.system else instruction)

    def find_error(self, text: str) -> str:
        """Return the problem with an answer in one sentence, or "" if it is valid."""
        try:
            value = parse_answer_json(text)
        except ValueError as error:
            return f"the answer is not JSON: {error}"
        return next(filter(None, (check(value) for check in self.checks)), "")


def build_response_spec(settings: Settings, *, native: bool) -> ResponseSpec:
    """Build the spec of --schema, --json-object and --items; raise UsageError for an invalid schema."""
    options = settings.options
    item_checks = (_check_items,) if options.items else ()
    if options.schema:
        loaded = load_schema(options.schema, is_typed=settings.sources["schema"] in (Source.FLAG, Source.SET))
        if options.items and loaded.is_shorthand:
            loaded = _wrap_in_array(loaded)
        json_schema = {"name": loaded.name, "schema": loaded.schema, "strict": loaded.strict}
        response_format = {"type": "json_schema", "json_schema": json_schema}
        return ResponseSpec((_make_schema_check(loaded), *item_checks), response_format, native)
    if options.json_object:
        return ResponseSpec((_check_object, *item_checks), {"type": "json_object"})
    return ResponseSpec(item_checks)


def _wrap_in_array(loaded: LoadedSchema) -> LoadedSchema:
    """Return the schema of an array of these objects, inside an object because servers require one."""
    items = {"type": "array", "items": loaded.schema}
    return replace(loaded, schema=load.build_strict_object({"items": items}))


def _make_schema_check(loaded: LoadedSchema) -> Check:
    check = make_checker(loaded.schema)

    def check_schema(value: Any) -> str:
        error = check(value)
        return error and f"the answer does not meet the schema: {error}"

    return check_schema


def _check_object(value: Any) -> str:
    return "" if isinstance(value, dict) else f"the answer is not a JSON object but {json_type(value)}"


def _check_items(value: Any) -> str:
    if isinstance(value, list):
        return ""
    arrays = [name for name, inner in value.items() if isinstance(inner, list)] if isinstance(value, dict) else []
    if len(arrays) > 1:
        return f"the answer has several arrays, {', '.join(map(repr, arrays))}; the elements of the first are printed"
    return "" if arrays else "the answer has no array at the top level"


def make_checker(schema: dict[str, Any]) -> Check:
    """Return a function that returns the problem with a value, or ""; raise UsageError for an invalid schema."""
    # jsonschema takes 100 ms; most requests have no schema.
    from jsonschema import Draft202012Validator, SchemaError, exceptions, validators
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    validator_class = validators.validator_for(schema, default=Draft202012Validator)
    # With the default registry, a reference to a URL would be fetched.
    validator = validator_class(schema, registry=EMPTY_REGISTRY)
    try:
        validator_class.check_schema(schema)
        for reference in _find_references(schema):
            validator.evolve(schema=reference).is_valid(None)
    except SchemaError as error:
        raise UsageError(f"--schema: not a valid JSON Schema: {error.json_path}: {_shorten(error.message)}") from None
    except Unresolvable as error:
        raise UsageError(f"--schema: a reference cannot be resolved: {_shorten(str(error))}") from None
    except RecursionError:
        raise UsageError("--schema: the schema refers to itself endlessly") from None

    def check(value: Any) -> str:
        try:
            mismatch = exceptions.best_match(validator.iter_errors(value))
        except Unresolvable as error:
            return f"a reference in the schema cannot be resolved: {_shorten(str(error))}"
        except RecursionError:
            return "it is nested too deeply to check"
        except OverflowError:
            return "it has a number that is too large to check"
        return f"{mismatch.json_path}: {_shorten(mismatch.message)}" if mismatch else ""

    return check


def _find_references(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every reference in a schema, except in subschemas with an `$id`, which have their own base URL."""
    if isinstance(schema, list):
        for part in schema:
            yield from _find_references(part)
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield {"$ref": schema["$ref"]}
        for keyword, part in schema.items():
            if keyword not in DATA_KEYWORDS and not (isinstance(part, dict) and "$id" in part):
                yield from _find_references(part)


def parse_answer_json(text: str) -> Any:
    """Parse the JSON of an answer, with or without a code fence; raise ValueError with line and column."""
    text = _strip_fence(text.removeprefix(BOM)).removeprefix(BOM)
    try:
        return json.loads(text, parse_constant=_reject_constant, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _strip_fence(text: str) -> str:
    """Return the content of the code fence if the text is one; linear, unlike a pattern with two repetitions."""
    first, newline, rest = text.strip().partition("\n")
    if newline and first.startswith(FENCE) and "`" not in first[len(FENCE) :] and rest.endswith(FENCE):
        return rest.removesuffix(FENCE)
    return text


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits is too long")
    return int(digits)


def json_type(value: Any) -> str:
    """Return the name of a value's JSON type, with its article."""
    return TYPE_NAMES.get(type(value), "a number")


def _reject_constant(word: str) -> Any:
    raise ValueError(f"{word} is not valid JSON")


def _shorten(text: str) -> str:
    """Cut out the middle of a message that quotes a long answer."""
    half = MAX_MESSAGE_CHARS // 2
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:half]} … {text[-half:]}"
