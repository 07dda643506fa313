"""The chunks of a network read are parsed together, and none waits for a later read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import STREAM, chunk, delta, event

from aiml_cli.errors import IncompleteAnswer
from aiml_cli.transport.http_connection import read_chunked, read_length, read_to_end


class Wire:
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


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return data in pieces of the given sizes, and the rest as the last one."""
    reads = []
    for size in sizes:
        reads.append(data[:size])
        data = data[size:]
    return [read for read in (*reads, data) if read]


END = b"0\r\n\r\n"
TOKENS = [delta(f"token {number}") for number in range(50)] + [event("[DONE]")]


def test_the_chunks_of_one_read_are_one_piece() -> None:
    wire = Wire([b"".join(map(chunk, TOKENS)) + END])
    assert wire.join() == [b"".join(TOKENS)]
    assert (wire.read_count, wire.endings) == (1, [True])


def test_chunks_that_arrive_one_by_one_are_not_delayed() -> None:
    assert Wire([*map(chunk, TOKENS), END]).join() == TOKENS


def test_the_end_is_noticed_before_the_last_piece_is_used() -> None:
    wire = Wire([])
    assert next(read_chunked(chunk(b"all") + END, wire.read, wire.endings.append)) == b"all"
    assert (wire.endings, wire.read_count) == ([True], 0)


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
    reads = cut(b"".join(framed) + end, sizes)
    wire, arrived, count = Wire(list(reads)), b"", 0
    received = b"".join(data for data, _ in chunks)
    for piece in read_chunked(wire.read(), wire.read, wire.endings.append):
        arrived += piece
        assert len(arrived) >= _count_data(framed, sum(map(len, reads[: wire.read_count])))
        count += 1
    assert (arrived, wire.endings, wire.read_count) == (received, [True], len(reads))
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
        more = cut(data, [1] * 50)
    wire = Wire([*more, *[b"z" * 1000] * 200])
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        wire.join()
    assert not wire.endings


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"0\r\n", b"0\r\n\r"]
)
def test_a_body_that_ends_too_early_is_an_incomplete_answer(data: bytes) -> None:
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        Wire([data]).join()
    with pytest.raises(IncompleteAnswer, match="cut before the answer was complete"):
        Wire([data]).join(length=len(data) + 1)


def test_a_body_with_a_length_is_unchanged() -> None:
    wire = Wire([b"a\r\n5\r\nbcde", b"\r\n5\r\nfghij", b"0123456789"])
    assert b"".join(wire.join(28)) == b"a\r\n5\r\nbcde\r\n5\r\nfghij01234567"
    assert wire.endings == [False]


def test_a_body_without_an_end_ends_with_the_connection() -> None:
    wire = Wire([b"a", b"b"])
    assert list(read_to_end(b"", wire.read, wire.endings.append)) == [b"a", b"b"]
    assert wire.endings == [False]


WHOLE = {
    "chunks": (b"".join(map(chunk, TOKENS[:3])) + END, None),
    "no chunks": (END, None),
    "a length": (b"hello", 5),
    "nothing": (b"", 0),
}
EXCESS = [b"bad", b"HTTP/1.1 200", STREAM + chunk(b"hello") + END, b"H", b"\r\n"]


@pytest.mark.parametrize("case", WHOLE)
@given(st.lists(st.integers(1, 200), max_size=40), st.sampled_from(EXCESS))
def test_bytes_after_the_end_of_a_response_are_noticed(case: str, sizes: list[int], more: bytes) -> None:
    data, length = WHOLE[case]
    reads = cut(data, sizes) or [b""]
    wire = Wire([*reads[:-1], reads[-1] + more])
    wire.join(length)
    assert wire.endings == [False]


@pytest.mark.parametrize("case", WHOLE)
@given(st.lists(st.integers(150, 400), max_size=10))
def test_a_response_that_nothing_follows_has_no_excess(case: str, sizes: list[int]) -> None:
    data, length = WHOLE[case]
    wire = Wire(cut(data, sizes))
    wire.join(length)
    assert wire.endings == [True]
