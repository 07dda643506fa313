"""Merge the text that a response repeats in deltas, `.done` events, items and its final object, to show it once."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from aiml_cli.api.json_values import (
    MalformedError,
    as_dict,
    as_list,
    as_str,
    require_dict,
    require_list,
    require_str,
)
from aiml_cli.api.stream_events import PartialText, ReasoningDelta, RefusalDelta, TextDelta

MAX_ITEMS = 100_000
# How many items without a known id or index are compared by their text: enough in practice, and linear.
MAX_COMPARED = 64
TextClass = type[TextDelta] | type[RefusalDelta] | type[ReasoningDelta]
Delta = TextDelta | RefusalDelta | ReasoningDelta


class Position(NamedTuple):
    """The position of text in the output. Servers leave out or repeat any of its fields; `part` is any name of a part.

    `kind` is the type of the item: message or reasoning.
    """

    kind: str
    item_id: str = ""
    output_index: int | None = None
    part: tuple[str, int] | None = None


class WholePart(NamedTuple):
    """A complete part of an item."""

    delta: TextClass
    text: str
    part: tuple[str, int]
    logprobs: Any = None


class Addition(NamedTuple):
    """Text to show that no delta contained, and the log probabilities of its part if none were shown."""

    delta: Delta
    logprobs: Any = None


class Level(IntEnum):
    """What was sent as complete: a part, an item or the response."""

    PART = 1
    ITEM = 2
    RESPONSE = 3


class _Part:
    def __init__(self, delta: TextClass, name: tuple[str, int] | None, paragraph: int) -> None:
        self.delta, self.name, self.paragraph = delta, name, paragraph
        self.text = PartialText()
        # The types of the events with the complete part; empty while deltas may follow.
        self.done_by: set[str] = set()


class _Item:
    """An item of the output. `level` is the highest level at which it was sent as complete; 0 before that."""

    def __init__(self, position: Position) -> None:
        self.id, self.index = position.item_id, position.output_index
        self.parts: dict[TextClass, list[_Part]] = {}
        self.by_name: dict[tuple[TextClass, tuple[str, int]], _Part] = {}
        # The text in the event that began the item; deltas may repeat or continue it.
        self.preview: Sequence[WholePart] = ()
        self.latest_name: tuple[TextClass | None, tuple[str, int] | None] = (None, None)
        self.level = 0

    def is_past(self, delta: TextClass | None, name: tuple[str, int] | None) -> bool:
        """True if a part with this name cannot follow the latest one, so that another item begins."""
        latest_delta, latest = self.latest_name
        if name is None or latest is None or name[0] != latest[0]:
            return False
        return name[1] < latest[1] or (name == latest and delta not in (None, latest_delta))

    @property
    def is_anonymous(self) -> bool:
        return not self.id and self.index is None

    def get_latest(self, delta: TextClass) -> _Part | None:
        parts = self.parts.get(delta)
        return parts[-1] if parts else None

    def differs_from(self, position: Position) -> bool:
        """True if both the id and the index are known and differ from those of the position."""
        is_known = self.id and position.item_id and self.index is not None and position.output_index is not None
        return bool(is_known) and self.id != position.item_id and self.index != position.output_index

    def has_text(self) -> bool:
        return any(part.text for parts in self.parts.values() for part in parts[:1])

    def fits(self, wholes: Sequence[WholePart]) -> bool:
        """True if the item may have these complete parts: per class, its text is a prefix of theirs or vice versa."""
        for delta, parts in self.parts.items():
            whole = "".join(whole.text for whole in wholes if whole.delta is delta)
            if parts[0].text and not (whole and parts[0].text.fits(whole)):
                return False
        return True


class OutputMerger:
    """The messages and the reasoning of a response so far.

    An item is found by its id, then by its index, then by its order and its text. Text that was shown cannot change, so
    a complete text only adds its missing end.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, _Item] = {}
        self._by_index: dict[tuple[str, int], _Item] = {}
        self._latest_item: dict[str, _Item] = {}
        self._items: list[_Item] = []
        # For each level, the items that were not yet sent as complete, in order.
        self._open: dict[tuple[Level, str], dict[int, _Item]] = {}
        self._count = self._paragraphs = 0
        self.latest: tuple[Any, ...] = ()
        self._latest_part = _Part(TextDelta, None, 0)

    def add(self, delta: TextClass, text: str, position: Position, *, has_logprobs: bool = False) -> list[Delta]:
        """Return the deltas to show for a delta of the server."""
        shown: list[Delta] = []
        if (delta, position) != self.latest:
            item = self._find_item(position, delta)
            shown = self._end_preview(item, delta, text)
            item.latest_name = (delta, position.part)
            self._latest_part = self._find_open_part(item, delta, position.part)
            self.latest = (delta, position)
        part = self._latest_part
        if has_logprobs:
            part.text.has_logprobs = True
        return [*shown, _add(delta, part, text)] if text else shown

    @property
    def latest_text(self) -> PartialText:
        """Return the text that the latest delta belongs to; `latest` has the class and position of that delta."""
        return self._latest_part.text

    def begin_item(self, position: Position, wholes: Sequence[WholePart]) -> None:
        """Record an item that begins, with the text that it may already have."""
        self.latest = ()
        item = self._by_id.get(position.item_id) or self._create(position)
        if not item.has_text():
            item.preview = [whole for whole in wholes if whole.text]

    def begin_part(self, position: Position, wholes: Sequence[WholePart]) -> None:
        """Record a part that begins: later deltas that do not name their part belong to it."""
        self.latest = ()
        item = self._find_item(position)
        for parts in item.parts.values():
            if position.part is None or parts[-1].name is None:
                parts[-1].done_by.add("next")
        item.preview = [whole for whole in wholes if whole.text] or item.preview

    def _end_preview(self, item: _Item, delta: TextClass, text: str) -> list[Delta]:
        """Return the text that an item began with if the delta does not repeat it."""
        preview, item.preview = item.preview, ()
        if "".join(whole.text for whole in preview if whole.delta is delta).startswith(text):
            return []
        return [_add(whole.delta, self._find_open_part(item, whole.delta, whole.part), whole.text) for whole in preview]

    def complete_part(self, position: Position, whole: WholePart, source: str) -> Iterator[Addition]:
        """Yield what a complete part adds; `source` is the type of its event, which is sent once per part."""
        self.latest = ()
        latest = self._latest_item.get(position.kind)
        if latest and position == Position(position.kind) and latest.level >= Level.ITEM and latest.fits([whole]):
            return  # the complete item, which came before, contains the part
        item = self._find_item(position, whole.delta)
        item.latest_name = (whole.delta, position.part)
        part = item.by_name.get((whole.delta, position.part)) if position.part else item.get_latest(whole.delta)
        is_other = (
            part and part.done_by and not (part.text.fits(whole.text) and (position.part or source not in part.done_by))
        )
        if part is None or is_other:
            part = self._find_open_part(item, whole.delta, position.part)
        part.done_by.add(source)
        item.preview = ()
        item.level = max(item.level, Level.PART)
        yield from _complete(part, whole)

    def complete_item(self, position: Position, wholes: Sequence[WholePart]) -> Iterator[Addition]:
        """Yield what a complete item adds."""
        item = self._find_exact(position, wholes, Level.ITEM) or self._find_similar(position, wholes, Level.ITEM)
        yield from self._complete(item or self._create(position), position, wholes, Level.ITEM)

    def complete_response(self, items: Sequence[tuple[Position, Sequence[WholePart]]]) -> Iterator[Addition]:
        """Yield what the complete response adds."""
        all_wholes = [whole for _, wholes in items for whole in wholes]
        rests = self._subtract_shown(all_wholes)
        if rests is not None and all_wholes:
            for item in self._items:
                item.preview = ()
            yield from rests
            return
        found: dict[int, _Item] = {}
        for number, (position, wholes) in enumerate(items):
            if exact := self._find_exact(position, wholes, Level.RESPONSE):
                self._claim(exact, position.kind, Level.RESPONSE)
                found[number] = exact
        for number, (position, wholes) in enumerate(items):
            match = found.get(number) or self._find_similar(position, wholes, Level.RESPONSE)
            yield from self._complete(match or self._create(position), position, wholes, Level.RESPONSE)

    def _subtract_shown(self, wholes: Sequence[WholePart]) -> list[Addition] | None:
        """Return the parts without the text that was shown; None if the joined parts do not begin with that text."""
        shown = self._join_shown()
        starts = dict.fromkeys(shown, 0)
        additions: list[Addition] = []
        for whole in wholes:
            text, start = shown.get(whole.delta, ""), starts.get(whole.delta, 0)
            if text.startswith(whole.text, start):
                starts[whole.delta] = start + len(whole.text)
                continue
            known = text[start:]
            if not whole.text.startswith(known):
                return None
            starts[whole.delta] = len(text)
            self._paragraphs += whole.delta is ReasoningDelta and not known
            rest = _build_delta(whole.delta, whole.text[len(known) :], _Part(whole.delta, None, self._paragraphs))
            additions.append(Addition(rest, None if known else whole.logprobs))
        return additions if all(starts[delta] == len(text) for delta, text in shown.items()) else None

    def _join_shown(self) -> dict[TextClass, str]:
        """Return all text so far by its class, in the order of the items."""
        texts: dict[TextClass, list[str]] = {}
        for item in self._items:
            for delta, parts in item.parts.items():
                texts.setdefault(delta, []).extend(part.text.read() for part in parts)
        return {delta: "".join(pieces) for delta, pieces in texts.items()}

    def finish(self) -> Iterator[Addition]:
        """Yield the text that an item began with, for items that got no other text."""
        for item in self._items:
            for whole in item.preview:
                yield from _complete(self._find_open_part(item, whole.delta, whole.part), whole)

    def _complete(
        self, item: _Item, position: Position, wholes: Sequence[WholePart], level: Level
    ) -> Iterator[Addition]:
        self.latest = ()
        self._name(item, position)
        self._claim(item, position.kind, level)
        item.preview = ()
        rests: dict[TextClass, str] = {}  # what follows if a part contains the text of several complete parts
        used: set[int] = set()
        for whole in wholes:
            rest = rests.pop(whole.delta, "")
            if rest and rest.startswith(whole.text):
                rests[whole.delta] = rest[len(whole.text) :]
            elif rest.strip() and whole.text.startswith(rest):
                yield Addition(_add(whole.delta, item.parts[whole.delta][-1], whole.text[len(rest) :]))
            else:
                part = self._choose_part(item, whole, used)
                used.add(id(part))
                part.done_by.add("item")
                rests[whole.delta] = part.text.rest_after(whole.text)
                yield from _complete(part, whole)

    def _choose_part(self, item: _Item, whole: WholePart, used: set[int]) -> _Part:
        """Return the part of the same name, else the first unused one, else a new one."""
        named = item.by_name.get((whole.delta, whole.part))
        if named and id(named) not in used:
            return named
        parts = item.parts.get(whole.delta, [])
        unused = next((part for part in parts[-MAX_COMPARED:] if id(part) not in used), None)
        return unused or self._create_part(item, whole.delta, whole.part)

    def _find_item(self, position: Position, delta: TextClass | None = None) -> _Item:
        """Return the item of a delta, or a new one."""
        kind, item_id, index, _ = position
        item = self._by_id.get(item_id) if item_id else None
        if item is None and index is not None:
            item = self._by_index.get((kind, index))
            if item and (item.level >= Level.ITEM or item.is_past(delta, position.part)):
                return self._create(position)
            item = None if item and item_id and item.id and item.level >= Level.PART else item
        if item is None and (latest := self._latest_item.get(kind)) and latest.level < Level.ITEM:
            has_no_name = not item_id and index is None and not latest.is_past(delta, position.part)
            item = latest if has_no_name or (latest.is_anonymous and (item_id or index is not None)) else None
        item = item or self._create(position)
        self._name(item, position)
        return item

    def _find_exact(self, position: Position, wholes: Sequence[WholePart], level: Level) -> _Item | None:
        """Return the item with this id, or with this index if its id and text do not contradict that."""
        kind, item_id, index, _ = position
        if item_id and (item := self._by_id.get(item_id)):
            return item
        indexed = self._by_index.get((kind, index)) if index is not None else None
        if indexed and indexed.level < level and (indexed.fits(wholes) or not (indexed.id and item_id)):
            return indexed
        return None

    def _find_similar(self, position: Position, wholes: Sequence[WholePart], level: Level) -> _Item | None:
        """Return the first open item with this text, or else one of which only the order is known."""
        still_open = self._open.get((level, position.kind), {}).values()
        candidates = [item for item, _ in zip(still_open, range(MAX_COMPARED), strict=False) if item.has_text()]
        for item in candidates:
            if item.fits(wholes) and (level is Level.RESPONSE or not item.differs_from(position)):
                return item
        return next((item for item in candidates if item.is_anonymous or level is Level.RESPONSE), None)

    def _create(self, position: Position) -> _Item:
        self._count += 1
        if self._count > MAX_ITEMS:
            raise MalformedError(f"more than {MAX_ITEMS} output items")
        item = _Item(position)
        self._items.append(item)
        self._name(item, position)
        self._latest_item[position.kind] = item
        for level in (Level.ITEM, Level.RESPONSE):
            self._open.setdefault((level, position.kind), {})[id(item)] = item
        return item

    def _name(self, item: _Item, position: Position) -> None:
        """Record an id and an index of an item; some servers give an item several ids."""
        if position.item_id:
            self._by_id[position.item_id] = item
            item.id = item.id or position.item_id
        if position.output_index is not None:
            self._by_index[position.kind, position.output_index] = item
            item.index = position.output_index

    def _claim(self, item: _Item, kind: str, level: Level) -> None:
        item.level = max(item.level, level)
        for passed in (Level.ITEM, Level.RESPONSE):
            if passed <= level:
                self._open.get((passed, kind), {}).pop(id(item), None)

    def _find_open_part(self, item: _Item, delta: TextClass, name: tuple[str, int] | None) -> _Part:
        """Return the part of a delta: by its name, else the latest part unless it is done, else a new one."""
        parts = item.parts.get(delta)
        part = item.by_name.get((delta, name)) if name else parts[-1] if parts else None
        if part is None and name and parts and parts[-1].name is None and not parts[-1].done_by:
            part = parts[-1]  # the part began without a name
        return part if part and not part.done_by else self._create_part(item, delta, name)

    def _create_part(self, item: _Item, delta: TextClass, name: tuple[str, int] | None) -> _Part:
        self._count += 1
        if self._count > MAX_ITEMS:
            raise MalformedError(f"more than {MAX_ITEMS} parts of output items")
        self._paragraphs += delta is ReasoningDelta
        part = _Part(delta, name, self._paragraphs)
        item.parts.setdefault(delta, []).append(part)
        if name:
            item.by_name[delta, name] = part
        return part


