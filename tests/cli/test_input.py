"""Files, standard input, messages from a file and tool results become the request."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.forked_process import CliProcess
from support.loopback import HELLO, HELLO_RESPONSE, Drip, Loopback, http_response, json_response
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.store.model_cache import CachedModels, save_models

PNG, PDF, WAV = b"\x89PNG\r\n\x1a\n\0", b"%PDF-1.7\n", b"RIFF\x24\0\0\0WAVEfmt "
PNG_URL = "data:image/png;base64,iVBORw0KGgoA"
PDF_URL = "data:application/pdf;base64,JVBERi0xLjcK"
SOUND = {"data": "UklGRiQAAABXQVZFZm10IA==", "format": "wav"}


@pytest.fixture(autouse=True)
def input_files(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(PNG)
    (tmp_path / "paper.txt").write_bytes(PDF)
    (tmp_path / "voice").write_bytes(WAV)
    (tmp_path / "note.txt").write_text("1\n")


def test_chat_sends_each_attachment_as_its_own_part(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    files = ["-f", "photo", "-f", "paper.txt", "-f", "voice", "-f", "note.txt"]
    done = aiml("chat", "what", "is", "this?", *files, "--detail", "low")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert server.requests[0].json["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}},
        {"type": "file", "file": {"filename": "paper.txt.pdf", "file_data": PDF_URL}},
        {"type": "input_audio", "input_audio": SOUND},
        {"type": "text", "text": '<file name="note.txt">\n1\n</file>\n\nwhat is this?'},
    ]


def test_respond_sends_each_attachment_as_its_own_part(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO_RESPONSE)
    done = aiml("respond", "what is", "@photo", "-a", "paper.txt", "-f", "voice", "--detail", "high", stdin=PNG)
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert server.requests[0].json["input"][0]["content"] == [
        {"type": "input_file", "filename": "paper.txt.pdf", "file_data": PDF_URL},
        {"type": "input_audio", "input_audio": SOUND},
        {"type": "input_image", "image_url": PNG_URL, "detail": "high"},
        {"type": "input_image", "image_url": PNG_URL, "detail": "high"},
        {"type": "input_text", "text": "what is photo"},
    ]


def test_attachments_are_reported_with_type_and_size(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    words = b"aiml: sends photo (image/png, 9 bytes), standard input (application/pdf, 9 bytes)\n"
    assert aiml("chat", "-f", "photo", "-f", "note.txt", stdin=PDF).stderr == words
    assert aiml("chat", "-f", "photo", "-q").stderr == b""
    assert aiml("chat", "-f", "note.txt").stderr == b""


def test_a_folder_and_a_glob_are_sent_as_blocks(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(HELLO)
    for name in ("a.py", "b.py", ".env"):
        (tmp_path / "src" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "src" / name).write_text(f"{name}\n")
    folder, glob = aiml("chat", "x", "-f", "src"), aiml("chat", "x", "-f", "src/*.py")
    one, other = (request.json["messages"][0]["content"] for request in server.requests)
    assert one == other == '<file name="src/a.py">\na.py\n</file>\n\n<file name="src/b.py">\nb.py\n</file>\n\nx'
    assert (folder.stderr, glob.stderr) == (b"aiml: src: 2 files, 10 bytes; left out: 1 hidden\n", b"")


@pytest.mark.promise("key-per-server")
def test_a_url_is_fetched_without_the_key(server: Loopback, aiml: Aiml) -> None:
    url = server.url.removesuffix("/v1") + "/page"
    server.answer_with(http_response(b"caf\xe9", "200 OK", "text/html; charset=iso-8859-1"))
    server.answer_with(HELLO)
    done = aiml("chat", "sum up", "-f", url, AIMLAPI_API_KEY="k-secret")
    assert done.returncode == 0
    page, question = server.requests
    assert (page.request_line, page.get_header("authorization")) == ("GET /page HTTP/1.1", None)
    assert question.get_header("authorization") == "Bearer k-secret"
    assert question.json["messages"][0]["content"] == f'<file name="{url}">\ncafé\n</file>\n\nsum up'


def test_a_fetched_image_is_recognized_despite_a_wrong_content_type(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(PNG, "200 OK", "text/plain"))
    server.answer_with(HELLO)
    assert aiml("chat", "-f", f"{server.url}/x").returncode == 0
    assert server.requests[1].json["messages"][0]["content"] == [{"type": "image_url", "image_url": {"url": PNG_URL}}]


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_the_url_of_an_image_is_sent_unchanged(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    body = build_body(capfd, command, "x", "-f", "https://x.test/a.png?b")
    assert '"https://x.test/a.png?b"' in json.dumps(body)


FAILED_FETCHES = [
    (json_response({}, "404 Not Found"), 2, b"HTTP 404"),
    (json_response({}, "302 Found", "Location: http://x.test/"), 2, b"redirects to http://x.test/"),
    (http_response(b"PK\x03\x04"), 2, b"zip archive"),
    (http_response(b"x" * (20 * 1024 * 1024 + 1)), 2, b"more than 20 MiB"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", 7, b"the connection was cut"),
]


@pytest.mark.parametrize(("reply", "code", "words"), FAILED_FETCHES, ids=lambda value: str(value)[:20])
def test_a_url_that_cannot_be_fetched_is_an_error_before_the_request(
    reply: bytes, code: int, words: bytes, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(reply)
    done = aiml("chat", "x", "-f", f"{server.url}/x")
    assert (done.returncode, len(server.requests)) == (code, 1)
    assert words in done.stderr


ENDLESS_RESPONSE = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", Drip(b"text " * 100_000, every_s=0.05))


@pytest.mark.promise("timeouts")
def test_a_slow_download_ends_at_the_timeout(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(*ENDLESS_RESPONSE)
    done = aiml("chat", "x", "-f", f"{server.url}/x", "--timeout", "1")
    assert (done.returncode, done.stdout, len(server.requests)) == (7, b"", 1)
    assert b"incomplete after 1 seconds" in done.stderr


@pytest.mark.promise("signals")
def test_ctrl_c_ends_a_slow_download(server: Loopback) -> None:
    server.answer_with(*ENDLESS_RESPONSE)
    child = CliProcess(
        build_command("chat", "x", "-f", f"{server.url}/x"), env={**os.environ, "AIML_BASE_URL": server.url},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert server.request_arrived.wait(30)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[0] == b""
    assert child.returncode == 130


def test_empty_standard_input_gives_a_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    done = aiml("chat", "Say what changed", stdin=b"")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert b"aiml: standard input was empty; only the prompt is sent\n" in done.stderr
    assert server.requests[0].json["messages"][-1]["content"] == "Say what changed"
    Path("notes.txt").write_text("x")
    done = aiml("chat", "Say what changed", "-f", "notes.txt", stdin=b"\n")
    assert b"aiml: standard input was empty; only the prompt and the files are sent\n" in done.stderr
    assert aiml("chat", stdin=b"").returncode == 2


def test_a_url_with_a_password_is_refused(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "x", "-f", server.url.replace("//", "//me:secret@"))
    assert (done.returncode, server.requests) == (2, [])
    assert b"secret" not in done.stderr


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("letters", ['plain \t"text" \\\r\n', "日本語 “text” 😀\n", "a\x01\x7f\b\n"])
@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("is_file", [False, True])
def test_a_long_text_arrives_complete_in_the_first_attempt_and_the_retry(
    command: str, letters: str, server: Loopback, aiml: Aiml, *, is_file: bool
) -> None:
    text = letters * (2_500_000 // len(letters))
    server.answer_with(json_response({"error": {"message": "busy"}}, "503 Busy", "Retry-After: 0"))
    server.answer_with(HELLO if command == "chat" else HELLO_RESPONSE)
    Path("long.txt").write_text(text, newline="")
    source = ["-f", "long.txt"] if is_file else []
    done = aiml(command, "summarize", *source, "--retries", "2", stdin=b"" if is_file else text.encode())
    assert (done.returncode, done.stdout) == (0, b"Hello\n"), done.stderr
    first, second = server.requests
    assert first.body == second.body
    assert int(first.get_header("Content-Length") or 0) == len(first.body)
    content = first.json["messages"][0]["content"] if command == "chat" else first.json["input"]
    assert text in content
    assert content.endswith("summarize")


@pytest.mark.promise("stdin")
def test_endless_input_is_refused_while_it_is_read(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "x", "-f", "/dev/zero")
    assert (done.returncode, server.requests) == (2, [])
    assert b"/dev/zero: more than 64 MiB" in done.stderr


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_the_demo_server_accepts_images_and_documents(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--demo", "what is", "@photo", "-f", "paper.txt", "--no-stdin"]) == 0
    assert "2 attachments: file paper.txt.pdf, image image/png" in capfd.readouterr().out


def build_entry(name: str, *inputs: str, kind: str = "openai/chat-completions") -> dict[str, Any]:
    """Make an entry of the catalog."""
    return {"id": name, "aliases": [f"{name}-alias"], "type": kind, "modalities": {"input": inputs, "output": ["text"]}}


def store_models(url: str) -> None:
    """Store a catalog as `aiml models` does."""
    rows = [build_entry("a/text", "text"), build_entry("b/eyes", "image", "text"), build_entry("c/all", "audio", "document", "image"),
            build_entry("d/response", "image", kind="openai/responses/submit"), build_entry("e/unknown")]  # fmt: skip
    save_models(CachedModels(url, "", 0, json.dumps({"data": rows}).encode(), []))


REFUSED_FILES = [
    ("a/text", "photo", "does not accept image input, and photo is image/png", "these do: b/eyes, c/all\n"),
    ("a/text-alias", "photo", "does not accept image input", "these do: b/eyes, c/all\n"),
    ("a/text", "https://x.test/a.png", "does not accept image input", "these do: b/eyes, c/all\n"),
    ("b/eyes", "paper.txt", "does not accept PDF input, and paper.txt is application/pdf", "these do: c/all\n"),
    ("b/eyes", "voice", "does not accept audio input, and voice is audio/wav", "these do: c/all\n"),
]


@pytest.mark.parametrize(("model", "file", "words", "hint"), REFUSED_FILES)
def test_a_file_that_the_model_does_not_accept_is_refused_before_the_request(
    model: str, file: str, words: str, hint: str, server: Loopback, aiml: Aiml
) -> None:
    store_models(server.url)
    done = aiml("chat", "x", "-m", model, "-f", file)
    assert (done.returncode, server.requests) == (2, [])
    assert words in done.stderr.decode()
    assert done.stderr.decode().endswith(hint)


@pytest.mark.parametrize("model", ["b/eyes", "b/eyes-alias", "e/unknown", "no/such", "A/TEXT"])
def test_a_file_that_the_model_accepts_or_may_accept_is_sent(model: str, server: Loopback, aiml: Aiml) -> None:
    store_models(server.url)
    server.answer_with(HELLO)
    assert aiml("chat", "x", "-m", model, "-f", "photo").returncode == 0
    assert len(server.requests) == 1


def build_body(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the body that a command line would send."""
    assert main([*arguments, "--dry-run", "--no-stdin"]) == 0
    body: dict[str, Any] = json.loads(capfd.readouterr().out)["body"]
    return body


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
ITEMS = [TURNS[0], {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}]


