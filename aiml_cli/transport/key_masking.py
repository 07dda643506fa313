"""Mask the API key, and the credentials in a request, in errors and in responses."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from aiml_cli.api.stream_events import Event, EventBatch, OutputItems, StringDelta, TextDelta, ToolCallDelta
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.urls import simplify_name

if TYPE_CHECKING:
    from aiml_cli.api.request_body import LongBody

Json = Any
MIN_KEY_LENGTH = 8  # a shorter key may be part of any sentence
STARS = "***"
SHOWN_KEY_CHARS = 4  # shown of a possible key at the end of a text; the rest waits for the next piece
# Names of properties, as `simplify_name` writes them, whose values are credentials.
_SECRET_NAMES = (
    "(?:authorization|headers?|apikey|accesskey|secretkey|privatekey|accesstoken|authtoken|bearertoken|refreshtoken"  # noqa: S105 - names, no secrets
    "|sessiontoken|securitytoken|authorizationtoken|password|passwd|passphrase|secrets?|credentials?|cookies?)$"
    "|^(?:token|auth|bearer|pat|jwt)$"
)
_SECRET_QUERY_NAMES = rf"{_SECRET_NAMES}|signature$|^(?:key|sig|code)$"
# The properties that distinguish texts that a stream sends at the same time.
_INDEX_NAMES = ("index", "output_index", "content_index", "summary_index", "item_id")
_QUERY_VALUE = r"([?&;])([^=?&;#]+)=([^&;#]*)"
_MEDIA_TYPE = r"(?:application|text|audio|image)/[\w.+*-]+\s*(?:[;,]|\Z)"
_JSON_ESCAPED = '/"\\'  # the printable characters that JSON allows after a backslash


def extract_key(headers: Mapping[str, str]) -> str:
    """Return the API key in the headers, or "" if it is too short to mask safely."""
    key = headers.get("Authorization", "").removeprefix("Bearer ")
    return key if len(key) >= MIN_KEY_LENGTH else ""


def mask_text(text: str, key: str) -> str:
    """Return the text with stars in place of the key, even where JSON or a URL escapes its characters."""
    if not key:
        return text
    text = text.replace(key, STARS)
    return _build_pattern(key).sub(STARS, text) if any(mark in text for mark in _list_marks(key)) else text


def refuse_key_in_headers(headers: Mapping[str, str], key: str) -> None:
    """Raise UsageError if the name or value of a header contains the API key; a key too short to mask is ignored."""
    for name, value in headers.items() if len(key) >= MIN_KEY_LENGTH else ():
        if any(mask_text(text, key) != text for text in (name, value)) or key.lower() in name.lower():
            message = "--header: a header contains the API key, which is only sent as Authorization"
            raise UsageError(message)


def make_masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that masks several secrets as `mask_text` does; an empty one is ignored."""
    long = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in long:
            text = mask_text(text, secret)
        return text

    return mask


def _list_marks(key: str) -> list[str]:
    """Return substrings for a fast test: a text with an escaped character of the key contains one of them."""
    return ["\\u00", "%", *(f"\\{char}" for char in _JSON_ESCAPED if char in key)]


@contextmanager
def mask_errors(key: str) -> Iterator[None]:
    """Mask the key in every error that is raised in the block: servers repeat what they received."""
    try:
        yield
    except AimlError as error:
        error.message, error.hint = mask_text(error.message, key), mask_text(error.hint, key)
        error.details |= {name: mask_text(text, key) for name, text in error.details.items() if isinstance(text, str)}
        raise


