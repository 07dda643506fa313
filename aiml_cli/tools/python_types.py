"""Convert Python type hints to JSON Schema, and JSON values to Python values; for `python_worker`."""

import contextlib
import dataclasses
import enum
import json
import types
import typing
from collections import abc
from datetime import date, datetime, time
from decimal import Decimal
from inspect import Parameter
from pathlib import Path
from uuid import UUID

MAX_DEPTH = 8  # of nested classes, which may refer to themselves
Schema = dict[str, typing.Any]
NONE = type(None)
JSON_TYPES: dict[typing.Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NONE: "null"}
# Classes that are a string in JSON, the `format` in the schema, and the conversion from the string.
TEXT_TYPES: dict[typing.Any, tuple[str, abc.Callable[[str], typing.Any]]] = {
    datetime: ("date-time", datetime.fromisoformat),
    date: ("date", date.fromisoformat),
    time: ("time", time.fromisoformat),
    UUID: ("uuid", UUID),
    Path: ("", Path),
}
ARRAY_TYPES = {list: list, set: set, frozenset: frozenset, abc.Sequence: list, abc.Iterable: list, abc.Collection: list}
MAPPING_TYPES = (dict, abc.Mapping, abc.MutableMapping)
ANY_TYPES = (typing.Any, object, Parameter.empty)


def describe_type(hint: typing.Any, depth: int = 0) -> Schema:
    """Return the JSON Schema of a type hint; raise TypeError for one that JSON cannot express."""
    hint, note = strip_annotations(hint)
    return {**_describe_plain(hint, depth), **({"description": note} if note else {})}


def _describe_plain(hint: typing.Any, depth: int) -> Schema:
    if hint in ANY_TYPES or depth > MAX_DEPTH:
        return {}
    if hint is None or hint in JSON_TYPES:
        return {"type": JSON_TYPES[NONE if hint is None else hint]}
    if hint is Decimal:
        return {"type": "number"}
    if hint in TEXT_TYPES:
        return {"type": "string", **({"format": TEXT_TYPES[hint][0]} if TEXT_TYPES[hint][0] else {})}
    if is_enum(hint):
        return describe_values(list(enum_values(hint)))
    if (fields := find_fields(hint)) is not None:
        return describe_fields(fields, depth + 1)
    return _describe_generic(hint, depth + 1)


