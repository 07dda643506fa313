"""Neither key nor prompt follows a redirect elsewhere; a GET is followed on its own origin."""

import pytest
from support.endings import Ask
from support.loopback import HELLO, Loopback, http_response, json_response, response_object

KEY = "sk-made-up-0123456789"
PROMPT = "a secret prompt"
KINDS = ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
CATALOG = json_response({"data": [{"id": "m", "type": "openai/chat-completions"}]})


def build_redirect(place: str, kind: str = "302 Found") -> bytes:
    """Make a redirect."""
    return http_response(b"", kind, "text/plain", f"Location: {place}")


@pytest.fixture
def other_server() -> Loopback:
    """Make a server of another origin."""
    made = Loopback()
    made.answer_with(HELLO)
    return made


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_never_follows_a_redirect(
    kind: str, command: str, server: Loopback, other_server: Loopback, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    with other_server:
        for place in (other_server.url, f"{server.url}/elsewhere"):
            server.answer_with(build_redirect(place, kind))
            ending = ask(command, PROMPT, retries=2)
            assert (ending.code, ending.stdout) == (4, "")
            assert f"the server redirects to {place}" in ending.stderr
    assert (len(server.requests), other_server.requests) == (2, [])


# command, what the server at the end of the way says, words of stdout
GET_COMMANDS = [
    (["models"], CATALOG, "m\t"),
    (["usage"], json_response({"current_balance": 5, "currency": "USD"}), "balance\t\t5"),
    (["config", "check"], json_response({"current_balance": 5, "currency": "USD"}), "the balance is 5.00 USD"),
    (["respond", "--show", "resp_1"], json_response(response_object()), "Hello\n"),
]


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "reply", "expected"), GET_COMMANDS)
def test_a_get_request_follows_a_redirect_on_its_origin(
    command: list[str],
    reply: bytes,
    expected: str,
    kind: str,
    server: Loopback,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    server.answer_with(build_redirect("/other/place?a=b", kind))
    server.answer_with(reply)
    ending = ask(*command)
    assert (ending.code, expected in ending.stdout) == (0, True)
    assert server.requests[1].request_line == "GET /other/place?a=b HTTP/1.1"
    assert "is redirected to http://127.0.0.1:" in ending.stderr


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "reply", "expected"), GET_COMMANDS)
def test_a_get_request_does_not_follow_a_redirect_to_another_origin(
    command: list[str], reply: bytes, expected: str, kind: str, server: Loopback, other_server: Loopback, ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    with other_server:
        server.answer_with(build_redirect(f"{other_server.url}/models", kind))
        ending = ask(*command)
    assert (expected in ending.stdout, len(server.requests), other_server.requests) == (False, 1, [])
    if command != ["config", "check"]:  # it prints a line for each check, without hints
        assert f"the server redirects to {other_server.url}/models" in ending.stderr


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize(
    "place",
    [
        "https://127.0.0.1:{port}/", "http://localhost:{port}/", "http://127.0.0.1/", "//evil.test/", "ftp://127.0.0.1/",
        "http://user:word@127.0.0.1:{port}/", "\\\\evil.test", "http://127.0.0.1:{port}@evil.test/", "http://[",
    ],
)  # fmt: skip
def test_an_address_that_only_looks_like_the_same_origin_is_another(place: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_redirect(place.format(port=server.port)))
    server.answer_with(http_response(b"", "404 Not Found"))
    ending = ask("models")
    assert (ending.code in (4, 6), ending.stdout) == (True, "")
    assert all(request.request_line.endswith("HTTP/1.1") for request in server.requests)
    assert len(server.requests) <= (2 if place.startswith("\\") else 1)


@pytest.mark.promise("key-per-server")
def test_endless_redirects_end_after_five(server: Loopback, ask: Ask) -> None:
    server.answer_with(build_redirect("/again"))
    ending = ask("models")
    assert (ending.code, len(server.requests)) == (4, 6)
    assert ending.stderr.count("is redirected to") == 5


@pytest.mark.promise("key-masked")
def test_a_key_in_the_address_of_a_redirect_is_not_shown(
    server: Loopback, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    server.answer_with(build_redirect(f"/x?key={KEY}"))
    server.answer_with(build_redirect(f"http://evil.test/x?key={KEY}"))
    for command in (["respond", "--show", "resp_1"], ["usage"], ["config", "check"]):
        ending = ask(*command)
        assert KEY not in ending.stdout + ending.stderr
