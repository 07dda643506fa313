"""The chunks of a network read are parsed as one, and none waits for a read that may not come."""

from collections.abc import Iterator

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import STREAM, chunk, delta, event

from aiml_cli.transport.response_body import join_chunks


class Wire:
    """A response that arrives in the given reads; what was yielded before each read is in `yielded_before`."""

    def __init__(self, reads: list[bytes]) -> None:
        self._reads, self.last_read = reads, b""
        self.parsed = self.yielded = 0
        self.held: list[int] = []
        self.has_excess = False
        self._connection = h11.Connection(h11.CLIENT)
        self._connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._connection.send(h11.EndOfMessage())
        self._read_until(h11.Response)

    def _read_until(self, *kinds: type[object]) -> object:
        while type(found := self._connection.next_event()) not in kinds:
            self.held.append(self.parsed - self.yielded)
            self.last_read = self._reads.pop(0)
            self._connection.receive_data(self.last_read)
        return found

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the data as httpcore does: what one chunk has of one read."""
        while isinstance(found := self._read_until(h11.Data, h11.EndOfMessage), h11.Data):
            self.parsed += len(found.data)
            yield bytes(found.data)

    @property
    def trailing(self) -> bytes:
        """What has arrived after the response."""
        return self._connection.trailing_data[0]

    def join(self, *, is_chunked: bool = True) -> list[bytes]:
        """Return the joined chunks."""

        def note_excess() -> None:
            self.has_excess = True

        joined, chunks = [], self.read_chunks()
        for piece in join_chunks(chunks, lambda: self.last_read, is_chunked=is_chunked, on_excess=note_excess):
            self.yielded += len(piece)
            joined.append(piece)
        return joined


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return data in pieces of the given sizes, and the rest as the last one."""
    reads = []
    for size in sizes:
        reads.append(data[:size])
        data = data[size:]
    return [read for read in (*reads, data) if read]


TOKENS = [delta(f"token {number}") for number in range(50)] + [event("[DONE]")]


def test_what_arrives_in_one_read_is_one_piece() -> None:
    wire = Wire([STREAM + b"".join(map(chunk, TOKENS)) + b"0\r\n\r\n"])
    assert wire.join() == [b"".join(TOKENS)]


def test_what_arrives_token_by_token_is_not_held_back() -> None:
    wire = Wire([STREAM, *map(chunk, TOKENS), b"0\r\n\r\n"])
    assert wire.join() == TOKENS


@given(
    st.lists(st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\r", b"\n")), max_size=12),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_nothing_is_lost_or_held_back_however_the_bytes_are_cut(chunks: list[bytes], sizes: list[int]) -> None:
    wire = Wire(cut(STREAM + b"".join(map(chunk, chunks)) + b"0\r\n\r\n", sizes))
    assert b"".join(wire.join()) == b"".join(chunks)
    assert not any(wire.held)


def test_a_body_with_a_length_passes_as_it_is() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"
    wire = Wire([head + b"a\r\n5\r\nbcde", b"\r\n5\r\nfghij", b"0123456789"])
    assert b"".join(wire.join(is_chunked=False)) == b"a\r\n5\r\nbcde\r\n5\r\nfghij0123456789"
    assert not any(wire.held)
    assert not wire.has_excess


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
WHOLE = {
    "chunks": (STREAM + b"".join(map(chunk, TOKENS[:3])) + b"0\r\n\r\n", True),
    "no chunks": (STREAM + b"0\r\n\r\n", True),
    "a length": (LENGTH % 5 + b"hello", False),
    "nothing": (LENGTH % 0, False),
}
EXCESS = [LENGTH % 3 + b"bad", b"HTTP/1.1 200", STREAM + chunk(b"hello") + b"0\r\n\r\n", b"H"]


@pytest.mark.parametrize("case", WHOLE)
@given(st.lists(st.integers(1, 200), max_size=40), st.sampled_from(EXCESS))
def test_what_follows_a_response_is_noticed_however_the_bytes_are_cut(case: str, sizes: list[int], more: bytes) -> None:
    data, is_chunked = WHOLE[case]
    wire = Wire(cut(data + more, sizes))
    wire.join(is_chunked=is_chunked)
    assert wire.has_excess or not wire.trailing


@pytest.mark.parametrize("case", WHOLE)
@given(st.lists(st.integers(150, 400), max_size=10))
def test_a_response_that_nothing_follows_has_no_excess(case: str, sizes: list[int]) -> None:
    data, is_chunked = WHOLE[case]
    wire = Wire(cut(data, sizes))
    wire.join(is_chunked=is_chunked)
    assert not wire.has_excess