def _describe_generic(hint: typing.Any, depth: int) -> Schema:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return describe_values([value.value if isinstance(value, enum.Enum) else value for value in arguments])
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [describe_type(each, depth) for each in arguments]}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [describe_type(each, depth) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is tuple or origin in ARRAY_TYPES:
        return {"type": "array", **({"items": describe_type(arguments[0], depth)} if arguments else {})}
    if origin in MAPPING_TYPES:
        if arguments and strip_annotations(arguments[0])[0] not in (str, *ANY_TYPES):
            raise TypeError("the keys of a JSON object must be strings")
        return {"type": "object", **({"additionalProperties": describe_type(arguments[1], depth)} if arguments else {})}
    raise TypeError(f"{getattr(hint, '__name__', hint)} is not a type that JSON can express")


def describe_values(values: list[typing.Any]) -> Schema:
    """Return the schema of a few values, with their type if they have one in common."""
    kinds = {JSON_TYPES.get(type(value)) for value in values}
    if None in kinds:
        raise TypeError("its values are not all strings, numbers or booleans")
    return {"enum": values} if len(kinds) > 1 else {"type": kinds.pop(), "enum": values}


def describe_fields(fields: dict[str, tuple[typing.Any, bool]], depth: int) -> Schema:
    """Return the schema of an object; each field has a type hint, and is required or not."""
    properties = {name: describe_type(hint, depth) for name, (hint, _) in fields.items()}
    required = [name for name, (_, is_required) in fields.items() if is_required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def strip_annotations(hint: typing.Any) -> tuple[typing.Any, str]:
    """Return the type in a hint, and the text in its `Annotated`, or ""."""
    note = ""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            note = note or next(filter(None, map(read_note, hint.__metadata__)), "")
            hint = hint.__origin__
        elif typing.get_origin(hint) in (typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # `type City = str`, since Python 3.12
            hint = hint.__value__
        elif isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or typing.Any
        else:
            return hint, note


def read_note(value: typing.Any) -> str:
    """Return the text of an annotation: a str, or an object with a description, such as pydantic's Field."""
    text = value if isinstance(value, str) else getattr(value, "description", getattr(value, "documentation", ""))
    return text if isinstance(text, str) else ""


def is_enum(hint: typing.Any) -> bool:
    """True for an Enum class."""
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def enum_values(hint: type[enum.Enum]) -> dict[typing.Any, enum.Enum]:
    """Return the members by their JSON form: their values, or their names if JSON cannot express the values."""
    members = list(hint)
    has_values = all(type(member.value) in JSON_TYPES for member in members)
    return {member.value if has_values else member.name: member for member in members}


def find_fields(hint: typing.Any) -> dict[str, tuple[typing.Any, bool]] | None:
    """Return the type hint of each field of a dataclass, a TypedDict or a NamedTuple, and whether it is required."""
    if not isinstance(hint, type):
        return None
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        missing = dataclasses.MISSING
        fields = [each for each in dataclasses.fields(hint) if each.init]
        return {
            each.name: (hints[each.name], each.default is missing and each.default_factory is missing)
            for each in fields
        }
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return {name: (each, is_required_key(hint, name, each)) for name, each in hints.items()}
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint, include_extras=True)
        return {
            name: (hints.get(name, typing.Any), name not in vars(hint)["_field_defaults"])
            for name in vars(hint)["_fields"]
        }
    return None


def is_required_key(hint: type, name: str, annotation: typing.Any) -> bool:
    """True if a key of a TypedDict is required; Python does not see `Required` in annotations that are strings."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in vars(hint)["__required_keys__"]


def convert(hint: typing.Any, value: typing.Any, depth: int = 0) -> typing.Any:
    """Convert a JSON value to the type of its hint; raise TypeError or ValueError if it does not fit."""
    hint, _ = strip_annotations(hint)
    if hint in ANY_TYPES or depth > MAX_DEPTH:
        return value
    if hint is None or hint in JSON_TYPES:
        return convert_scalar(NONE if hint is None else hint, value)
    if hint is Decimal:
        return Decimal(str(value))
    if hint in TEXT_TYPES:
        return TEXT_TYPES[hint][1](convert_scalar(str, value))
    if is_enum(hint):
        return convert_member(enum_values(hint), value)
    if (fields := find_fields(hint)) is not None:
        given = {name: convert(fields[name][0], item, depth + 1) for name, item in require(dict, value).items()}
        return hint(**given)
    return _convert_generic(hint, value, depth + 1)


def _convert_generic(hint: typing.Any, value: typing.Any, depth: int) -> typing.Any:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return convert_member({each.value if isinstance(each, enum.Enum) else each: each for each in arguments}, value)
    if origin in (typing.Union, types.UnionType):
        return convert_union(arguments, value, depth)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return tuple(convert(each, item, depth) for each, item in zip(arguments, require(list, value), strict=True))
    if origin is tuple or origin in ARRAY_TYPES:
        items = [convert(arguments[0], item, depth) if arguments else item for item in require(list, value)]
        return tuple(items) if origin is tuple else ARRAY_TYPES[origin](items)
    if arguments:
        return {name: convert(arguments[1], item, depth) for name, item in require(dict, value).items()}
    return require(dict, value)


def convert_scalar(kind: type, value: typing.Any) -> typing.Any:
    """Return a scalar of a type; an integer may be written as 3.0, and a float as 3."""
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    return require(kind, value)


def convert_member(members: dict[typing.Any, typing.Any], value: typing.Any) -> typing.Any:
    """Return the member with a value; True is not 1."""
    for key, member in members.items():
        if key == value and isinstance(key, bool) == isinstance(value, bool):
            return member
    raise ValueError(f"{value!r} is not one of {list(members)}")


def convert_union(hints: abc.Sequence[typing.Any], value: typing.Any, depth: int) -> typing.Any:
    """Convert a value to the first type that it fits; return it unchanged if it already has one of them."""
    if type(value) in hints:
        return value
    for hint in hints:
        with contextlib.suppress(TypeError, ValueError, ArithmeticError, KeyError):
            return convert(hint, value, depth)
    raise TypeError(f"{value!r} does not match any of its types")


def require(kind: type, value: typing.Any) -> typing.Any:
    """Return the value; raise TypeError if it is not of this type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


def to_text(result: typing.Any) -> str:
    """Return a result as text: a str unchanged, other values as JSON, or as their repr if JSON cannot express them."""
    result = result.value if isinstance(result, enum.Enum) else result
    if isinstance(result, str):
        return str(result)
    try:
        return json.dumps(result, ensure_ascii=False, default=to_json)
    except (TypeError, ValueError, RecursionError):
        return repr(result)


def to_json(value: typing.Any) -> typing.Any:
    """Return a value in a form that JSON can express; raise TypeError if there is none."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, Path | UUID | Decimal):
        return str(value)
    if isinstance(value, set | frozenset | abc.Mapping | abc.KeysView | abc.ValuesView):
        return dict(value) if isinstance(value, abc.Mapping) else list(value)
    raise TypeError(type(value).__name__)
