"""The fixture of the wire tests: the program, run in this process."""

import os
from collections.abc import Iterator

import pytest
from support.endings import Ask, CliResult, check_result
from support.loopback import Loopback

from aiml_cli.__main__ import main


@pytest.fixture
def ask(server: Loopback, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Ask]:
    """Yield a function that runs a command line against the loopback server."""
    with open(os.devnull, "rb") as devnull:  # noqa: PTH123 - a device
        monkeypatch.setattr("sys.stdin", devnull)

        def run(*arguments: str, url: str = "", retries: int = 0, timeout: float = 20) -> CliResult:
            monkeypatch.setenv("AIML_BASE_URL", url or server.url)
            monkeypatch.setenv("AIML_RETRIES", str(retries))
            monkeypatch.setenv("AIML_TIMEOUT", str(timeout))
            code = main(list(arguments))
            output = capfdbinary.readouterr()
            out, err = (text.decode("utf-8", "replace") for text in (output.out, output.err))
            return check_result(CliResult(code, out, err))

        yield run