def mask_chunks(key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks with stars in place of the key; a possible beginning of the key waits for the next chunk."""
    marks, pending = tuple(mark.encode() for mark in (key, *_list_marks(key))), b""
    for chunk in chunks:
        data = pending + chunk if pending else chunk
        if not any(mark in data for mark in marks) and data[-1:].isspace():
            pending = b""
            yield data  # most chunks end with a newline, which no key contains
            continue
        text = mask_text(data.decode("latin-1"), key)  # latin-1 leaves every byte as it is
        end = _find_partial(text, key)
        pending = text[end:].encode("latin-1")
        if end:
            yield text[:end].encode("latin-1")
    if pending:
        yield pending


def mask_events(key: str, batches: Iterable[EventBatch]) -> Iterator[EventBatch]:
    """Yield the batches with stars in place of the key, even where it is split over several events."""
    if not key:
        yield from batches
        return
    texts: dict[tuple[Any, ...], _SplitKey] = {}  # only those that may end with a part of the key
    first, starts = key[0], tuple(key[:length] for length in range(1, len(key)))
    try:
        for batch in batches:
            yield [
                # The test is the fast path: this runs for each token.
                event
                if not texts
                and type(event) is TextDelta
                and (first not in (text := event.text) or not (text.endswith(starts) or key in text))
                else _mask_event(event, key, texts)
                for event in batch
            ]
    except AimlError:
        yield _release(texts)
        raise
    if texts:
        yield _release(texts)


def _mask_event(event: Event, key: str, texts: dict[tuple[Any, ...], "_SplitKey"]) -> Event:
    if isinstance(event, OutputItems):
        mask_split_strings(event.items, [key])
    if not isinstance(event, StringDelta):
        return event
    slot, is_whole = (event.slot, event.is_whole) if isinstance(event, ToolCallDelta) else (0, False)
    name = (type(event), event.choice, slot)
    state = texts.pop(name, None)
    if state is None or is_whole:
        state = _SplitKey(key)
    state.event = event
    piece = event.arguments if isinstance(event, ToolCallDelta) else event.text
    text = state.mask(piece)
    if state.length:
        texts[name] = state
    return event if text == piece else _replace_text(event, text)


def _replace_text(event: StringDelta, text: str) -> StringDelta:
    return event._replace(arguments=text) if isinstance(event, ToolCallDelta) else event._replace(text=text)


def _release(texts: dict[tuple[Any, ...], "_SplitKey"]) -> EventBatch:
    """Return the end of each text that was held back: it was not the key."""
    held = [(state.event, state.key[SHOWN_KEY_CHARS : state.length]) for state in texts.values()]
    return [_replace_text(event, text) for event, text in held if event and text]


class _SplitKey:
    """A possible beginning of the key at the end of a text; only its first characters have been shown."""

    def __init__(self, key: str) -> None:
        self.key, self.length = key, 0
        self.event: StringDelta | None = None

    def mask(self, piece: str) -> str:
        """Return the text to show for the next piece."""
        key, shown = self.key, min(self.length, SHOWN_KEY_CHARS)
        text = key[: self.length] + piece
        start, end = text.find(key), max(0, text.rfind(key) + len(key))
        first = text.find(key[0], max(end if start >= 0 else 0, len(text) - len(key) + 1))
        while first >= 0 and not key.startswith(text[first:]):
            first = text.find(key[0], first + 1)
        self.length = len(text) - first if first >= 0 else 0
        text = text[: len(text) - max(0, self.length - SHOWN_KEY_CHARS)]
        is_shown_in_part = 0 <= start < shown
        return (STARS + text[start + len(key) :] if is_shown_in_part else text[shown:]).replace(key, STARS)


def mask_pieces(pieces: Sequence[str], key: str) -> list[str]:
    """Return the pieces of one text, with the key masked even where it begins in one piece and ends in another.

    The stars are in the piece where it begins.
    """
    spans = [match.span() for match in _build_pattern(key).finditer("".join(pieces))]
    masked, start = [], 0
    for piece in pieces:
        masked.append(_cut_spans(piece, [(first - start, end - start) for first, end in spans]))
        start += len(piece)
    return masked


def _cut_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text without its parts in the spans, which may begin before it or end after it."""
    parts, position = [], 0
    for first, end in spans:
        if end > 0 and first < len(text):
            parts += [text[position : max(first, 0)], STARS if first >= 0 else ""]
            position = end
    return "".join(parts) + text[position:]


class _Slot(NamedTuple):
    """A string in a JSON value; `holder` is its object or array, `place` the names and indexes that lead to it."""

    number: int
    value: Json
    holder: Any
    key: str | int
    place: tuple[Json, ...]


def mask_split_strings(values: Iterable[Json], secrets: Sequence[str]) -> dict[int, Json]:
    """Put stars in place of secrets that are split over several strings of JSON values, which a reader joins.

    Strings are joined if they have the same place, such as the arguments of the second tool call, or the same name.
    Changes the values in place; returns the changed ones by their position in `values`.
    """
    changed: dict[int, Json] = {}
    unfinished: dict[Json, list[_Slot]] = {}  # the ends of texts that may be the beginning of a secret
    for slot in (slot for number, value in enumerate(values) for slot in _list_slots(number, value)):
        for secret in secrets:
            for name in ((secret, slot.place), (secret, slot.place[-1:], "anywhere")):
                if slots := _mask_slots([*unfinished.pop(name, ()), slot], secret, changed):
                    unfinished[name] = slots
    return changed


def _list_slots(number: int, root: Json) -> Iterator[_Slot]:
    """Yield the strings of a value in their order."""
    stack = [_Slot(number, root, [root], 0, ())]
    while stack:
        slot = stack.pop()
        value = slot.holder[slot.key]
        if isinstance(value, str):
            yield slot
        elif isinstance(value, dict):
            indexes = tuple(value[name] for name in _INDEX_NAMES if isinstance(value.get(name), int | str))
            names = ((name, (*slot.place, *indexes, name)) for name in value)
            stack += reversed([_Slot(number, root, value, name, place) for name, place in names])
        elif isinstance(value, list | tuple):
            stack += reversed([_Slot(number, root, value, index, slot.place) for index in range(len(value))])


def _mask_slots(slots: list[_Slot], secret: str, changed: dict[int, Json]) -> list[_Slot]:
    """Mask a secret in the strings, which are one text; return those that may contain the beginning of another."""
    pieces = [slot.holder[slot.key] for slot in slots]
    masked = mask_pieces(pieces, secret)
    for slot, old, new in zip(slots, pieces, masked, strict=True):
        if new != old:
            slot.holder[slot.key] = new
            changed[slot.number] = slot.value
    text = "".join(masked)
    start, ends = _find_partial(text, secret), accumulate(map(len, masked))
    return [slot for slot, end in zip(slots, ends, strict=True) if end > start]


def _find_partial(text: str, key: str) -> int:
    """Return the position from which the end of a text may be the beginning of the key, else the text's length."""
    if not text or not "!" <= text[-1] <= "~":  # it does not end with a character of a key
        return len(text)
    first = max(0, len(text) - len(key) * _MAX_ESCAPE_LENGTH)
    starts = re.compile(rf"[{re.escape(key[0])}\\%]").finditer(text, first)
    return next((match.start() for match in starts if _is_partial(text, match.start(), key)), len(text))


def _is_partial(text: str, position: int, key: str) -> bool:
    """True if the text from a position to its end is the beginning of the key."""
    rests = {text[position:]}
    for char in key:
        forms = _list_forms(char)
        if any(form.startswith(rest) for rest in rests for form in forms):
            return True
        rests = {rest[len(form) :] for rest in rests for form in forms if rest.startswith(form)}
    return False


@lru_cache(maxsize=128)
def _list_forms(char: str) -> list[str]:
    """Return all texts that the pattern of a character matches."""
    code, slashes = f"{ord(char):02x}", ["\\" * count for count in range(1, 5)]
    codes = {code, code.upper()}
    escaped = [slash + char for slash in slashes if char in _JSON_ESCAPED]
    unicode = [f"{slash}u00{code}" for slash in slashes for code in codes]
    return [char, *escaped, *unicode, *(f"%{code}" for code in codes), *(f"%25{code}" for code in codes)]


@lru_cache(maxsize=64)
def _build_pattern(key: str) -> re.Pattern[str]:
    return re.compile("".join(map(_build_char_pattern, key)))


def _build_char_pattern(char: str) -> str:
    r"""Return a pattern for a character that may be escaped: `\u002b`, `\/`, `%2b`.

    JSON in JSON has more backslashes, and a URL in a URL has %25 for %.
    """
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(char):02x}")
    escaped = rf"|\\\\{{0,3}}{re.escape(char)}" if char in _JSON_ESCAPED else ""
    return rf"(?:{re.escape(char)}{escaped}|\\\\{{0,3}}u00{digits}|%(?:25)?{digits})"


