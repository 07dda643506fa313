"""The chunks of a network read are parsed together, and none waits for a later read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import STREAM, chunk, delta, event

from aiml_cli.errors import IncompleteAnswer
from aiml_cli.transport.http_connection import read_chunked, read_length, read_to_end


class FakeConnection:
    """A chunked or another body that arrives in the given reads."""

    def __init__(self, reads: list[bytes]) -> None:
        self._reads, self.read_count = reads, 0
        self.endings: list[bool] = []  # for each end that was noticed: whether nothing follows it

    def read(self) -> bytes:
        """Return the next read, b"" at the end of the connection."""
        self.read_count += 1
        return self._reads.pop(0) if self._reads else b""

    def join(self, length: int | None = None) -> list[bytes]:
        """Return the pieces of the body, which is chunked if it has no length."""
        first = self.read()
        if length is None:
            return list(read_chunked(first, self.read, self.endings.append))
        return list(read_length(first, self.read, length, self.endings.append))


def split_data(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return data in pieces of the given sizes, and the rest as the last one."""
    reads = []
    for size in sizes:
        reads.append(data[:size])
        data = data[size:]
    return [read for read in (*reads, data) if read]


LAST_CHUNK = b"0\r\n\r\n"
TOKENS = [delta(f"token {number}") for number in range(50)] + [event("[DONE]")]


def test_the_chunks_of_one_read_are_one_piece() -> None:
    connection = FakeConnection([b"".join(map(chunk, TOKENS)) + LAST_CHUNK])
    assert connection.join() == [b"".join(TOKENS)]
    assert (connection.read_count, connection.endings) == (1, [True])


def test_chunks_that_arrive_one_by_one_are_not_delayed() -> None:
    assert FakeConnection([*map(chunk, TOKENS), LAST_CHUNK]).join() == TOKENS


def test_the_end_is_noticed_before_the_last_piece_is_used() -> None:
    connection = FakeConnection([])
    assert next(read_chunked(chunk(b"all") + LAST_CHUNK, connection.read, connection.endings.append)) == b"all"
    assert (connection.endings, connection.read_count) == ([True], 0)


TRAILERS = [b"0\r\n\r\n", b"000\r\n\r\n", b"0;last\r\n\r\n", b"0\r\nDigest: abc\r\nX: y\r\n\r\n", b"0 \r\nA: b\r\n\r\n"]
EXTENSIONS = [b"", b";a=b", b' ; a="b c"', b"  "]


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from(EXTENSIONS)), max_size=12),
    st.sampled_from(TRAILERS),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_nothing_is_lost_or_held_back_however_the_bytes_are_cut(
    chunks: list[tuple[bytes, bytes]], end: bytes, sizes: list[int]
) -> None:
    framed = [b"%X%s\r\n%s\r\n" % (len(data), extension, data) for data, extension in chunks]
    reads = split_data(b"".join(framed) + end, sizes)
    connection, arrived, count = FakeConnection(list(reads)), b"", 0
    received = b"".join(data for data, _ in chunks)
    for piece in read_chunked(connection.read(), connection.read, connection.endings.append):
        arrived += piece
        assert len(arrived) >= _count_data(framed, sum(map(len, reads[: connection.read_count])))
        count += 1
    assert (arrived, connection.endings, connection.read_count) == (received, [True], len(reads))
    assert count <= len(reads)


def _count_data(framed: list[bytes], size: int) -> int:
    """Return how many bytes of data are in the first bytes of a body of chunks."""
    count = 0
    for each in framed:
        head = each.index(b"\r\n") + 2
        count += max(0, min(size, len(each) - 2) - head)
        size -= len(each)
    return count


@pytest.mark.parametrize(
    "data",
    [
        b"xyz\r\nabc", b"\r\nabc", b"-1\r\na", b"5\nhello", b"0x5\r\nhello", b"3\r\nabcdef\r\n0\r\n\r\n",
        b"3\r\nabc\n0\n\n", b"5 5\r\nhello", b"1" * 21 + b"\r\n", b"3\r\nabc\r\n\r\n", b"5;" + b"x" * 200_000,
        b"0\r\n" + b"a: b\r\n" * 20_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 300_000])
def test_an_invalid_chunk_is_an_incomplete_answer_at_once(data: bytes, size: int) -> None:
    more = [data[start : start + size] for start in range(0, len(data), size)]
    if len(more) > 1000:
        more = split_data(data, [1] * 50)
    connection = FakeConnection([*more, *[b"z" * 1000] * 200])
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        connection.join()
    assert not connection.endings


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"0\r\n", b"0\r\n\r"]
)
def test_a_body_that_ends_too_early_is_an_incomplete_answer(data: bytes) -> None:
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        FakeConnection([data]).join()
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        FakeConnection([data]).join(length=len(data) + 1)


def test_a_body_with_a_length_is_unchanged() -> None:
    connection = FakeConnection([b"a\r\n5\r\nbcde", b"\r\n5\r\nfghij", b"0123456789"])
    assert b"".join(connection.join(28)) == b"a\r\n5\r\nbcde\r\n5\r\nfghij01234567"
    assert connection.endings == [False]


def test_a_body_without_an_end_ends_with_the_connection() -> None:
    connection = FakeConnection([b"a", b"b"])
    assert list(read_to_end(b"", connection.read, connection.endings.append)) == [b"a", b"b"]
    assert connection.endings == [False]


COMPLETE_BODIES = {
    "chunks": (b"".join(map(chunk, TOKENS[:3])) + LAST_CHUNK, None),
    "no chunks": (LAST_CHUNK, None),
    "a length": (b"hello", 5),
    "nothing": (b"", 0),
}
EXCESS_BYTES = [b"bad", b"HTTP/1.1 200", STREAM + chunk(b"hello") + LAST_CHUNK, b"H", b"\r\n"]


@pytest.mark.parametrize("case", COMPLETE_BODIES)
@given(st.lists(st.integers(1, 200), max_size=40), st.sampled_from(EXCESS_BYTES))
def test_bytes_after_the_end_of_a_response_are_noticed(case: str, sizes: list[int], more: bytes) -> None:
    data, length = COMPLETE_BODIES[case]
    reads = split_data(data, sizes) or [b""]
    connection = FakeConnection([*reads[:-1], reads[-1] + more])
    connection.join(length)
    assert connection.endings == [False]


@pytest.mark.parametrize("case", COMPLETE_BODIES)
@given(st.lists(st.integers(150, 400), max_size=10))
def test_a_response_that_nothing_follows_has_no_excess(case: str, sizes: list[int]) -> None:
    data, length = COMPLETE_BODIES[case]
    connection = FakeConnection(split_data(data, sizes))
    connection.join(length)
    assert connection.endings == [True]
