"""Any legal stream gives the same events, however its bytes arrive."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.sse import MAX_EVENT_BYTES, SseEvent, split_events
from aiml_cli.errors import ServerError

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["", "message", "error", "response.created"])
NOISE = st.sampled_from([": ping", ":", "id: 7", "retry: 100", "id", "padding: xxx", "unknown", "dat: a", "datax: b"])
LINE_ENDS = ["\n", "\r", "\r\n"]
Block = tuple[list[str], SseEvent]


def split_bytes(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


def parse_events(raw: bytes, size: int = 0) -> list[SseEvent]:
    return [event for batch in split_events(split_bytes(raw, size or max(1, len(raw)))) for event in batch]


@st.composite
def block(draw: st.DrawFn) -> Block:
    """Make the lines of an event, with noise around them, and what they mean."""
    data_lines = draw(st.lists(LINES, min_size=1, max_size=3))
    name = draw(NAMES)
    lines = [f"data: {line}" if draw(st.booleans()) or line.startswith(" ") else f"data:{line}" for line in data_lines]
    lines += [f"event: {name}"] if name else []
    for noise in draw(st.lists(NOISE, max_size=2)):
        lines.insert(draw(st.integers(0, len(lines))), noise)
    return lines, SseEvent("\n".join(data_lines), name)


@st.composite
def stream(draw: st.DrawFn, *, mixed: bool) -> tuple[bytes, list[SseEvent]]:
    """Make the bytes of a stream, and its events."""
    blocks = draw(st.lists(block(), max_size=4))
    end = draw(st.sampled_from(LINE_ENDS))
    text = draw(st.sampled_from(["", "\ufeff"]))
    for line in [line for lines, _ in blocks for line in [*lines, *[""] * draw(st.integers(1, 3))]]:
        end = draw(st.sampled_from(LINE_ENDS)) if mixed else end
        # An LF after a CR would be the second half of one line end, and no blank line.
        text += line + ("\r\n" if mixed and end == "\n" and not line and text.endswith("\r") else end)
    return text.encode(), [event for _, event in blocks]


def parse_in_every_size(raw: bytes) -> list[list[SseEvent]]:
    return [parse_events(raw, size) for size in (1, 2, 3, 5, 7, 16, 0)]


@pytest.mark.promise("legal-streams")
@settings(deadline=None, max_examples=100)
@given(stream(mixed=False))
def test_chunk_borders_do_not_matter(raw_and_events: tuple[bytes, list[SseEvent]]) -> None:
    raw, expected = raw_and_events
    assert [found for found in parse_in_every_size(raw) if found != expected] == []


@pytest.mark.promise("legal-streams")
@settings(deadline=None, max_examples=150)
@given(stream(mixed=True))
def test_line_ends_may_be_mixed(raw_and_events: tuple[bytes, list[SseEvent]]) -> None:
    raw, expected = raw_and_events
    assert [found for found in parse_in_every_size(raw) if found != expected] == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([b"data: a", b"\n", b"\r", b"", b"\r\n", b":", b"\xff", b"event: b"]), max_size=30))
def test_any_bytes_are_parsed_without_an_exception(chunks: list[bytes]) -> None:
    found = [event for batch in split_events(chunks) for event in batch]
    assert found == parse_events(b"".join(chunks))


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize("size", [1, 2, 3, 0])
def test_a_crlf_that_is_split_is_one_line_end(size: int) -> None:
    assert parse_events(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", size) == [SseEvent("a\nb"), SseEvent("c")]


@pytest.mark.parametrize("size", [1, 2, 3, 0])
def test_a_lf_after_a_split_crlf_is_a_blank_line(size: int) -> None:
    assert parse_events(b"data: a\r\n\ndata: b\r\n\n", size) == [SseEvent("a"), SseEvent("b")]


def test_an_empty_chunk_changes_nothing() -> None:
    assert list(split_events([b"data: a\r", b"", b"\n", b"", b"\r", b"\n", b""])) == [[SseEvent("a")]]


@pytest.mark.promise("legal-streams")
@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: a\n\n", "a"),
        (b"data:a\n\n", "a"),
        (b"data:  a\n\n", " a"),
        (b"data:\ta\n\n", "\ta"),
        (b"data\n\n", ""),
        (b"data:\n\n", ""),
        (b"data: a: b\n\n", "a: b"),
        (b"data: a\ndata\ndata:b\n\n", "a\n\nb"),
        (b"\xef\xbb\xbfdata: a\n\n", "a"),
        (b"\n\n\ndata: a\n\n\n\n", "a"),
        (b": comment\ndata: a\n: comment\n\n", "a"),
        (b"id: 1\nretry: 5\ndata: a\nnonsense\n\n", "a"),
        (b": ping\n\n" * 17 + b"data: a\n\n", "a"),
        (b"data: a\n", "a"),
        (b'data: "\xe2\x80\xa8\xc2\x85\x0b\x0c\x1c"\n\n', '"\u2028\x85\x0b\x0c\x1c"'),
        (b"data: \xf0\x9f\x8e\x89\n\n", "\U0001f389"),
    ],
)
def test_an_event_is_parsed_according_to_the_standard(raw: bytes, data: str) -> None:
    assert parse_in_every_size(raw) == [[SseEvent(data)]] * 7


@pytest.mark.parametrize("raw", [b"", b"\n\n", b": ping\n\n", b"event: a\n\n", b"id: 1\n\n", b"\xef\xbb\xbf", b":\r\r"])
def test_lines_without_data_are_not_an_event(raw: bytes) -> None:
    assert parse_in_every_size(raw) == [[]] * 7


def test_a_byte_order_mark_is_skipped_only_at_the_start() -> None:
    assert parse_events(b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: \xef\xbb\xbfc\n\n") == [
        SseEvent("a"),
        SseEvent("\ufeffc"),
    ]


def test_an_event_name_does_not_apply_to_the_next_event() -> None:
    assert parse_events(b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\n") == [SseEvent("1", "b"), SseEvent("2")]


def test_the_nonstandard_error_field_is_kept() -> None:
    assert parse_events(b'error: {"message":"busy"}\n\n') == [SseEvent("", error='{"message":"busy"}')]
    assert parse_events(b"data: 1\nerror: a\nerror: b") == [SseEvent("1", error="a\nb", is_complete=False)]


@pytest.mark.parametrize(("raw", "is_complete"), [(b"data: {}", False), (b"data: {}\n", True), (b"data: {}\r", True)])
def test_an_unfinished_event_at_the_end_is_marked_as_incomplete(raw: bytes, *, is_complete: bool) -> None:
    assert parse_in_every_size(raw) == [[SseEvent("{}", is_complete=is_complete)]] * 7


def test_an_event_is_returned_as_soon_as_it_is_complete() -> None:
    def receive() -> Iterator[bytes]:
        yield b"data: a\n\ndata: b\n\nda"
        pytest.fail("the next bytes were waited for")

    assert next(split_events(receive())) == [SseEvent("a"), SseEvent("b")]


@pytest.mark.promise("memory")
def test_an_event_of_ten_megabytes_is_read() -> None:
    piece = b"x" * 1_000_000
    assert len(parse_events(b"data: " + piece * 10 + b"\n\n", 65_536)[0].data) == 10_000_000


@pytest.mark.promise("memory")
@pytest.mark.parametrize("piece", [b"x" * 1024 * 1024, b"data: x\n" * 131_072], ids=["line", "event"])
def test_an_endless_event_ends_with_an_error(piece: bytes) -> None:
    with pytest.raises(ServerError, match="64 MiB"):
        list(split_events(piece for _ in range(MAX_EVENT_BYTES // len(piece) + 2)))
