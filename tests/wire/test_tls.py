"""TLS certificates are always checked, and errors are explained."""

from pathlib import Path

import pytest
import trustme
from support import certificates
from support.endings import Ask
from support.loopback import HELLO, SILENCE, Drip, Loopback

KEY = "sk-made-up-0123456789"


@pytest.mark.promise("key-per-server")
def test_a_server_with_a_valid_certificate_is_trusted(empty_home: Path, ask: Ask) -> None:
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        assert ask("chat", "hi", "--ca-bundle", certificates.write_bundle(empty_home), url=server.url) == (
            0,
            "Hello\n",
            "",
        )


@pytest.mark.promise("key-per-server")
def test_the_variable_of_the_system_names_certificates_too(
    empty_home: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.write_bundle(empty_home))
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        assert ask("chat", "hi", url=server.url) == (0, "Hello\n", "")


INVALID_CERTIFICATES = {
    "self-signed": (lambda: certificates.build_context(signed_by=trustme.CA()), "certificate"),
    "expired": (lambda: certificates.build_context(expired=True), "expired"),
    "of another host": (lambda: certificates.build_context("other.test"), "mismatch"),
}


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("fault", INVALID_CERTIFICATES)
def test_a_server_with_an_invalid_certificate_gets_neither_key_nor_prompt(
    fault: str, empty_home: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_context, words = INVALID_CERTIFICATES[fault]
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    with Loopback(tls=build_context()) as server:
        server.answer_with(HELLO)
        ending = ask("chat", "hi", "--ca-bundle", certificates.write_bundle(empty_home), url=server.url, retries=2)
        assert (ending.code, ending.stdout, server.requests, server.connections) == (7, "", [], 1)
        assert "the server's certificate is not trusted: " in ending.stderr
        assert words in ending.stderr


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("name", ["SSLKEYLOGFILE", "PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_no_variable_switches_the_check_off(name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0" if name == "PYTHONHTTPSVERIFY" else "")
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        assert ask("chat", "hi", url=server.url).code == 7
        assert server.requests == []


def test_a_server_without_tls_is_an_error(server: Loopback, ask: Ask) -> None:
    server.skips_request = True
    server.answer_with(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ending = ask("chat", "hi", url=server.url.replace("http:", "https:"), retries=2)
    assert (ending.code, ending.stdout, server.connections) == (7, "", 1)
    assert "no TLS connection: wrong version number" in ending.stderr


def test_plain_http_to_a_tls_server_is_an_error(ask: Ask) -> None:
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(HELLO)
        ending = ask("chat", "hi", url=server.url.replace("https:", "http:"))
        assert (ending.code in (6, 7), ending.stdout) == (True, "")


@pytest.mark.promise("timeouts")
def test_a_missing_handshake_is_an_error_in_time(server: Loopback, ask: Ask) -> None:
    server.skips_request = True
    server.answer_with(SILENCE)
    ending = ask("chat", "hi", url=server.url.replace("http:", "https:"), timeout=0.3)
    assert (ending.code, "no connection within 0.3 s" in ending.stderr) == (7, True)


@pytest.mark.promise("timeouts")
def test_slow_headers_through_tls_are_an_error_in_time(empty_home: Path, ask: Ask) -> None:
    with Loopback(tls=certificates.build_context()) as server:
        server.answer_with(Drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
        ending = ask("chat", "hi", "--ca-bundle", certificates.write_bundle(empty_home), url=server.url, timeout=0.4)
        assert (ending.code, "no answer in time" in ending.stderr) == (7, True)


@pytest.mark.parametrize("path", ["/no/such/file", "/dev/null", "/"])
def test_certificates_that_cannot_be_read_are_an_error(path: str, ask: Ask) -> None:
    ending = ask("chat", "hi", "--ca-bundle", path, url="https://127.0.0.1:9/v1")
    assert (ending.code, ending.stdout, "no certificates could be read" in ending.stderr) == (2, "", True)
