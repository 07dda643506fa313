"""Run the programs that are written for a request: they send exactly the request."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.core.dry_run import write_snippet
from aiml_cli.snippets.request_parts import MAX_ARGUMENT_BYTES

KEY = "a made-up key"
ANSWER = "Grüße, 世界 🎉 \u2028 it's `$HOME`"
CHAT_BODY = {"model": "openai/gpt-5-1", "messages": [{"role": "user", "content": "Hello"}]}
NEEDS_NODE = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
NEEDS_HTTPIE = pytest.mark.skipif(not shutil.which("http"), reason="httpie is not installed")
NEEDS_REQUESTS = pytest.mark.skipif(not importlib.util.find_spec("requests"), reason="requests is not installed")

RUNNERS = {
    "curl": ["sh"],
    "httpie": ["sh"],
    "python": [sys.executable],
    "javascript": ["node", "--input-type=module", "-"],
}
SHELL_LANGUAGES = ("curl", "httpie")
LANGUAGES = [
    pytest.param("curl"),
    pytest.param("python", marks=NEEDS_REQUESTS),
    pytest.param("javascript", marks=NEEDS_NODE),
    pytest.param("httpie", marks=NEEDS_HTTPIE),
]
every_language = pytest.mark.parametrize("language", LANGUAGES)

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


class Gateway(ThreadingHTTPServer):
    """Answer every request, and remember the last."""

    url = ""
    status = 200
    events: tuple[object, ...] = ()
    line_end = "\n"
    method = ""
    headers: dict[str, str]
    body: Any = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        gateway = self.server
        gateway.method, gateway.headers = self.command, {name.lower(): text for name, text in self.headers.items()}
        gateway.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(gateway.status)
        if gateway.body.get("stream") is True:
            self.stream()
        else:
            self.reply(json.dumps({"answer": ANSWER}).encode())

    def do_PUT(self) -> None:
        self.do_POST()

    def reply(self, content: bytes) -> None:
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self) -> None:
        """Cut the events anywhere, within characters too."""
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [
            event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in self.server.events
        ]
        content = "".join(f": a comment\ndata: {event}\n\n" for event in events).replace("\n", self.server.line_end)
        whole = content.encode()
        for piece in (whole[at : at + 7] for at in range(0, len(whole), 7)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Gateway]:
    with Gateway(("127.0.0.1", 0), Handler) as gateway:
        thread = Thread(target=gateway.serve_forever)
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


@pytest.fixture(name="gateway")
def reset_gateway(server: Gateway) -> Gateway:
    server.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.status, server.events, server.line_end, server.body = 200, (), "\n", None
    return server


def run(language: str, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program given on stdin, far from this user's ~/.curlrc and proxies."""
    with TemporaryDirectory() as home:
        env = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8", "AIMLAPI_API_KEY": KEY}
        return subprocess.run(
            command or RUNNERS[language], input=text, capture_output=True, encoding="utf-8", env=env, check=False
        )


def write_program(language: str, body: dict[str, Any], url: str, **options: Any) -> str:
    return write_snippet(language, "POST", url, body, **{"key_variable": "AIMLAPI_API_KEY", "stream": False, **options})


