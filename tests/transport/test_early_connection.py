"""The connection is opened before the request is ready, and no data of an unsent request is sent."""

import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

import pytest
from support import certificates
from support.forked_process import CliProcess
from support.loopback import HELLO, Loopback
from support.run_cli import build_command

from aiml_cli.settings.options import Options, change_options
from aiml_cli.transport import choose_transport, early_connection
from aiml_cli.transport.early_connection import EarlyConnection, open_socket
from aiml_cli.transport.tls_context import make_ssl_context

pytestmark = pytest.mark.promise("early-connection")
KEY = "sk-made-up-0123456789"
TIMEOUT_S = 30.0


class QuietServer:
    """A TLS server that answers nothing: it reports each connection, and what has arrived when that ends."""

    def __init__(self, *, closes: bool = False) -> None:
        self._closes = closes
        self._context = certificates.build_context()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self.opened, self.ended = Queue[None](), Queue[bytes]()
        self.connections = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        received = b""
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as encrypted:
            self.opened.put(None)
            while not self._closes and (piece := encrypted.recv(65536)):
                received += piece
        self.ended.put(received)


@pytest.fixture
def quiet_server() -> Iterator[QuietServer]:
    """Yield a server that answers nothing."""
    with QuietServer() as server:
        yield server


@pytest.fixture
def tls_server(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """Yield a server with TLS that says hello, whose certificate is trusted."""
    monkeypatch.setenv("AIML_CA_BUNDLE", certificates.write_bundle(empty_home))
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        yield server


@contextmanager
def start_program(
    url: str, *arguments: str, stdin: Any = subprocess.DEVNULL, **environ: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the program as a process; kill it after the block if it has not ended."""
    folder = Path.cwd()
    env = {
        **os.environ, "AIML_BASE_URL": url, "AIML_RETRIES": "0", "AIML_CA_BUNDLE": certificates.write_bundle(folder),
        "AIMLAPI_API_KEY": KEY, **environ,
    }  # fmt: skip
    pipes: dict[str, Any] = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with CliProcess(build_command(*arguments), env=env, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def run(url: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run the program as a process; return its exit code, standard output and standard error."""
    with start_program(url, *arguments, **environ) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, stdout.decode(), stderr.decode()


# What is read before the request is sent: the connection is open while the program waits for it.
WAITING_COMMANDS = {
    "a file": ["chat", "-f", "pipe"],
    "a file of words": ["chat", "hi", "@pipe"],
    "messages": ["chat", "--messages", "pipe"],
    "a system text": ["chat", "hi", "--system", "@pipe"],
    "a schema": ["chat", "hi", "--schema", "./pipe"],
    "the other endpoint": ["respond", "-f", "pipe"],
    "several models": ["chat", "-m", "a", "-m", "b", "-f", "pipe"],
}


@pytest.mark.parametrize("case", WAITING_COMMANDS)
def test_the_connection_is_open_before_the_request_is_ready(case: str, quiet_server: QuietServer) -> None:
    os.mkfifo("pipe")
    with start_program(quiet_server.url, *WAITING_COMMANDS[case]) as process:
        quiet_server.opened.get(timeout=TIMEOUT_S)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
    assert (quiet_server.ended.get(timeout=TIMEOUT_S), quiet_server.connections) == (b"", 1)


def test_the_request_goes_over_the_connection_that_is_open(tls_server: Loopback) -> None:
    os.mkfifo("pipe")
    with start_program(tls_server.url, "chat", "-f", "pipe") as process:
        Path("pipe").write_text("What is this?", encoding="utf-8")
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, stdout, tls_server.connections) == (0, b"Hello\n", 1)
    assert b"try" not in stderr
    assert [request.get_header("authorization") for request in tls_server.requests] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_a_call_takes_one_connection(command: str, tls_server: Loopback) -> None:
    tls_server.scripts[:] = [(HELLO,)]
    assert run(tls_server.url, command, "hi")[0] in (0, 8)
    assert (tls_server.connections, len(tls_server.requests)) == (1, 1)


# What fails after flags, settings and key: the connection may be open by then.
LATE_FAILURES = {
    "no such file": (["chat", "-f", "missing.txt"], 2),
    "a secret": (["chat", "-f", "secrets.env"], 2),
    "an empty prompt": (["chat", ""], 2),
    "words without a placeholder": (["chat", "--each", "line", "-f", "empty.txt", "-j", "0", "hi"], 2),
    "an invalid schema": (["chat", "hi", "--schema", "broken.json"], 2),
    "an invalid file of messages": (["chat", "--messages", "broken.json"], 2),
    "a file that cannot be written": (["chat", "hi", "-o", "no/such/folder/out.txt"], 2),
    "a system text that is missing": (["chat", "hi", "--system", "@missing.txt"], 2),
    "rows that are missing": (["chat", "--each", "line", "-f", "missing.txt", "{row}"], 2),
    "a tool that is missing": (["chat", "hi", "-T", "missing"], 2),
    "no conversation to continue": (["chat", "-c", "hi"], 2),
}


@pytest.mark.parametrize("case", LATE_FAILURES)
def test_a_request_that_fails_before_it_is_sent_sends_nothing(case: str, quiet_server: QuietServer) -> None:
    Path("empty.txt").touch()
    Path("broken.json").write_text("{", encoding="utf-8")
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n"
    Path("secrets.env").write_text(secret, encoding="utf-8")
    arguments, code = LATE_FAILURES[case]
    assert run(quiet_server.url, *arguments)[0] == code
    assert [quiet_server.ended.get(timeout=TIMEOUT_S) for _ in range(quiet_server.connections)] == [
        b""
    ] * quiet_server.connections


# What is wrong with flags, settings or the key, and what needs no server.
NO_CONNECTION: dict[str, tuple[list[str], dict[str, str], int]] = {
    "an invalid value": (["chat", "hi", "--temperature", "warm"], {}, 2),
    "an invalid setting": (["chat", "hi"], {"AIML_TEMPERATURE": "warm"}, 2),
    "an unknown flag": (["chat", "hi", "--no-such-flag"], {}, 2),
    "flags that cannot be used together": (["chat", "hi", "--json", "--extract", "1"], {}, 2),
    "one model of several": (["chat", "hi", "-m", "a", "--first"], {}, 2),
    "a malformed key": (["chat", "hi"], {"AIMLAPI_API_KEY": "sk with blanks"}, 3),
    "a key command that fails": (["chat", "hi"], {"AIMLAPI_API_KEY": "", "AIML_KEY_COMMAND": "false"}, 3),
    "certificates that cannot be read": (["chat", "hi"], {"AIML_CA_BUNDLE": "/dev/null"}, 2),
    "a profile that is missing": (["chat", "hi", "--profile", "missing"], {}, 2),
    "a key in a header": (["chat", "hi", "--header", f"X-Key: {KEY}"], {}, 2),
    "a malformed name of a tool": (["chat", "hi", "--tool-choice", "two words"], {}, 2),
    "a malformed tool": (["chat", "hi", "--tools", '{"type": "function", "function": {"name": "a b"}}'], {}, 2),
    "a malformed server of tools": (["respond", "hi", "--mcp-server", "x=nowhere"], {}, 2),
    "a part of what has no parts": (["chat", "hi", "-O", "model.x=1"], {}, 2),
    "an empty model of several": (["chat", "hi", "-m", "a,,b"], {}, 2),
    "a malformed id": (["respond", "--wait", "../x"], {}, 2),
    "a prompt where none is asked": (["respond", "--show", "resp_1", "hi"], {}, 2),
    "a file for an id": (["respond", "hi", "--background", "-o", "x.txt"], {}, 2),
    "a variable of no prompt": (["respond", "hi", "--prompt-var", "a=b"], {}, 2),
    "rows of two files": (["chat", "--each", "line", "-f", "rows.txt", "-f", "rows.txt", "{row}"], {}, 2),
    "rows with another name": (["chat", "--each", "line", "-f", "rows.txt", "{name}"], {}, 2),
    "nothing to cut": (["chat", "--chunk", "10", "hi"], {}, 2),
    "a file that is not replaced unasked": (["chat", "--in-place", "rows.txt", "hi"], {}, 2),
    "a dry run": (["chat", "hi", "--dry-run"], {}, 0),
    "a curl command": (["chat", "hi", "--as", "curl"], {}, 0),
    "a dry run of rows": (["chat", "--each", "line", "{row}", "--dry-run", "-f", "rows.txt"], {}, 0),
    "an estimate of rows": (["chat", "--each", "line", "{row}", "--estimate", "-f", "rows.txt"], {}, 0),
    "a replay": (["chat", "hi", "--replay", "recording.jsonl"], {}, 2),
    "the demo": (["chat", "hi", "--demo"], {}, 0),
    "a version": (["--version"], {}, 0),
    "a help": (["chat", "--help"], {}, 0),
    "a setting": (["config", "get", "model"], {}, 0),
    "the history": (["history", "list"], {}, 0),
}


@pytest.mark.parametrize("case", NO_CONNECTION)
def test_no_server_is_contacted_if_no_request_is_possible(case: str, quiet_server: QuietServer) -> None:
    Path("rows.txt").write_text("a\nb\n", encoding="utf-8")
    Path("recording.jsonl").touch()
    arguments, environ, code = NO_CONNECTION[case]
    assert run(quiet_server.url, *arguments, **environ)[0] == code
    assert quiet_server.connections == 0


def test_a_cached_answer_contacts_no_server(tls_server: Loopback) -> None:
    assert run(tls_server.url, "chat", "hi", "--cache", "7d")[:2] == (0, "Hello\n")
    assert run(tls_server.url, "chat", "hi", "--cache", "7d")[:2] == (0, "Hello\n")
    assert tls_server.connections == 1


def test_no_server_is_contacted_while_a_pipe_has_sent_nothing(quiet_server: QuietServer) -> None:
    with start_program(quiet_server.url, "chat", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        assert b"waiting for standard input" in process.stderr.readline()
        with pytest.raises(Empty):
            quiet_server.opened.get(timeout=2 * early_connection.POLL_S)
        process.stdin.write(b"hi")
        process.stdin.flush()
        quiet_server.opened.get(timeout=TIMEOUT_S)
        process.kill()


def test_the_connection_opens_once_a_pipe_has_sent_something(quiet_server: QuietServer) -> None:
    with start_program(quiet_server.url, "chat", stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(b"the first words")
        process.stdin.flush()
        quiet_server.opened.get(timeout=TIMEOUT_S)
        assert process.poll() is None


def test_a_connection_that_the_server_has_closed_is_replaced(tls_server: Loopback) -> None:
    os.mkfifo("pipe")
    address = ("127.0.0.1", tls_server.port)
    with (
        QuietServer(closes=True) as closing,
        _relay_first_to(closing, address) as url,
        start_program(url, "chat", "-f", "pipe") as process,
    ):
        closing.ended.get(timeout=TIMEOUT_S)
        Path("pipe").write_text("hi", encoding="utf-8")
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, stdout, len(tls_server.requests)) == (0, b"Hello\n", 1)
    assert b"again" not in stderr


@contextmanager
def _relay_first_to(closing: QuietServer, address: tuple[str, int]) -> Iterator[str]:
    """Yield the URL of a relay: the first connection leads to one server, those after it to another."""
    first = ("127.0.0.1", int(closing.url.rpartition(":")[2].partition("/")[0]))
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def serve() -> None:
            with suppress(OSError):
                for number in range(10):
                    client = stack.enter_context(listener.accept()[0])
                    target = stack.enter_context(socket.create_connection(address if number else first))
                    for pair in ((client, target), (target, client)):
                        threading.Thread(target=_forward, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_handshake(number: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        start_program(f"https://127.0.0.1:{silent.getsockname()[1]}/v1", "chat", "hi") as process,
        silent.accept()[0] as connection,
    ):
        connection.settimeout(TIMEOUT_S)
        assert connection.recv(5)  # the handshake has begun
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 128 + number
        assert KEY.encode() not in _read_rest(connection)


def _read_rest(connection: socket.socket) -> bytes:
    rest = b""
    with suppress(OSError):
        while piece := connection.recv(65536):
            rest += piece
    return rest


def test_rows_take_one_connection_a_worker(tls_server: Loopback) -> None:
    Path("rows.txt").write_text("".join(f"{row}\n" for row in range(6)), encoding="utf-8")
    code, stdout, _ = run(tls_server.url, "chat", "--each", "line", "-f", "rows.txt", "-j", "1", "{row}")
    assert (code, len(stdout.splitlines())) == (0, 6)
    assert tls_server.connections == len(tls_server.requests) == 6  # the server answers one request on each connection


@pytest.fixture
def early_connections(monkeypatch: pytest.MonkeyPatch) -> list[EarlyConnection]:
    """Return a list of the early connections that are started; none of them runs."""
    early = list[EarlyConnection]()
    monkeypatch.setattr(EarlyConnection, "start", lambda self: early.append(self))  # noqa: PLW0108 - a method has a self
    return early


def connect_early(url: str, *words: str, **options: Any) -> None:
    with choose_transport.connect_early(change_options(Options(), base_url=url, **options), url, words):
        pass


def test_a_server_on_another_machine_is_connected_to_early(early_connections: list[EarlyConnection]) -> None:
    connect_early("https://api.example.test/v1")
    connect_early("http://api.example.test/v1")
    assert len(early_connections) == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://localhost:9/v1", "https://h\u00e4user.test/v1"])
def test_no_thread_is_started_if_it_saves_no_time(url: str, early_connections: list[EarlyConnection]) -> None:
    connect_early(url)
    assert early_connections == []


@pytest.mark.parametrize(
    ("words", "options", "is_waiting"),
    [
        (["hi"], {}, False),
        (["-"], {}, True),
        (["hi"], {"file": ("a.txt", "-")}, True),
        ([], {"messages": "-"}, True),
        (["hi"], {"file": ("a.txt",)}, False),
    ],
)
def test_the_connection_waits_for_input_that_is_typed(
    words: list[str], options: dict[str, Any], is_waiting: bool, early_connections: list[EarlyConnection]
) -> None:
    connect_early("https://api.example.test/v1", *words, **options)
    assert [early._is_waiting for early in early_connections] == [is_waiting]  # noqa: SLF001


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("exceptions", ["", "*", "api.example.test"])
def test_a_proxy_is_never_bypassed(
    name: str, exceptions: str, early_connections: list[EarlyConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", exceptions)
    connect_early("https://api.example.test/v1")
    assert early_connections == []


def test_no_proxy_without_a_proxy_has_no_effect(
    early_connections: list[EarlyConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,::1")
    connect_early("https://api.example.test/v1")
    assert len(early_connections) == 1


def test_a_connection_is_used_only_for_its_own_server(tls_server: Loopback, empty_home: Path) -> None:
    early = EarlyConnection(tls_server.url, TIMEOUT_S, certificates.write_bundle(empty_home))
    early.start()
    assert early.take("localhost", tls_server.port) is None
    assert early.take("127.0.0.1", tls_server.port) is None


def test_a_connection_is_used_once(tls_server: Loopback, empty_home: Path) -> None:
    early = EarlyConnection(tls_server.url, TIMEOUT_S, certificates.write_bundle(empty_home))
    early.start()
    connection = early.take("127.0.0.1", tls_server.port)
    assert isinstance(connection, ssl.SSLSocket)
    assert (connection.server_hostname, connection.selected_alpn_protocol()) == ("127.0.0.1", None)
    assert early.take("127.0.0.1", tls_server.port) is None
    connection.close()


def test_an_unused_connection_is_closed(
    quiet_server: QuietServer, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_connection, "IDLE_S", 0.01)
    early = EarlyConnection(quiet_server.url, TIMEOUT_S, certificates.write_bundle(empty_home))
    early.start()
    assert quiet_server.ended.get(timeout=TIMEOUT_S) == b""
    assert early.take("127.0.0.1", early.port) is None


def test_a_missing_handshake_takes_the_time_of_one_attempt(empty_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        early = EarlyConnection(f"https://127.0.0.1:{port}/v1", 0.1, certificates.write_bundle(empty_home))
        early.start()
        with pytest.raises(TimeoutError):
            early.take("127.0.0.1", port)


def test_all_threads_share_one_tls_context(empty_home: Path) -> None:
    bundle, contexts = certificates.write_bundle(empty_home), Queue[object]()
    threads = [threading.Thread(target=lambda: contexts.put(make_ssl_context(bundle))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(contexts.get()) for _ in threads}) == 1
    assert make_ssl_context(None) is not make_ssl_context(bundle)


@contextmanager
def _open_unresponsive_address() -> Iterator[tuple[str, int]]:
    """Yield an address whose queue is full: a connection is neither accepted nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@contextmanager
def _open_refusing_address() -> Iterator[tuple[str, int]]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()


def _resolve_names_to(monkeypatch: pytest.MonkeyPatch, *targets: tuple[str, int]) -> None:
    """Let each name have these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target) for target in targets]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize("open_dead_address", [_open_unresponsive_address, _open_refusing_address])
def test_after_an_address_that_does_not_answer_the_next_one_is_tried(
    open_dead_address: Any, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_dead_address() as dead:
        _resolve_names_to(monkeypatch, dead, ("127.0.0.1", server.port))
        with open_socket("api.example.test", 443, TIMEOUT_S) as connection:
            assert connection.getpeername() == ("127.0.0.1", server.port)


def test_the_last_error_is_that_of_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with _open_refusing_address() as dead:
        _resolve_names_to(monkeypatch, dead, dead)
        with pytest.raises(ConnectionRefusedError):
            open_socket("api.example.test", 443, TIMEOUT_S)


def test_addresses_that_do_not_answer_are_given_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with _open_unresponsive_address() as dead:
        _resolve_names_to(monkeypatch, dead, dead, dead)
        with pytest.raises(TimeoutError):
            open_socket("api.example.test", 443, 0.4)


def test_a_lookup_that_does_not_end_takes_no_longer_than_a_connection_and_lets_signals_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, threads = threading.Event(), Queue[threading.Thread]()

    def look_up(*_: object, **__: object) -> list[Any]:
        threads.put(threading.current_thread())
        ended.wait(TIMEOUT_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(TimeoutError):
        open_socket("api.example.test", 443, 0.01)
    assert threads.get(timeout=TIMEOUT_S) is not threading.current_thread()  # it holds up the signals of its thread
    ended.set()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
@pytest.mark.parametrize("has_threads", [True, False])
def test_a_lookup_that_fails_says_why(error: Exception, has_threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    if not has_threads:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(type(error)):
        open_socket("api.example.test", 443, TIMEOUT_S)


def test_ipv4_and_ipv6_addresses_are_tried_alternately() -> None:
    six = [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", (f"::{n}", 1)) for n in range(3)]
    four = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (f"127.0.0.{n}", 1)) for n in range(2)]
    order = early_connection._alternate_families([*six, *four])  # noqa: SLF001 - the system's order cannot be chosen
    assert order == [six[0], four[0], six[1], four[1], six[2]]


def test_without_a_free_thread_only_the_head_start_is_lost(
    tls_server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = EarlyConnection(tls_server.url, TIMEOUT_S, certificates.write_bundle(empty_home))

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    early.start()
    assert early.take("127.0.0.1", tls_server.port) is None


def test_child_processes_do_not_inherit_the_connection(tls_server: Loopback) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"], "aiml", "config.toml")
    config.parent.mkdir()
    listing = Path("fds").absolute()
    config.write_text(f"[loaders]\ntxt = 'sh -c \"ls -l /proc/self/fd > {listing}; cat {{}}\"'\n", encoding="utf-8")
    Path("a.txt").write_text("hi", encoding="utf-8")
    code, stdout, stderr = run(tls_server.url, "chat", "-f", "a.txt")
    assert (code, stdout) == (0, "Hello\n"), stderr
    assert "socket:" not in listing.read_text(encoding="utf-8")
