"""A key belongs to a host; what names the host must not be in doubt."""

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted, origin_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.aimlapi.com/v1", "api.aimlapi.com"),
        ("https://API.aimlapi.com:443/v1?x#y", "api.aimlapi.com"),
        ("http://localhost:80", "localhost"),
        ("https://localhost:80", "localhost:80"),
        ("HTTP://127.0.0.1:8080/@home", "127.0.0.1:8080"),
        ("http://[::1]:8080/v1", "[::1]:8080"),
        ("http://[::1:8080]/v1", "[::1:8080]"),
    ],
)
def test_a_host_is_named_with_its_unusual_port(url: str, host: str) -> None:
    assert host_of(url) == host
    assert origin_of(url).endswith(f"://{host}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.aimlapi.com/v1",
        "ftp://api.aimlapi.com",
        "https://",
        "https:///v1",
        "https://host:port",
        "https://host:0",
        "https://[::1",
        "https://api.aimlapi.com\\.evil.example",
        "https://api.aimlapi\t.com",
        "https://api.aimlapi.com\n.evil.example",
        " https://api.aimlapi.com",
    ],
)
def test_what_names_no_host_is_refused(url: str) -> None:
    for ask in (host_of, origin_of, is_local, is_unencrypted):
        with pytest.raises(UsageError, match="is not the address of a server"):
            ask(url)


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/v1", "https://api.aimlapi.com@evil.example", "https://u:secret@["]
)
def test_a_password_in_the_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="a user name or a password") as told:
        host_of(url)
    assert "secret" not in told.value.message + told.value.hint


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://localhost", True),
        ("http://LOCALHOST:9", True),
        ("http://a.localhost", True),
        ("http://notlocalhost", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.promise("key-bound")
def test_plain_http_is_told_however_it_is_spelled() -> None:
    assert is_unencrypted("HtTp://host")
    assert not is_unencrypted("https://host")