_MAX_ESCAPE_LENGTH = len(r"\\\\u002b")


def mask_credentials(value: Json) -> Json:
    """Return the JSON of a request with stars for the credentials in it, such as the headers of an MCP server.

    The properties of a JSON Schema are not credentials: a function may have a parameter called token.
    """
    return _mask(value, in_properties=False)


def list_credentials(body: "bytes | LongBody | None") -> list[str]:
    """Return the strings that `mask_credentials` replaces in a request's body: a response may repeat them.

    Strings that are too short to mask, and media types, are left out.
    """
    found: list[str] = []
    with suppress(ValueError, RecursionError):
        _mask(json.loads(bytes(body or b"null")), in_properties=False, found=found)
    return [text for text in dict.fromkeys(found) if len(text) >= MIN_KEY_LENGTH and not re.match(_MEDIA_TYPE, text)]


def _mask(value: Json, *, in_properties: bool, found: list[str] | None = None) -> Json:
    if isinstance(value, list):
        return [_mask(item, in_properties=False, found=found) for item in value]
    if not isinstance(value, dict):
        return value
    masked = {}
    for name, item in value.items():
        plain, is_described = simplify_name(name), in_properties and isinstance(item, dict | bool)
        if re.search(_SECRET_NAMES, plain) and not is_described:
            masked[name] = _mask_texts(item, found)
        elif isinstance(item, str) and plain.endswith(("url", "uri", "endpoint")):
            masked[name] = _mask_url(item, found)
        else:
            masked[name] = _mask(item, in_properties=name == "properties" and not in_properties, found=found)
    return masked


def _mask_texts(value: Json, found: list[str] | None) -> Json:
    """Return a value with stars for every string in it."""
    if isinstance(value, dict):
        return {name: _mask_texts(item, found) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_texts(item, found) for item in value]
    if not isinstance(value, str):
        return value
    if found is not None:
        scheme, _, token = value.partition(" ")  # a server repeats "Bearer TOKEN" or the token alone
        found += [value, token] if scheme.isalpha() else [value]
    return STARS


def _mask_url(url: str, found: list[str] | None) -> str:
    """Return a URL with stars for its password, and for the parts of its query that are credentials."""

    def mask_part(match: re.Match[str]) -> str:
        mark, name, value = match.groups()
        if not re.search(_SECRET_QUERY_NAMES, simplify_name(name)):
            return match[0]
        if found is not None:
            found.append(value)
        return f"{mark}{name}={STARS}"

    if "@" in url and "://" in url:
        user, at, _ = urlsplit(url).netloc.rpartition("@") if _is_url(url) else ("", "", "")
        if at:
            if found is not None:
                found += [user, user.partition(":")[2]]
            url = url.replace(f"//{user}@", f"//{STARS}@", 1)
    return re.sub(_QUERY_VALUE, mask_part, url) if "?" in url and not url.startswith("data:") else url


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).netloc)
    except ValueError:
        return False
