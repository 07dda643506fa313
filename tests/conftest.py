"""What the tests share: a clean place to run in, and a server on loopback that sends any bytes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import promise_report as promise_lines
from support.loopback import Loopback
from support.run_cli import Aiml, command

from aiml_cli.settings.options import ROWS

# Programs that are installed with the tests, such as http, are found as those of the system are.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

VARIABLES = [variable for row in ROWS.values() for variable in row.variables]
PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"]
COLOURS = ["NO_COLOR", "FORCE_COLOR", "COLUMNS"]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty home: nothing of the developer's settings takes part."""
    for variable in [*VARIABLES, *PROXIES, *map(str.lower, PROXIES), *COLOURS]:
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        (tmp_path / variable.lower()).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    # A developer's own keyring takes no part either.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Give a server on loopback that answers with the bytes it is given."""
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def aiml(server: Loopback) -> Aiml:
    """Give a function that runs the program as a process of its own, asking the loopback server."""

    def run(*arguments: str, stdin: bytes | None = None, **environ: str) -> "subprocess.CompletedProcess[bytes]":
        places: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            command(*arguments),
            env={**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", **environ},
            capture_output=True,
            timeout=60,
            check=False,
            **places,
        )

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take --promises."""
    parser.addoption("--promises", action="store_true", help="say one line of each promise of docs/reliability.md")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let each report know the promises that its test holds."""
    item.user_properties += [(promise_lines.MARK, key) for mark in item.iter_markers("promise") for key in mark.args]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say one line of each promise, where that is asked for."""
    if config.getoption("promises"):
        reports = [report for each in terminalreporter.stats.values() for report in each]
        for line in promise_lines.lines([each for each in reports if isinstance(each, pytest.TestReport)]):
            terminalreporter.write_line(line)