@pytest.mark.parametrize("content", [TURNS, ITEMS, {"messages": TURNS}, {"input": ITEMS}])
def test_messages_from_a_file_come_before_the_prompt(
    content: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(content))
    asked = ["--messages", "m.json", "--tool-result", "c1=@note.txt", "and", "now?"]
    last = {"role": "user", "content": "and now?"}
    assert build_body(capfd, "chat", "-s", "Be brief.", *asked)["messages"] == [
        {"role": "system", "content": "Be brief."}, *TURNS,
        {"role": "tool", "tool_call_id": "c1", "content": "1"}, last,
    ]  # fmt: skip
    output = {"type": "function_call_output", "call_id": "c1", "output": "1"}
    assert build_body(capfd, "respond", *asked)["input"] == [*ITEMS, output, last]


def test_no_prompt_is_needed_with_messages_from_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text(json.dumps(TURNS[:1]))
    assert build_body(capfd, "chat", "--messages", "m.json")["messages"] == TURNS[:1]
    assert build_body(capfd, "respond", "--messages", "m.json")["input"] == TURNS[:1]


def test_messages_can_come_from_standard_input(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    done = aiml("chat", "go on", "--messages", "-", stdin=json.dumps(TURNS[:1]).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.requests[0].json["messages"] == [TURNS[0], {"role": "user", "content": "go on"}]


def test_with_a_stored_response_only_the_tool_results_are_sent(capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--previous-response-id", "r", "--tool-result", 'a={"t": 1.50}', "--tool-result", "b=@@x"]
    assert build_body(capfd, "respond", *flags)["input"] == [
        {"type": "function_call_output", "call_id": "a", "output": '{"t": 1.50}'},
        {"type": "function_call_output", "call_id": "b", "output": "@x"},
    ]


def test_a_notice_names_unused_properties_of_a_request_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"model": "m", "input": "hi", "tools": []}))
    assert main(["respond", "--messages", "m.json", "--dry-run", "--no-stdin"]) == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["body"]["input"] == "hi"
    assert shown.err == "aiml: m.json: only input is used, not model, tools\n"


