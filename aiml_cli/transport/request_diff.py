"""List how a request differs from a recorded one, property by property; pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix

from aiml_cli.api.json_values import Json
from aiml_cli.transport.recording_file import RecordedRequest

MAX_DIFFERENCES, MAX_LENGTH, CONTEXT_LENGTH = 8, 60, 24
TEXT_WEIGHT = 4
MAX_CANDIDATES = 200  # a batch may miss ten thousand times
_MISSING = object()


def find_nearest(request: RecordedRequest, recorded: Sequence[RecordedRequest]) -> RecordedRequest | None:
    """Return the recorded request that differs least; None if there is none with the same method and path."""
    candidates = [other for other in recorded if other[:2] == request[:2]][:MAX_CANDIDATES]
    new = _flatten_body(request)
    return min(candidates, key=lambda other: _measure_distance(_flatten_body(other), new), default=None)


def list_differences(recorded: RecordedRequest, request: RecordedRequest) -> list[str]:
    """Return the first few differences, a line each."""
    old, new = _flatten_body(recorded), _flatten_body(request)
    names = _find_differences(old, new)
    lines = [_describe(name, old.get(name, _MISSING), new.get(name, _MISSING)) for name in names[:MAX_DIFFERENCES]]
    more = len(names) - MAX_DIFFERENCES
    return [*lines, f"and {more} more"] if more > 0 else lines


def _flatten_body(request: RecordedRequest) -> dict[str, Json]:
    return dict(_flatten(request.body["json"], "")) if "json" in request.body else {"the body": request.body}


def _flatten(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flatten(item, f"{path}[{index}]")
    else:
        yield path or "the body", value


def _find_differences(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    return [name for name in {**new, **old} if not _is_same(old.get(name, _MISSING), new.get(name, _MISSING))]


def _is_same(one: Json, other: Json) -> bool:
    """Compare leaves of JSON, where true is not 1."""
    return one is other or (type(one) is type(other) and bool(one == other))


def _measure_distance(old: Mapping[str, Json], new: Mapping[str, Json]) -> float:
    return sum(_weigh(old.get(name), new.get(name)) for name in _find_differences(old, new))


def _weigh(one: Json, other: Json) -> float:
    """Weigh a difference: another text is another prompt, another setting may belong to the same one."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return 1
    return TEXT_WEIGHT * (1 - _count_common(one, other) / (max(len(one), len(other)) or 1))


def _count_common(one: str, other: str) -> int:
    return len(commonprefix((one, other)))  # noqa: RUF071 - characters of texts, not of paths


def _describe(name: str, old: Json, new: Json) -> str:
    if old is _MISSING:
        return f"{name}: {_shorten(new)} is requested but was not recorded"
    if new is _MISSING:
        return f"{name}: {_shorten(old)} was recorded but is not requested"
    start = max(0, _count_common(old, new) - CONTEXT_LENGTH) if isinstance(old, str) and isinstance(new, str) else 0
    return f"{name}: {_shorten(old, start)} was recorded, {_shorten(new, start)} is requested"


def _shorten(value: Json, start: int = 0) -> str:
    """Write a value as JSON; of a long text only the part from `start`, where it begins to differ."""
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
    start = start if len(value) > MAX_LENGTH else 0
    part = value[start : start + MAX_LENGTH]
    before, after = "…" if start else "", "…" if start + MAX_LENGTH < len(value) else ""
    return json.dumps(f"{before}{part}{after}", ensure_ascii=False)
