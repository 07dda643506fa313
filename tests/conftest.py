"""The fixtures of all tests: an empty home, a server on loopback, the program as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support import promise_report
from support.forked_process import run_process
from support.loopback import Loopback
from support.run_cli import Aiml, build_command, replace_stdin

from aiml_cli.__main__ import main
from aiml_cli.core import turn
from aiml_cli.settings.options import ROWS

# Programs that are installed with the tests, such as http, are found like those of the system.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# A shell that starts the tests in the background lets them, and so all their processes, ignore these signals.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
COLORS = {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
VARIABLES = PROXIES | COLORS | set(map(str.lower, PROXIES)) | {name for row in ROWS.values() for name in row.variables}

# A deadline would fail on a busy machine. Tests whose examples are cheap and numerous have more of them.
settings.register_profile("aiml", deadline=None, max_examples=40)
settings.load_profile("aiml")


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty home, without the settings of the developer; return it."""
    for variable in VARIABLES & os.environ.keys():
        monkeypatch.delenv(variable)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        (tmp_path / variable.lower()).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Yield a server on loopback."""
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def aiml(request: pytest.FixtureRequest, server: Loopback) -> Aiml:
    """Return a function that runs the program as a process, against the loopback server; see the mark in_process."""
    if request.node.get_closest_marker("in_process"):
        in_process: Aiml = request.getfixturevalue("aiml_in_process")
        return in_process

    def run(
        *arguments: str, stdin: bytes | None = None, before: Sequence[str] = (), **environ: str
    ) -> "subprocess.CompletedProcess[bytes]":
        streams: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return run_process(
            [*before, *build_command(*arguments)],
            env={**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": "0", **environ},
            capture_output=True,
            **streams,
        )

    return run


@pytest.fixture
def aiml_in_process(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Aiml:
    """Return a function that runs the program in this process, for tables of answers and errors."""

    def run(*arguments: str, stdin: bytes | None = None, **environ: str) -> "subprocess.CompletedProcess[bytes]":
        capfdbinary.readouterr()
        with monkeypatch.context() as patch, replace_stdin(stdin):
            for name, value in {"AIML_BASE_URL": server.url, "AIML_RETRIES": "0", **environ}.items():
                patch.setenv(name, value)
            patch.setattr(turn, "_printed_notices", set())  # each notice is printed once a process
            code = main([*arguments])
        return subprocess.CompletedProcess(arguments, code, *capfdbinary.readouterr())

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --promises."""
    parser.addoption("--promises", action="store_true", help="print a line for each promise of reliability.md")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the promises of a test to its reports."""
    item.user_properties += [(promise_report.MARKER, key) for mark in item.iter_markers("promise") for key in mark.args]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each promise if --promises is given."""
    if config.getoption("promises"):
        reports = [report for group in terminalreporter.stats.values() for report in group]
        for line in promise_report.format_report(
            [report for report in reports if isinstance(report, pytest.TestReport)]
        ):
            terminalreporter.write_line(line)
