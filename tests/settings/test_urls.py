"""The host of an address, which decides where a key is sent, is never ambiguous."""

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.settings.urls import (
    check_base_url,
    host_of,
    is_local,
    is_unencrypted,
    join_url,
    origin_of,
    path_below,
    root_of,
)


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
def test_an_address_without_a_host_is_refused(url: str) -> None:
    for read in (host_of, origin_of, is_local, is_unencrypted):
        with pytest.raises(UsageError, match="is not the URL of a server"):
            read(url)


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/v1", "https://api.aimlapi.com@evil.example", "https://u:secret@["]
)
def test_a_password_in_the_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="a user name or a password") as caught:
        host_of(url)
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("url", "is_loopback"),
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
def test_loopback_addresses_are_recognized(url: str, is_loopback: bool) -> None:
    assert is_local(url) is is_loopback


@pytest.mark.promise("key-per-server")
def test_plain_http_is_recognized_in_every_spelling() -> None:
    assert is_unencrypted("HtTp://host")
    assert not is_unencrypted("https://host")


JOINED_URLS = [
    ("https://h/v1", "https://h/v1/chat/completions"),
    ("https://h/v1/", "https://h/v1/chat/completions"),
    ("https://h/v1//", "https://h/v1/chat/completions"),
    ("https://h", "https://h/chat/completions"),
    ("https://h/", "https://h/chat/completions"),
    ("https://h/v1?", "https://h/v1/chat/completions"),
    ("https://h/v1?api-version=1", "https://h/v1/chat/completions?api-version=1"),
    ("https://h/v1/?api-version=1&b=%2F", "https://h/v1/chat/completions?api-version=1&b=%2F"),
    ("https://h?a=/v1/", "https://h/chat/completions?a=/v1/"),
]


@pytest.mark.parametrize(("base", "url"), JOINED_URLS)
def test_a_path_goes_before_the_query_of_the_base(base: str, url: str) -> None:
    assert check_base_url(base) == base
    assert join_url(base, "/chat/completions") == url
    assert path_below(url, base) == "/chat/completions"


@pytest.mark.parametrize(("base", "_"), JOINED_URLS)
def test_the_query_of_a_path_follows_that_of_the_base(base: str, _: str) -> None:
    query = base.partition("?")[2]
    assert join_url(base, "/models?x=1").partition("?")[2] == f"{query}&x=1".lstrip("&")
    assert path_below(join_url(base, "/models?x=1"), base) == "/models?x=1"
    stored = join_url(join_url(join_url(base, "/responses"), "/r%2F1"), "/cancel")
    assert path_below(stored, base) == "/responses/r%2F1/cancel"


def test_other_addresses_of_the_server_keep_the_query() -> None:
    assert join_url(root_of("https://h:8443/v1/?k=1"), "/v2/billing") == "https://h:8443/v2/billing?k=1"
    assert join_url(root_of("https://h/a/b"), "/v2/x?y=2") == "https://h/v2/x?y=2"


def test_a_path_outside_of_the_base_stays_whole() -> None:
    assert path_below("https://h/v1/models?x=1", "https://other/v1") == "/v1/models?x=1"
    assert path_below("https://h/v2/models", "https://h/v2/mod") == "/v2/models"


@pytest.mark.parametrize("end", ["", "/", "//", "?api-version=1", "/?x"])
@pytest.mark.parametrize(
    "path", ["chat/completions", "responses", "models", "completions", "embeddings", "Chat/Completions", "v2/billing"]
)
def test_the_path_of_an_endpoint_is_refused_as_a_base_url(path: str, end: str) -> None:
    with pytest.raises(UsageError, match="ends with the path of an endpoint") as caught:
        check_base_url(f"https://h/v1/{path}{end}")
    assert "use the part before it: https://h/v1; " in caught.value.hint


@pytest.mark.parametrize("url", ["https://h/v1#", "https://h/v1#x", "https://h/v1?a=1#x", "https://h#/v1"])
def test_a_fragment_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="a fragment"):
        check_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "foo/v1",
        "//h/v1",
        "localhost:8080",
        "https://<your host>/v1",
        "https://",
        "https://.",
        "https://<host>/v1",
    ],
)
def test_an_address_without_a_server_is_refused_as_a_base_url(url: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a server"):
        check_base_url(url)
