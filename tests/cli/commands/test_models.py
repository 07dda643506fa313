"""`aiml models`, from the response of a server to the output on the screen."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.loopback import Loopback, http_response, json_response

from aiml_cli.__main__ import main
from aiml_cli.api.model_list import parse_models
from aiml_cli.catalog import find_models, model_table
from aiml_cli.errors import (
    AnswerMismatch,
    AuthError,
    ConnectionFailed,
    IncompleteAnswer,
    RequestRejected,
    ServerError,
    UsageError,
)
from aiml_cli.output.table import Column, format_details, format_table, format_tsv
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.urls import host_of
from aiml_cli.store.api_keys import store_key
from aiml_cli.store.model_cache import CachedModels, cache_path, load_models, save_models
from aiml_cli.system.text_width import text_width

# A name that nobody has: the tests reach it through a proxy, which is a server of theirs.
HOST = "http://catalog.test/v1"
KEY = "sk-made-up-for-the-list"
CATALOG_BODY = """{"object":"list","data":[
 {"id":"vendor/talker-2","aliases":["talker-2"],"type":"openai/chat-completions","tags":["tier:tier_2"],
  "info":{"name":"Talker 2","developer":"Vendor","description":"It talks\\tof\\nmany things.",
   "releasedAt":"2026-03-01","contextLength":400000,"outputMax":128000,"cutoffAt":"2025-09-30",
   "docsUrl":"https://docs.example/talker-2"},
  "modalities":{"input":["image","text"],"output":["text"]},"capabilities":["streaming","tools"],
  "pricing":{"kind":"fixed","units":[
   {"name":"token","content":"text","origin":"provided","price":0.0013,"per":1000},
   {"name":"token","content":"text","origin":"generated","price":10,"per":1000000}]}},
 {"id":"vendor/talker-2","type":"openai/responses/submit","info":{"name":"Talker 2","developer":"Vendor"}},
 {"id":"other/film","type":"internal/video-generations/submit","info":{"name":"Ev\\u001bil 映画","developer":"Other"},
  "pricing":{"kind":"variants","variants":[{"when":{"resolution":"720p"},"price":0.39,"unit":"second","per":1}]}}
]}""".encode()
HEADINGS = (
    "id\tname\tdeveloper\tcontext\toutput_limit\tendpoints\tinput_usd_per_million\toutput_usd_per_million\taliases\n"
)
FILM_LINE = "other/film\tEv\x1bil 映画\tOther\t\t\tinternal/video-generations/submit\t\t\t\n"
TALKER_LINE = "vendor/talker-2\tTalker 2\tVendor\t400000\t128000\tchat,responses\t1.3\t10\ttalker-2\n"


@pytest.fixture
def proxy(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """Make the server answer for every host except this machine."""
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    return server


@pytest.fixture
def broken_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every connection fail."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")


def build_settings(base_url: str = HOST, **options: Any) -> Settings:
    return Settings(Options(base_url=base_url, timeout=10, **options))


def store_copy(age: float = 0, etag: str = 'W/"1-a"', body: bytes = CATALOG_BODY, base_url: str = HOST) -> None:
    save_models(CachedModels(base_url, etag, time.time() - age, body, parse_models(body)))


Capture = pytest.CaptureFixture[str]


def test_a_pipe_gets_a_heading_and_one_line_per_model(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    assert model_table.show_models([], build_settings(), as_json=False) == 0
    assert capfd.readouterr() == (HEADINGS + FILM_LINE + TALKER_LINE, "")


def test_words_filter_the_list(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models(["talker-2", "VENDOR"], build_settings(), as_json=False)
    assert capfd.readouterr().out == HEADINGS + TALKER_LINE


def test_the_first_request_carries_no_key(proxy: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "sk-not-for-the-catalog")
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(HOST + "/", api_key="sk-not-for-the-catalog"), as_json=False)
    (request,) = proxy.requests
    assert request.request_line == "GET http://catalog.test/v1/models?include=pricing,modalities,capabilities HTTP/1.1"
    assert (request.get_header("User-Agent") or "").startswith("aiml/")
    assert request.get_header("Authorization") is None
    assert b"sk-not" not in request.head


REFUSALS = {
    "LiteLLM": json_response(
        {"error": {"message": "Authentication Error, No api key passed in.", "type": "auth_error", "code": "401"}},
        "401 Unauthorized",
    ),
    "FastAPI": json_response({"detail": "Not authenticated"}, "403 Forbidden"),
    "vLLM": json_response({"error": {"message": "No API key provided", "code": 400}}, "400 Bad Request"),
    "empty": http_response(b"", "401 Unauthorized"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("key_source", ["environment", "file", "command"])
def test_a_server_that_requires_a_key_is_asked_again_with_its_key(
    refusal: bytes, key_source: str, server: Loopback, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    if key_source == "file":
        store_key(host_of(server.url), KEY)
    else:
        name, value = ("AIML_KEY_COMMAND", f"echo {KEY}") if key_source == "command" else ("AIML_API_KEY", KEY)
        monkeypatch.setenv(name, value)
    server.answer_with(refusal)
    server.answer_with(http_response(CATALOG_BODY))
    assert main(["models"]) == 0
    assert capfd.readouterr() == (HEADINGS + FILM_LINE + TALKER_LINE, "")
    assert [request.get_header("Authorization") for request in server.requests] == [None, f"Bearer {KEY}"]


def test_a_refused_key_is_not_sent_again(server: Loopback, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setenv("AIML_API_KEY", KEY)
    server.answer_with(REFUSALS["LiteLLM"])
    assert main(["models", "--base-url", server.url]) == AuthError.exit_code
    assert len(server.requests) == 2
    assert "is the key right?" in capfd.readouterr().err


def test_a_key_of_another_server_is_not_sent(server: Loopback, capfd: Capture) -> None:
    store_key("api.aimlapi.com", KEY)
    server.answer_with(REFUSALS["LiteLLM"])
    assert main(["models", "--base-url", server.url]) == AuthError.exit_code
    assert [request.get_header("Authorization") for request in server.requests] == [None]
    assert capfd.readouterr().err == (
        "aiml: the server answered 401: Authentication Error, No api key passed in.\n"
        f"hint: this server needs a key to list its models; there is no key for {host_of(server.url)}; the stored key is "
        f"only sent to api.aimlapi.com; store one with: aiml config key --base-url {server.url}\n"
    )


def test_no_key_goes_over_plain_http_to_another_machine(proxy: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIML_API_KEY", KEY)
    proxy.answer_with(REFUSALS["empty"])
    with pytest.raises(AuthError) as caught:
        model_table.show_models([], build_settings(api_key=KEY), as_json=False)
    assert "plain http" in caught.value.hint
    assert [request.get_header("Authorization") for request in proxy.requests] == [None]


def test_a_recorded_list_that_required_a_key_is_replayed_without_one(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("AIML_API_KEY", KEY)
    server.answer_with(REFUSALS["LiteLLM"])
    server.answer_with(http_response(CATALOG_BODY))
    there = ["models", "--base-url", server.url]
    assert main([*there, "--record", "models.jsonl"]) == 0
    monkeypatch.delenv("AIML_API_KEY")
    assert main([*there, "--replay", "models.jsonl"]) == 0
    assert capfd.readouterr() == (2 * (HEADINGS + FILM_LINE + TALKER_LINE), "")
    assert KEY not in Path("models.jsonl").read_text()


def test_a_single_match_is_shown_in_detail(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models(["Talker-2"], build_settings(), as_json=False)
    assert capfd.readouterr().out.splitlines() == [
        "id\tvendor/talker-2",
        "name\tTalker 2",
        "developer\tVendor",
        "description\tIt talks of many things.",
        "context\t400,000 tokens",
        "output limit\t128,000 tokens",
        "price\tinput $0.0013 per 1K text tokens",
        "price\toutput $10 per 1M text tokens",
        "capabilities\tstreaming, tools",
        "input\timage, text",
        "output\ttext",
        "endpoints\tchat, responses",
        "aliases\ttalker-2",
        "released\t2026-03-01",
        "knowledge cutoff\t2025-09-30",
        "tags\ttier:tier_2",
        "documentation\thttps://docs.example/talker-2",
    ]


def test_a_price_names_its_conditions(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models(["other/film"], build_settings(), as_json=False)
    assert "price\t$0.39 per second (resolution 720p)\n" in capfd.readouterr().out


def test_json_has_every_key_of_every_model(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=True)
    film, talker = json.loads(capfd.readouterr().out)
    assert film.keys() == talker.keys()
    assert (film["context"], film["released"], film["input_usd_per_million"]) == (None, None, None)
    assert film["prices"] == [
        {"kind": "", "unit": "second", "content": "", "usd": 0.39, "per": 1, "when": {"resolution": "720p"}}
    ]
    talker.pop("prices")
    assert talker == {
        "id": "vendor/talker-2",
        "aliases": ["talker-2"],
        "name": "Talker 2",
        "developer": "Vendor",
        "type": "openai/chat-completions",
        "description": "It talks\tof\nmany things.",
        "context": 400000,
        "output_limit": 128000,
        "released": "2026-03-01",
        "cutoff": "2025-09-30",
        "url": "https://docs.example/talker-2",
        "capabilities": ["streaming", "tools"],
        "modalities": {"input": ["image", "text"], "output": ["text"]},
        "endpoints": ["chat", "responses"],
        "input_usd_per_million": 1.3,
        "output_usd_per_million": 10,
        "cached_usd_per_million": None,
        "tags": ["tier:tier_2"],
        "parameters": [],
    }


@pytest.mark.parametrize(("as_json", "stdout"), [(False, ""), (True, "[]\n")])
def test_no_match_is_an_error_with_a_suggestion(as_json: bool, stdout: str, capfd: Capture) -> None:
    store_copy()
    with pytest.raises(AnswerMismatch) as raised:
        model_table.show_models(["talkr.2"], build_settings(), as_json=as_json)
    assert capfd.readouterr().out == stdout
    assert (raised.value.exit_code, raised.value.hint) == (9, "did you mean vendor/talker-2?")


def test_an_unchanged_catalog_is_not_downloaded_again(proxy: Loopback, capfd: Capture) -> None:
    store_copy(age=3600)
    proxy.answer_with(http_response(b"", status="304 Not Modified"))
    model_table.show_models([], build_settings(), as_json=False)
    assert capfd.readouterr() == (HEADINGS + FILM_LINE + TALKER_LINE, "")
    assert proxy.requests[0].get_header("If-None-Match") == 'W/"1-a"'
    again = load_models(HOST)
    assert again is not None
    assert time.time() - again.fetched < 60


def test_a_changed_catalog_replaces_the_stored_one(proxy: Loopback, capfd: Capture) -> None:
    store_copy(age=3600)
    proxy.answer_with(http_response(b'{"data":[{"id":"new"}]}', "200 OK", "application/json", 'ETag: "2"'))
    model_table.show_models([], build_settings(), as_json=False)
    assert capfd.readouterr().out == HEADINGS + "new" + "\t" * 8 + "\n"
    again = load_models(HOST)
    assert again is not None
    assert (again.etag, [model.id for model in again.models]) == ('"2"', ["new"])


def test_the_server_is_asked_at_most_once_a_minute(proxy: Loopback, capfd: Capture) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=False)
    first = capfd.readouterr()
    model_table.show_models([], build_settings(), as_json=False)
    assert capfd.readouterr() == first == (HEADINGS + FILM_LINE + TALKER_LINE, "")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("age", [61, -61])
def test_a_copy_that_is_old_or_from_the_future_is_fetched_again(age: float, proxy: Loopback) -> None:
    store_copy(age)
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=False)
    assert len(proxy.requests) == 1


@pytest.mark.usefixtures("broken_network")
@pytest.mark.parametrize(
    ("age", "words"), [(61, "1 minute"), (7300, "2 hours"), (90000, "1 day"), (-99, "0 s"), (3e6, "34 days")]
)
def test_a_stored_copy_is_shown_with_its_age_if_the_server_is_unreachable(
    age: float, words: str, capfd: Capture
) -> None:
    store_copy(age)
    assert model_table.show_models([], build_settings(), as_json=False) == 0
    out, err = capfd.readouterr()
    assert out == HEADINGS + FILM_LINE + TALKER_LINE
    assert err.startswith("aiml: ")
    assert err.endswith(f"; this list is {words} old\n")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("broken_network")
def test_quiet_hides_the_age(capfd: Capture) -> None:
    store_copy(age=3600)
    model_table.show_models([], build_settings(quiet=True), as_json=False)
    assert capfd.readouterr() == (HEADINGS + FILM_LINE + TALKER_LINE, "")


@pytest.mark.usefixtures("broken_network")
def test_without_a_copy_an_unreachable_server_is_an_error() -> None:
    with pytest.raises(ConnectionFailed):
        model_table.show_models([], build_settings(), as_json=False)


FAILURES: dict[bytes, type[Exception]] = {
    http_response(b'{"error":{"message":"busy"}}', status="503 Service Unavailable"): ServerError,
    http_response(b"no such path", status="404 Not Found"): RequestRejected,
    http_response(b"<html>log in to the hotel</html>"): ServerError,
    http_response(CATALOG_BODY)[:-9]: IncompleteAnswer,
}


@pytest.mark.parametrize("answer", FAILURES)
def test_a_failing_server_damages_neither_the_copy_nor_the_list(answer: bytes, proxy: Loopback, capfd: Capture) -> None:
    store_copy(age=3600)
    proxy.answer_with(answer)
    assert model_table.show_models([], build_settings(), as_json=False) == 0
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == (HEADINGS + FILM_LINE + TALKER_LINE, 1)
    assert len(find_models.load_stored_models(build_settings()) or []) == 2


NOTHING_NEW = http_response(b"", status="304 Not Modified")


@pytest.mark.parametrize(("answer", "failure"), [*FAILURES.items(), (NOTHING_NEW, RequestRejected)])
def test_without_a_copy_a_failing_server_is_an_error(answer: bytes, failure: type[Exception], proxy: Loopback) -> None:
    proxy.answer_with(answer)
    with pytest.raises(failure):
        model_table.show_models([], build_settings(), as_json=False)
    assert load_models(HOST) is None


def test_invalid_settings_are_an_error_even_with_a_copy() -> None:
    store_copy(age=3600, base_url="carrier-pigeon://catalog.test")
    with pytest.raises(UsageError):
        model_table.show_models([], build_settings("carrier-pigeon://catalog.test"), as_json=False)


def test_the_catalog_of_a_local_server_is_not_stored(server: Loopback, empty_home: Path, capfd: Capture) -> None:
    server.answer_with(http_response(CATALOG_BODY))
    for _ in range(2):
        model_table.show_models([], build_settings(server.url), as_json=False)
    assert len(server.requests) == 2
    assert capfd.readouterr().out == 2 * (HEADINGS + FILM_LINE + TALKER_LINE)
    assert not [found for found in empty_home.rglob("*") if found.is_file()]


def test_the_copy_is_private(proxy: Loopback) -> None:
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=False)
    assert cache_path(HOST).stat().st_mode & 0o777 == 0o600
    assert cache_path(HOST).parent.stat().st_mode & 0o777 == 0o700


def test_each_server_has_its_own_copy_of_any_age() -> None:
    store_copy(age=1e7)
    store_copy(base_url="https://else.test/v1", body=b'{"data":[{"id":"elsewhere"}]}')
    assert [model.id for model in find_models.load_stored_models(build_settings()) or []] == [
        "other/film",
        "vendor/talker-2",
    ]
    assert [model.id for model in find_models.load_stored_models(build_settings("https://else.test/v1/")) or []] == [
        "elsewhere"
    ]
    assert find_models.load_stored_models(build_settings("https://nowhere.test/v1")) is None


COPY_HEAD = b'{"base_url":"http://catalog.test/v1","etag":"x","fetched":'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x00" * 50,
        b"[]\n{}",
        b"{}\n" + CATALOG_BODY,
        CATALOG_BODY,
        COPY_HEAD + b"1}\n" + CATALOG_BODY[:-20],
        COPY_HEAD + b"1}",
        COPY_HEAD + b"null}\n" + CATALOG_BODY,
        COPY_HEAD + b"NaN}\n" + CATALOG_BODY,
        COPY_HEAD + b"1" * 400 + b"}\n" + CATALOG_BODY,
        COPY_HEAD.replace(b"catalog", b"else") + b"1}\n" + CATALOG_BODY,
    ],
)
def test_a_damaged_copy_is_ignored(content: bytes, proxy: Loopback, capfd: Capture) -> None:
    store_copy()
    cache_path(HOST).write_bytes(content)
    assert find_models.load_stored_models(build_settings()) is None
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=False)
    assert capfd.readouterr() == (HEADINGS + FILM_LINE + TALKER_LINE, "")
    assert proxy.requests[0].get_header("If-None-Match") is None


@pytest.mark.parametrize("etag", ["", "a\r\nX-Evil: 1", "ümlaut"])
def test_a_damaged_etag_is_not_sent(etag: str, proxy: Loopback) -> None:
    store_copy(age=3600, etag=etag)
    proxy.answer_with(http_response(CATALOG_BODY))
    model_table.show_models([], build_settings(), as_json=False)
    assert proxy.requests[0].get_header("If-None-Match") is None


def test_a_cache_that_cannot_be_written_does_not_prevent_the_list(
    empty_home: Path, proxy: Loopback, capfd: Capture
) -> None:
    (empty_home / "xdg_cache_home" / "aiml").write_text("a file where a folder belongs")
    proxy.answer_with(http_response(CATALOG_BODY))
    assert model_table.show_models([], build_settings(), as_json=False) == 0
    assert capfd.readouterr().out == HEADINGS + FILM_LINE + TALKER_LINE


def test_a_fresh_copy_is_shown_without_loading_httpx() -> None:
    store_copy()
    program = TABLE_PROGRAM + "print('httpx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program, "text"], capture_output=True, check=True, text=True)
    assert ran.stdout == HEADINGS + FILM_LINE + TALKER_LINE + "False\n"


TABLE_PROGRAM = f"""
import sys
from aiml_cli.catalog import model_table as browse
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
browse.show_models(sys.argv[2:], Settings(Options(base_url={HOST!r})), as_json=sys.argv[1] == "json")
"""


def run_on_terminal(*words: str, columns: int, form: str = "text", **environ: str) -> list[str]:
    """Run the command on a terminal of some width; return the lines that it wrote."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", TABLE_PROGRAM, form, *words], stdin=theirs, stdout=theirs, env={**os.environ, **environ}
    )
    os.close(theirs)
    written = b""
    while piece := read_available(ours):
        written += piece
    os.close(ours)
    assert child.wait() == 0
    return written.decode().replace("\r\n", "\n").splitlines()


