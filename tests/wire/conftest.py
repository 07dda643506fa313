"""What the tests of the wire share: the program, run in this process."""

import os
from collections.abc import Iterator

import pytest
from support.endings import Ask, Ending, as_every_ending
from support.loopback import Loopback

from aiml_cli.__main__ import main


@pytest.fixture
def ask(server: Loopback, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Ask]:
    """Give a function that runs a command line against the loopback server."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        monkeypatch.setattr("sys.stdin", nothing)

        def run(*arguments: str, url: str = "", retries: int = 0, timeout: float = 20) -> Ending:
            monkeypatch.setenv("AIML_BASE_URL", url or server.url)
            monkeypatch.setenv("AIML_RETRIES", str(retries))
            monkeypatch.setenv("AIML_TIMEOUT", str(timeout))
            code = main(list(arguments))
            written = capfdbinary.readouterr()
            out, err = (each.decode("utf-8", "replace") for each in (written.out, written.err))
            return as_every_ending(Ending(code, out, err))

        yield run
