"""The base URL is checked wherever it comes from, and every request is sent below it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import Aiml

from aiml_cli.__main__ import main

KEY = "k-0123456789abcdef"
INVALID_URLS = [
    ("foo", "'foo' is not the URL of a server"),
    ("api.aimlapi.com/v1", "is not the URL of a server"),
    ("https://h/v1#x", "has a fragment"),
    ("https://h/v1/chat/completions", "use the part before it: https://h/v1;"),
    ("https://h/v1/responses/?api-version=1", "use the part before it: https://h/v1;"),
    ("https://h/v1/models//", "use the part before it: https://h/v1;"),
    ("https://me:hunter2hunter2@h/v1", "has a user name or a password"),
]


def pass_flag(url: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["chat", "hi", "--base-url", url]


def set_variable(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("AIML_API_BASE", url)
    return ["respond", "hi"]


def write_config(url: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    folder = Path("xdg_config_home/aiml")
    folder.mkdir(mode=0o700)
    (folder / "config.toml").write_text(f"base_url = {json.dumps(url)}\n")
    return ["chat", "hi", "--dry-run"]


def set_in_config(url: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["config", "set", "base_url", url]


def set_in_profile(url: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["config", "set", "base_url", url, "--profile", "work"]


def remove_key(url: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["config", "key", "--remove", "--base-url", url]


def list_models(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("AIML_BASE_URL", url)
    return ["models"]


@pytest.mark.parametrize(("url", "message"), INVALID_URLS)
@pytest.mark.parametrize(
    "build_arguments", [pass_flag, set_variable, write_config, set_in_config, set_in_profile, remove_key, list_models]
)
def test_an_invalid_base_url_is_refused_from_every_source(
    url: str,
    message: str,
    build_arguments: Callable[[str, pytest.MonkeyPatch], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    arguments = build_arguments(url, monkeypatch)
    assert main(arguments) == 2
    shown = capfd.readouterr()
    assert (message in shown.err, shown.out, "hunter2" in shown.err) == (True, "", False)


def test_an_invalid_base_url_in_the_file_can_be_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path("xdg_config_home/aiml")
    folder.mkdir(mode=0o700)
    (folder / "config.toml").write_text("base_url = 'foo'\n")
    assert main(["config", "set", "base_url", "https://h/v1"]) == 0
    assert main(["config", "get", "base_url"]) == 0
    assert capfd.readouterr().out == "https://h/v1\n"


@pytest.mark.parametrize("base", ["{}?api-version=1&k=%2F", "{}/?api-version=1&k=%2F"])
def test_every_request_has_the_query_of_the_base_after_its_path(base: str, aiml: Aiml, server: Loopback) -> None:
    url = base.format(server.url)
    answers = [
        HELLO,
        HELLO,
        json_response({"data": []}),
        json_response({"id": "r", "status": "completed", "output": []}),
    ]
    for answer in [*answers, json_response({}), json_response({})]:
        server.answer_with(answer)
    calls = [
        ["chat", "hi"],
        ["respond", "hi"],
        ["models"],
        ["respond", "--show", "resp_1"],
        ["usage"],
        ["config", "check"],
    ]
    for call in calls:
        aiml(*call, "--no-log", AIML_BASE_URL=url) if call[-1] == "hi" else aiml(*call, AIML_BASE_URL=url)
    query = "?api-version=1&k=%2F"
    asked = [request.request_line.split(" ")[1] for request in server.requests]
    assert asked[:4] == [
        f"/v1/chat/completions{query}",
        f"/v1/responses{query}",
        f"/v1/models{query}&include=pricing,modalities,capabilities",
        f"/v1/responses/resp_1{query}",
    ]
    assert asked[4] == f"/v2/billing{query}"
    assert asked[-1] == f"/v2/billing{query}"


@pytest.mark.parametrize("language", ["curl", "httpie", "python", "javascript", "json"])
def test_generated_programs_use_the_base_url_with_its_query(language: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "hi", "--as", language, "--base-url", "https://h/v1/?api-version=1"]) == 0
    assert "https://h/v1/chat/completions?api-version=1" in capfd.readouterr().out


def test_a_recording_leaves_the_query_of_the_base_out(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi", "--record", "tape", AIML_BASE_URL=f"{server.url}?k={KEY}").returncode == 0
    recorded = json.loads(Path("tape").read_text())["request"]
    assert (recorded["path"], recorded["server"]) == ("/chat/completions", server.url)
    assert aiml("chat", "hi", "--replay", "tape", AIML_BASE_URL="https://h/other?x=2").returncode == 0
