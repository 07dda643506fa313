"""Say how what is asked differs from what was recorded, property by property; pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix
from typing import Any

from aiml_cli.transport.recording_file import RecordedRequest

Json = Any
MOST_SHOWN, LONGEST, BEFORE = 8, 60, 24
WEIGHT_OF_TEXT = 4
MOST_LOOKED_AT = 200  # a batch may miss ten thousand times
_NOTHING = object()


def find_nearest(asked: RecordedRequest, recorded: Sequence[RecordedRequest]) -> int | None:
    """Give the place of the recorded request that differs least; None where none goes to the same path."""
    same = [place for place, each in enumerate(recorded) if each[:2] == asked[:2]][:MOST_LOOKED_AT]
    now = _flat_body(asked)
    return min(same, key=lambda place: _distance(_flat_body(recorded[place]), now), default=None)


def differences(recorded: RecordedRequest, asked: RecordedRequest) -> list[str]:
    """List in words what differs, a line each, and few of them."""
    then, now = _flat_body(recorded), _flat_body(asked)
    lines = [_told(name, then.get(name, _NOTHING), now.get(name, _NOTHING)) for name in _differing(then, now)]
    more = len(lines) - MOST_SHOWN
    return [*lines[:MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _flat_body(asked: RecordedRequest) -> dict[str, Json]:
    return dict(_flat(asked.body["json"], "")) if "json" in asked.body else {"the body": asked.body}


def _flat(value: Json, name: str) -> Iterator[tuple[str, Json]]:
    """Give what stands at the ends of a JSON value, each with its path."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for place, each in enumerate(value):
            yield from _flat(each, f"{name}[{place}]")
    else:
        yield name or "the body", value


def _differing(then: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    return [name for name in {**now, **then} if not _same(then.get(name, _NOTHING), now.get(name, _NOTHING))]


def _same(one: Json, other: Json) -> bool:
    """Compare ends of JSON: true is not 1."""
    return one is other or (type(one) is type(other) and bool(one == other))


def _distance(then: Mapping[str, Json], now: Mapping[str, Json]) -> float:
    pairs = ((then.get(name), now.get(name)) for name in _differing(then, now))
    return sum(_weight(one, other) for one, other in pairs)


def _weight(one: Json, other: Json) -> float:
    """Weigh a difference: another text is another question, another setting rather the same one."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return 1
    return WEIGHT_OF_TEXT * (1 - _begin_alike(one, other) / (max(len(one), len(other)) or 1))


def _begin_alike(one: str, other: str) -> int:
    """Count the characters at the beginning of two texts that are the same."""
    return len(commonprefix((one, other)))  # noqa: RUF071 - no paths, characters are meant


def _told(name: str, then: Json, now: Json) -> str:
    if then is _NOTHING:
        return f"{name}: {_shown(now)} is asked, and was not recorded"
    if now is _NOTHING:
        return f"{name}: {_shown(then)} was recorded, and is not asked"
    start = max(0, _begin_alike(then, now) - BEFORE) if isinstance(then, str) and isinstance(now, str) else 0
    return f"{name}: {_shown(then, start)} was recorded, {_shown(now, start)} is asked"


def _shown(value: Json, start: int = 0) -> str:
    """Write a value in JSON, of a long one the part where it begins to differ."""
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    start = start if len(value) > LONGEST else 0
    part = value[start : start + LONGEST]
    before, after = "…" if start else "", "…" if start + LONGEST < len(value) else ""
    return json.dumps(f"{before}{part}{after}", ensure_ascii=False)
