"""Choose the rows of --sample from an input, read once: the same ones in each run over the same input."""

from collections.abc import Iterator
from hashlib import blake2b
from heapq import nsmallest

from aiml_cli.batch.rows import Notify, Row, RowInput, Rows


class SampledRows(Rows):
    """A random sample of the rows of an input, which must end; only the rows of the sample are in memory."""

    def __init__(self, row_format: str, source: RowInput, notify: Notify, *, size: int) -> None:
        super().__init__(row_format, source, notify)
        self._size = size

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows of the sample, as they are in the input; not safe for threads."""
        yield from sorted(nsmallest(self._size, super().__iter__(), key=_rank), key=lambda row: row.number)

    def estimate_total(self) -> int:
        """Estimate the number of rows in the sample; 0 if the size of the input is unknown."""
        return min(self._size, super().estimate_total())


def _rank(row: Row) -> bytes:
    """Return a number that is random, but always the same for a row's number.

    So a run goes on with the same sample, a larger sample includes each smaller one, and the shards share one sample.
    """
    return blake2b(row.number.to_bytes(8, "big"), digest_size=8, person=b"aiml sample").digest()
