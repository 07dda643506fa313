"""The chunks of a network read are parsed as one, and none waits for a read that may not come."""

from collections.abc import Iterator

import h11
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

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the data as httpcore does: what one chunk has of one read."""
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
        while type(found := connection.next_event()) is not h11.EndOfMessage:
            if found is h11.NEED_DATA:
                self.held.append(self.parsed - self.yielded)
                self.last_read = self._reads.pop(0)
                connection.receive_data(self.last_read)
            elif isinstance(found, h11.Data):
                self.parsed += len(found.data)
                yield bytes(found.data)

    def join(self) -> list[bytes]:
        """Return the joined chunks."""
        joined = []
        for piece in join_chunks(self.read_chunks(), lambda: self.last_read):
            self.yielded += len(piece)
            joined.append(piece)
        return joined


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
    data, reads = STREAM + b"".join(map(chunk, chunks)) + b"0\r\n\r\n", []
    for size in sizes:
        reads.append(data[:size])
        data = data[size:]
    wire = Wire([read for read in (*reads, data) if read])
    assert b"".join(wire.join()) == b"".join(chunks)
    assert not any(wire.held)


def test_a_body_with_a_length_passes_as_it_is() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"
    wire = Wire([head + b"a\r\n5\r\nbcde", b"\r\n5\r\nfghij", b"0123456789"])
    assert b"".join(wire.join()) == b"a\r\n5\r\nbcde\r\n5\r\nfghij0123456789"
    assert not any(wire.held)
