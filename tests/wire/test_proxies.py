"""Proxies of the environment are used, and their errors are explained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import certificates
from support.endings import Ask, CliResult
from support.loopback import HELLO, SILENCE, Loopback
from support.proxy import Proxy

KEY = "sk-made-up-0123456789"
TLS_SERVER_URL = "https://api.example.test/v1"


@pytest.fixture
def tls_server() -> Iterator[Loopback]:
    """Run a server that only a proxy can reach by its name."""
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        yield server


@pytest.fixture
def ask_through_proxy(ask: Ask, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return a function that asks the far server with these variables."""

    def run(timeout: float = 20, retries: int = 0, **variables: str) -> CliResult:
        monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return ask(
            "chat",
            "hi",
            "--ca-bundle",
            certificates.write_bundle(empty_home),
            url=TLS_SERVER_URL,
            timeout=timeout,
            retries=retries,
        )

    return run


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_and_sees_neither_key_nor_prompt(
    name: str, tls_server: Loopback, ask_through_proxy: Ask
) -> None:
    with Proxy(tls_server.port) as proxy:
        assert ask_through_proxy(**{name: proxy.url}) == (0, "Hello\n", "")
    (head,) = proxy.request_heads
    assert head.startswith(b"CONNECT api.example.test:443 HTTP/1.1\r\n")
    assert KEY.encode() not in head
    assert tls_server.requests[0].get_header("authorization") == f"Bearer {KEY}"


PROXY_REFUSALS = [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "the proxy refused: 407", 7),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the proxy refused: 403", 7),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "the proxy refused: 502", 7),
    (b"HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\nContent-Length: 0\r\n\r\n", "the proxy refused: 302", 7),
    (b"garbage\r\n\r\n", "not HTTP", 6),
    (b"", "closed without an answer", 7),
    (b"HTTP/1.1 2", "closed without an answer", 7),
]


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize(("reply", "words", "code"), PROXY_REFUSALS)
def test_a_proxy_that_refuses_the_tunnel_is_an_error(
    reply: bytes, words: str, code: int, tls_server: Loopback, ask_through_proxy: Ask
) -> None:
    with Proxy(tls_server.port, reply) as proxy:
        ending = ask_through_proxy(HTTPS_PROXY=proxy.url)
    assert (ending.code, ending.stdout, tls_server.requests) == (code, "", [])
    assert words in ending.stderr


@pytest.mark.promise("timeouts")
def test_a_proxy_that_never_answers_is_an_error(server: Loopback, ask_through_proxy: Ask) -> None:
    server.answer_with(SILENCE)
    ending = ask_through_proxy(timeout=0.3, HTTPS_PROXY=f"http://127.0.0.1:{server.port}")
    assert (ending.code, "no answer in time" in ending.stderr) == (7, True)


@pytest.mark.promise("timeouts")
def test_a_server_that_never_answers_through_a_proxy_is_an_error(tls_server: Loopback, ask_through_proxy: Ask) -> None:
    tls_server.scripts[:] = [(SILENCE,)]
    with Proxy(tls_server.port) as proxy:
        ending = ask_through_proxy(timeout=0.4, HTTPS_PROXY=proxy.url)
    assert (ending.code, "no answer in time" in ending.stderr) == (7, True)


INVALID_PROXIES = [
    ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "socks", 2),
    ({"HTTPS_PROXY": "socks5h://127.0.0.1:9"}, "socks", 2),
    ({"HTTPS_PROXY": "ftp://127.0.0.1:9"}, "the proxy settings cannot be used", 2),
    ({"HTTPS_PROXY": "http://user:secretword@127.0.0.1:port"}, "the proxy settings cannot be used", 2),
    ({"HTTPS_PROXY": "http://[::1"}, "the proxy settings cannot be used", 2),
    ({"HTTPS_PROXY": "gopher://user:secretword@127.0.0.1:9"}, "the proxy settings cannot be used", 2),
    ({"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "fe80::/10"}, "no_proxy", 2),
    ({"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1]"}, "no_proxy", 2),
    ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "no connection", 7),
    ({"HTTPS_PROXY": "127.0.0.1:9"}, "no connection", 7),
    ({"HTTPS_PROXY": "http://user:secretword@127.0.0.1:9"}, "no connection", 7),
]


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize(("variables", "words", "code"), INVALID_PROXIES)
def test_an_invalid_proxy_is_an_error_of_one_line(
    variables: dict[str, str], words: str, code: int, tls_server: Loopback, ask_through_proxy: Ask
) -> None:
    ending = ask_through_proxy(**variables)
    assert (ending.code, ending.stdout, tls_server.requests) == (code, "", [])
    assert words in ending.stderr.lower()
    assert "secretword" not in ending.stderr
    assert len(ending.stderr.splitlines()) == 2


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize(
    "no_proxy",
    ["::1", "[::1]", "fe80::/10", "*", ",", " , x", "127.0.0.1,::1", "http://", "[", "a b", "10.0.0.0/8", ".test."],
)
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", ""])
def test_a_server_on_this_machine_is_asked_whatever_the_proxy_variables_say(
    proxy: str, no_proxy: str, server: Loopback, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HTTP_PROXY": proxy, "ALL_PROXY": proxy, "NO_PROXY": no_proxy}.items():
        monkeypatch.setenv(name, value)
    server.answer_with(HELLO)
    assert ask("chat", "hi") == (0, "Hello\n", "")


@pytest.mark.promise("odd-environment")
@pytest.mark.parametrize("no_proxy", ["::1", "localhost,::1,10.0.0.0/8", "[", ",,"])
def test_ipv6_addresses_in_no_proxy_do_not_disable_the_proxy(
    no_proxy: str, tls_server: Loopback, ask_through_proxy: Ask
) -> None:
    with Proxy(tls_server.port) as proxy:
        ending = ask_through_proxy(HTTPS_PROXY=proxy.url, NO_PROXY=no_proxy)
    assert ending == (0, "Hello\n", "")