def _complete(part: _Part, whole: WholePart) -> Iterator[Addition]:
    logprobs = None if part.text.has_logprobs else whole.logprobs
    rest = part.text.complete(whole.text)
    if rest or logprobs:
        part.text.has_logprobs = True
        yield Addition(_build_delta(whole.delta, rest, part), logprobs)


def _add(delta: TextClass, part: _Part, text: str) -> Delta:
    part.text.add(text)
    return _build_delta(delta, text, part)


def _build_delta(delta: TextClass, text: str, part: _Part) -> Delta:
    return ReasoningDelta(text, part=part.paragraph) if delta is ReasoningDelta else delta(text)


def parse_parts(item: dict[str, Any]) -> Iterator[WholePart]:
    """Yield the texts of a message, or those of reasoning: its summary or, if that is empty, its content."""
    if item.get("type") == "reasoning":
        name = next(filter(item.get, ("summary", "content", "text")), "")
        values = item.get(name)
        for number, value in enumerate([values] if isinstance(values, str | dict) else as_list(values)):
            part = {"text": value} if isinstance(value, str) else as_dict(value)
            yield WholePart(ReasoningDelta, as_str(part.get("text")), (name, number))
    elif item.get("type") == "message":
        content = item.get("content")
        for number, value in enumerate([content] if isinstance(content, str | dict) else require_list(content)):
            yield from parse_part({"text": value} if isinstance(value, str) else require_dict(value), number)


def parse_part(part: dict[str, Any], number: int | None) -> Iterator[WholePart]:
    """Yield the text, the refusal or the reasoning of a part of a message or of reasoning."""
    name = ("content", number or 0)
    if part.get("refusal"):
        yield WholePart(RefusalDelta, require_str(part["refusal"]), name)
    if "reasoning" in as_str(part.get("type")) or part.get("type") == "summary_text":
        yield WholePart(ReasoningDelta, as_str(part.get("text")), name)
    elif part.get("text"):
        yield WholePart(TextDelta, require_str(part["text"]), name, part.get("logprobs"))