def build_chunk(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def read_python_body(text: str) -> object:
    """Read the literal that a Python program gives to `body`."""
    (literal,) = (node.value for node in ast.parse(text).body if isinstance(node, ast.Assign) and is_body(node))
    return ast.literal_eval(literal)


def is_body(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == "body"


@every_language
def test_the_program_sends_the_request_and_prints_the_answer(language: str, gateway: Gateway) -> None:
    ended = run(language, write_program(language, CHAT_BODY, gateway.url))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {"answer": ANSWER}
    assert (gateway.method, gateway.body) == ("POST", CHAT_BODY)
    assert gateway.headers["authorization"] == f"Bearer {KEY}"
    assert gateway.headers["content-type"] == "application/json"


@every_language
@settings(max_examples=4, deadline=None)
@given(contents=st.lists(ANY_TEXT, max_size=8), extra=st.dictionaries(ANY_TEXT, ANY_JSON, max_size=8))
def test_any_body_arrives_unchanged(language: str, server: Gateway, contents: list[str], extra: dict[str, Any]) -> None:
    body = CHAT_BODY | {"messages": [{"role": "user", "content": content} for content in contents], "extra": extra}
    ended = run(language, write_program(language, body, f"http://127.0.0.1:{server.server_port}/v1/chat/completions"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert server.body == json.loads(json.dumps(body))


HARD_VALUES = {
    "for a shell": "it's \"$HOME\" ${HOME} `id` $(id) !! !id \\ \\' %s \\n",
    "for quoting": "'''\"\"\"`;exit 1;'\nJSON\nEOF\n\t@body @url ${body}</script>",
    "not printable": "\x00\x07\x1b[31m\x7f\x85\r\n\u2028\u2029\u202e\ud800 🎉\U000e0041é",
    "for javascript": {"__proto__": {"a": 1}, "constructor": None},
    "of each type": [[], {}, "", None, True, False, -0.5, 1e-7],
}


@every_language
@pytest.mark.parametrize("content", [HARD_VALUES, 12345678901234567890], ids=["values", "number"])
def test_values_with_special_characters_arrive_unchanged(language: str, gateway: Gateway, content: object) -> None:
    ended = run(language, write_program(language, CHAT_BODY | {"extra": content}, gateway.url))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert gateway.body == CHAT_BODY | {"extra": content}


@every_language
def test_a_body_too_long_for_an_argument_arrives(language: str, gateway: Gateway) -> None:
    body = CHAT_BODY | {"extra": "it's $HOME\n" * MAX_ARGUMENT_BYTES}
    assert run(language, write_program(language, body, gateway.url)).returncode == 0
    assert gateway.body == body


@every_language
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_streamed_chat_is_printed_as_text(language: str, line_end: str, gateway: Gateway) -> None:
    gateway.line_end = line_end
    odd = [{"choices": []}, {"choices": [{"delta": {"content": None}}]}, {"choices": [{"finish_reason": "stop"}]}]
    gateway.events = (*map(build_chunk, ANSWER), *odd, "[DONE]")
    ended = run(language, write_program(language, CHAT_BODY | {"stream": True}, gateway.url, stream=True))
    assert (ended.returncode, ended.stderr) == (0, "")
    if language in SHELL_LANGUAGES:
        assert ended.stdout.count("data: ") == len(gateway.events)
    else:
        assert ended.stdout == f"{ANSWER}\n"


@every_language
def test_a_streamed_response_is_printed_as_text(language: str, gateway: Gateway) -> None:
    url = gateway.url.replace("chat/completions", "responses")
    body = {"model": "openai/gpt-5-1", "input": "Hello", "stream": True}
    deltas = [{"type": "response.output_text.delta", "delta": char} for char in ANSWER]
    gateway.events = ({"type": "response.created"}, *deltas, {"type": "response.completed", "response": {}})
    ended = run(language, write_program(language, body, url, stream=True))
    assert (ended.returncode, ended.stderr, gateway.body) == (0, "", body)
    assert language in SHELL_LANGUAGES or ended.stdout == f"{ANSWER}\n"


@every_language
@pytest.mark.parametrize("stream", [False, True])
def test_a_rejected_request_fails_with_the_message_of_the_server(language: str, stream: bool, gateway: Gateway) -> None:
    gateway.status = 400
    ended = run(language, write_program(language, CHAT_BODY, gateway.url, stream=stream))
    assert ended.returncode != 0
    assert "Gr" in ended.stdout + ended.stderr


@pytest.mark.parametrize("language", LANGUAGES[1:3])
@pytest.mark.parametrize(
    ("endpoint", "event"),
    [
        ("chat/completions", {"error": {"message": "overloaded"}}),
        ("responses", {"type": "response.failed", "response": {"error": {"message": "overloaded"}}}),
    ],
)
def test_an_error_within_a_stream_fails(language: str, endpoint: str, event: object, gateway: Gateway) -> None:
    gateway.events = (event,)
    url = gateway.url.replace("chat/completions", endpoint)
    ended = run(language, write_program(language, {"stream": True}, url, stream=True))
    assert ended.returncode == 1
    assert "overloaded" in ended.stderr


@every_language
def test_without_a_key_no_authorization_header_is_sent(language: str, gateway: Gateway) -> None:
    text = write_program(language, CHAT_BODY, gateway.url, key_variable=None)
    assert run(language, text).returncode == 0
    assert "authorization" not in gateway.headers


@every_language
def test_the_given_http_method_is_used(language: str, gateway: Gateway) -> None:
    text = write_snippet(language, "PUT", gateway.url, CHAT_BODY, key_variable=None, stream=False)
    assert run(language, text).returncode == 0
    assert (gateway.method, gateway.body) == ("PUT", CHAT_BODY)


@NEEDS_NODE
def test_javascript_runs_as_commonjs_too(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "program.cjs"
    file.write_text(write_program("javascript", CHAT_BODY, gateway.url))
    assert json.loads(run("javascript", "", "node", str(file)).stdout) == {"answer": ANSWER}


@given(extra=ANY_JSON)
def test_python_holds_the_body_as_a_literal(extra: object) -> None:
    body = CHAT_BODY | {"extra": extra}
    assert read_python_body(write_program("python", body, "https://api.aimlapi.com/v1/chat/completions")) == body


@given(extra=ANY_JSON)
def test_the_json_holds_the_whole_request(extra: object) -> None:
    url = "https://api.aimlapi.com/v1/chat/completions"
    found = json.loads(write_program("json", CHAT_BODY | {"extra": extra}, url))
    assert found == {
        "method": "POST",
        "url": url,
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer $AIMLAPI_API_KEY"},
        "body": json.loads(json.dumps(CHAT_BODY | {"extra": extra})),
    }


@pytest.mark.parametrize("language", ["curl", "httpie", "python", "javascript", "json"])
@given(content=ANY_TEXT)
def test_a_program_holds_printable_characters_only(language: str, content: str) -> None:
    text = write_program(language, CHAT_BODY | {"extra": content}, "https://api.aimlapi.com/v1/responses", stream=True)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert text.endswith("\n")


def test_a_command_has_no_exclamation_mark_that_bash_would_expand() -> None:
    assert "!" not in write_program("curl", CHAT_BODY | {"extra": "Hello!!"}, "https://api.aimlapi.com/v1/responses")


def test_a_streaming_curl_does_not_buffer() -> None:
    text = write_program("curl", CHAT_BODY, "https://api.aimlapi.com/v1/responses", stream=True)
    assert "--no-buffer" in text
    assert "--fail-with-body" in text
