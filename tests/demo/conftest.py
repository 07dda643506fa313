"""What the tests of the demo share: one running server."""

from collections.abc import Iterator

import pytest
from support.demo_client import Demo

from aiml_cli.demo.server import serve


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Run the server."""
    with serve() as url:
        yield Demo(url)