def read_available(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_wide_terminal_shows_every_column() -> None:
    store_copy()
    heading, film, talker = run_on_terminal(columns=200)
    assert heading.split(maxsplit=6)[:6] == ["ID", "NAME", "DEVELOPER", "CONTEXT", "OUTPUT", "ENDPOINTS"]
    assert heading.endswith("  IN $/M  OUT $/M  ALIASES")
    assert film.split() == ["other/film", r"Ev\x1bil", "映画", "Other", "internal/video-generations/submit"]
    assert talker.startswith("vendor/talker-2  Talker 2       Vendor     400,000  128,000  chat,responses   ")
    assert talker.endswith("     1.3       10  talker-2")
    assert heading.index("DEVELOPER") == talker.index("Vendor") == film.index("Other") + len("映画")


def test_a_narrow_terminal_shows_the_columns_that_fit() -> None:
    store_copy()
    assert run_on_terminal(columns=57) == [
        "ID               CONTEXT  ENDPOINTS       IN $/M  OUT $/M",
        "other/film                internal/vide…",
        "vendor/talker-2  400,000  chat,responses     1.3       10",
    ]


@pytest.mark.parametrize(
    ("columns", "environ"),
    [(15, {}), (1, {}), (80, {"COLUMNS": "1"}), (80, {"COLUMNS": "5"})],
)
def test_an_id_is_never_shortened(columns: int, environ: dict[str, str]) -> None:
    store_copy()
    assert run_on_terminal(columns=columns, **environ) == ["ID", "other/film", "vendor/talker-2"]


@pytest.mark.parametrize("value", ["0", "x", "", "-3"])
def test_an_invalid_width_is_ignored(value: str) -> None:
    store_copy()
    assert run_on_terminal(columns=57, COLUMNS=value) == run_on_terminal(columns=57)


def test_a_terminal_of_unknown_width_has_80_columns() -> None:
    store_copy()
    assert max(map(text_width, run_on_terminal(columns=0))) in range(57, 81)


@pytest.mark.parametrize("columns", [1, 40, 80, 200])
def test_details_are_complete_at_any_width(columns: int) -> None:
    store_copy()
    lines = run_on_terminal("talker-2", columns=columns)
    assert lines[0] == "id                vendor/talker-2"
    shown = " ".join(" ".join(lines).split())
    assert "description It talks of many things. context 400,000 tokens output limit" in shown
    assert "price output $10 per 1M text tokens" in shown
    assert shown.endswith("documentation https://docs.example/talker-2")
    if columns > 60:
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_of_the_catalog_controls_the_terminal(form: str) -> None:
    evil = "".join(map(chr, (27, 7, 155, 127, 0x202E, 0xE0041))) + "]0;title"
    entry = {"id": "a" + evil, "aliases": [evil], "type": evil, "info": {"name": evil, "description": evil}}
    store_copy(body=json.dumps({"data": [entry]}).encode())
    for words in ([], ["a" + evil]):
        text = "\n".join(run_on_terminal(*words, columns=200, form=form))
        assert "]0;title" in text
        assert not set(text) & set("\x1b\x07\x9b\x7f\u202e\U000e0041")


TEXTS = st.text(max_size=12)
COLUMNS = (Column("ID", 0), Column("N", 2, right=True), Column("NAME", 1, min_width=5))


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5), st.integers(-2, 60))
def test_no_line_of_a_table_exceeds_the_width_unless_the_first_column_does(
    rows: list[tuple[str, str, str]], room: int
) -> None:
    lines = format_table(COLUMNS, [("id" + first, *rest) for first, *rest in rows], room).split("\n")
    assert len(lines) == len(rows) + 2
    widest = max(
        text_width(line) for line in format_table(COLUMNS[:1], [["id" + row[0]] for row in rows], 0).split("\n")
    )
    assert max(map(text_width, lines)) <= max(room, widest)