INVALID_MESSAGES = [
    ("[", "not JSON: Expecting value, line 1, column 2"),
    ("{}", "an object is not a list of messages"),
    ("[]", "an empty list is not a list of messages"),
    ('{"messages": 3}', "a number is not a list of messages"),
    ('[{"role": "user", "content": "x"}, "hi"]', "item 1 is a string, not an object"),
    ('[{"content": "hi"}]', "item 0 has neither a role nor a type"),
    ('[{"role": 3}]', "item 0 has a role that is not a string"),
    ('[{"role": "user", "content": 3}]', "item 0 has content that is a number"),
    ('[{"role": "user", "content": ["hi"]}]', "item 0 has content with a string in it"),
    ('[{"role": "user", "content": [null]}]', "item 0 has content with null in it"),
    ("[" * 100_000, "not JSON: nested too deeply"),
    ("[" + "9" * 5000 + "]", "not JSON: nested too deeply"),
    ("\udcff", "not JSON: it is not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "words"), INVALID_MESSAGES, ids=[words for _, words in INVALID_MESSAGES])
def test_a_file_without_valid_messages_is_a_usage_error(
    text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["chat", "hi", "--messages", "m.json", "--dry-run", "--no-stdin"]) == 2
    shown = capfd.readouterr()
    assert shown.err.startswith(f"aiml: --messages m.json: {words}")
    assert shown.out == ""


INVALID_ARGUMENTS = [
    (["chat", "hi", "--messages", "absent"], "absent: No such file"),
    (["chat", "hi", "--messages", "-", "-f", "-"], "--messages and --file cannot both be read from standard input"),
    (["chat", "hi", "--tool-result", "c1=1"], "--tool-result c1: there is no tool call with this id"),
    (["respond", "hi", "--previous-response-id", "r", "--tool-result", "c1=@absent"], "absent: No such file"),
    (["respond", "--previous-response-id", "r"], "the prompt is empty"),
]


@pytest.mark.parametrize(("arguments", "words"), INVALID_ARGUMENTS, ids=str)
def test_invalid_input_is_refused_before_anything_is_sent(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--no-stdin", "--dry-run"]) == 2
    assert words in capfd.readouterr().err
