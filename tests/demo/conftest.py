"""The fixture of the demo tests: one running server."""

from collections.abc import Iterator

import pytest
from support.demo_client import DemoClient

from aiml_cli.demo.server import serve


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoClient]:
    """Start the server; yield a client of it."""
    with serve() as url:
        yield DemoClient(url)