def test_an_empty_column_is_left_out() -> None:
    assert format_table(COLUMNS, [("a", "", "long name"), ("b", "", "x")], 40) == "ID  NAME\na   long name\nb   x\n"


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.integers(-2, 60))
def test_details_lose_no_word(pairs: list[tuple[str, str]], room: int) -> None:
    shown = format_details([(f"n{index}", "x" + value) for index, (_, value) in enumerate(pairs)], room)
    assert len([line for line in shown.split("\n") if line.startswith("n")]) == len(pairs)


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3)))
def test_a_cell_never_contains_a_line_break_or_tab(rows: list[list[str]]) -> None:
    assert [line.count("\t") for line in format_tsv(rows).split("\n")] == [2] * len(rows) + [0]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["units", "when", "per"]), inner),
    max_leaves=10,
)
PRICE_UNITS = st.fixed_dictionaries(
    {
        "price": st.floats() | JSON_VALUES,
        "per": st.floats() | JSON_VALUES,
        "name": JSON_VALUES,
        "origin": JSON_VALUES,
        "when": JSON_VALUES,
    }
)
CATALOG_ENTRIES = st.fixed_dictionaries(
    {
        "id": st.text(),
        "type": JSON_VALUES,
        "aliases": JSON_VALUES,
        "info": st.fixed_dictionaries({"name": JSON_VALUES, "contextLength": JSON_VALUES}),
        "pricing": st.fixed_dictionaries({"units": st.lists(PRICE_UNITS), "variants": st.lists(PRICE_UNITS)}),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(CATALOG_ENTRIES, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_any_catalog_can_be_shown(capfd: Capture, entries: list[dict[str, Any]], one: bool, as_json: bool) -> None:
    if not cache_path(HOST).exists():
        store_copy()
    body = json.dumps({"data": [*entries, {"id": "sure"}]}).encode()
    cache_path(HOST).write_bytes(COPY_HEAD + str(time.time()).encode() + b"}\n" + body)
    assert (
        model_table.show_models(
            [entries[0]["id"]] if one and entries[0]["id"] else [], build_settings(), as_json=as_json
        )
        == 0
    )
    out = capfd.readouterr().out
    assert json.loads(out, parse_constant=pytest.fail) if as_json else out.endswith("\n")
