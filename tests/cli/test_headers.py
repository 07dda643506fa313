"""--header and [headers]: which requests have them, and which headers are refused."""

import json
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback, http_response, json_response

from aiml_cli.__main__ import main

KEY = "sk-made-up-key-0123456789"
FORBIDDEN_HEADERS = [
    "Authorization: Bearer SECRET", "authorization:SECRET", "Proxy-Authorization: SECRET", "Cookie: a=SECRET",
    "Set-Cookie: SECRET", "x-api-key: SECRET", "X_API_KEY: SECRET", "api-key: SECRET", "ApiKey: SECRET",
    "Ocp-Apim-Subscription-Key: SECRET", "X-Auth-Token: SECRET", "Private-Token: SECRET", "X-Goog-Api-Key: SECRET",
    "X-Amz-Security-Token: SECRET", "Helicone-Auth: SECRET", "CF-Access-Client-Secret: SECRET", "X-Password: SECRET",
    "Host: SECRET", "Content-Length: 0SECRET", "content-type: SECRET", "Content-Encoding: SECRET",
    "Transfer-Encoding: SECRET", "Connection: SECRET", "Keep-Alive: SECRET", "TE: SECRET", "Trailer: SECRET",
    "Upgrade: SECRET", "Accept-Encoding: SECRET", "Accept: SECRET", "Expect: SECRET", "Range: SECRET",
    "If-None-Match: SECRET", "Proxy-Connection: SECRET",
    "X-A: SECRET\r\nX-B: 1", "X-A: SECRET\nb", "X-A: SECRET\x00", "X-A: SECRET\tb", "X-A: SECRET\x7f",
    "X-A: SECRET\x85", "X-A: SECRET ☃", "X-A: SECRET \udcff", "X A: SECRET", "X-A : SECRET", "X(A): SECRET",
    "é: SECRET", "\r\nX-A: SECRET", ": SECRET", "SECRET", "", "=SECRET",
]  # fmt: skip


@pytest.fixture
def config(empty_home: Path) -> Path:
    """Return the path of the config file, in its directory."""
    path = empty_home / "xdg_config_home/aiml/config.toml"
    path.parent.mkdir()
    return path


@pytest.fixture(autouse=True)
def environment(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer_with(HELLO)
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)


@pytest.mark.promise("headers")
@pytest.mark.parametrize("header", FORBIDDEN_HEADERS)
@pytest.mark.parametrize("command", ["chat", "respond"])
def test_a_forbidden_header_is_refused_and_its_value_is_not_shown(
    command: str, header: str, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--header", header, "hi"]) == 2
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err
    assert "--header: " in err
    assert server.requests == []


@pytest.mark.parametrize("header", ["Cookie: SECRET", "Host: SECRET", "X-A: SECRET\n"])
def test_a_forbidden_header_is_refused_in_the_config_file_and_environment_too(
    header: str, config: Path, server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = header.partition(": ")
    config.write_text(f"[headers]\n{name} = {json.dumps(value)}\n")
    assert main(["chat", "hi"]) == 2
    config.unlink()
    assert main(["config", "set", f"headers.{name}", value]) == 2
    if "\n" not in value:
        monkeypatch.setenv("AIML_HEADERS", header)
        assert main(["chat", "hi"]) == 2
    assert "SECRET" not in "".join(capfd.readouterr())
    assert server.requests == []


@pytest.mark.promise("headers")
@pytest.mark.parametrize(
    "value", [KEY, f"Bearer {KEY}", f"a{KEY}b", KEY.replace("-", "\\u002d"), KEY.replace("-", "%2D")]
)
@pytest.mark.parametrize("arguments", [["chat", "hi"], ["respond", "hi"], ["chat", "--dry-run", "hi"], ["models"], ["usage"], ["chat", "--as", "curl", "hi"]])  # fmt: skip
def test_a_value_that_contains_the_key_is_refused_and_not_shown(
    arguments: list[str], value: str, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--header", f"X-A: {value}"]) == 2
    out, err = capfd.readouterr()
    assert value not in out + err
    assert "contains the API key" in err
    assert server.requests == []


@pytest.mark.parametrize("arguments", [["chat"], ["chat", "-S"], ["respond"], ["respond", "-S"]])
def test_headers_of_all_sources_are_sent_and_a_flag_overrides_others_by_name(
    arguments: list[str], config: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[headers]\nX-File = "1"\nX-Team = "file"\nX-Gone = "file"\n[profiles.p.headers]\nx-team = "p"\n')
    monkeypatch.setenv("AIML_HEADERS", "X-Env: 1\nX-TEAM: env\n")
    monkeypatch.setenv("AIML_PROFILE", "p")
    main([*arguments, "--header", "x-Team:  flag  ", "--header", "X-Caf: caf\u00e9", "--header", "X-Gone:", "hi"])  # fmt: skip
    head = server.requests[0].head
    assert [line for line in head.split(b"\r\n") if line.lower().startswith((b"x-f", b"x-t", b"x-e", b"x-g", b"x-caf"))] == [
        b"X-File: 1", b"x-Team: flag", b"X-Env: 1", b"X-Caf: caf\xe9",
    ]  # fmt: skip
    assert server.requests[0].get_header("authorization") == f"Bearer {KEY}"


def test_the_user_agent_can_be_replaced(server: Loopback) -> None:
    main(["chat", "--header", "user-agent: mine/1", "hi"])
    assert server.requests[0].head.lower().count(b"user-agent:") == 1
    assert server.requests[0].get_header("user-agent") == "mine/1"


@pytest.mark.parametrize("arguments", [["models"], ["usage"], ["config", "check"]])
def test_other_requests_to_the_base_url_have_them_too(arguments: list[str], server: Loopback) -> None:
    server.scripts[:] = [[json_response({"object": "list", "data": [], "current_balance": 1})]]
    main([*arguments, "--header", "X-Team: core"])
    assert server.requests
    assert {request.get_header("x-team") for request in server.requests} == {"core"}


def test_the_requests_of_rows_have_the_headers(server: Loopback, empty_home: Path) -> None:
    (empty_home / "rows").write_text("a\nb\n")
    assert main(["chat", "--each", "line", "-f", "rows", "--header", "X-Team: core", "{row}"]) == 0
    assert [request.get_header("x-team") for request in server.requests] == ["core", "core"]


@pytest.mark.promise("headers")
def test_requests_for_files_by_url_do_not_have_the_headers(server: Loopback) -> None:
    with Loopback() as other:
        other.answer_with(http_response(b"a page", "200 OK", "text/plain"))
        assert main(["chat", "--header", "X-Team: core", "-f", f"http://127.0.0.1:{other.port}/x", "hi"]) == 0
        assert other.requests[0].get_header("x-team") is None
    assert server.requests[0].get_header("x-team") == "core"


@pytest.mark.promise("headers")
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("arguments", [["chat", "hi"], ["models"]])
def test_a_redirect_does_not_send_the_headers_to_another_host(
    arguments: list[str], status: str, server: Loopback
) -> None:
    with Loopback() as other:
        other.answer_with(json_response({}))
        target = f"Location: http://127.0.0.1:{other.port}/v1/models"
        server.scripts[:] = [[http_response(b"", status, "text/plain", target)]]
        assert main([*arguments, "--header", "X-Team: core"]) != 0
        assert other.requests == []


@pytest.mark.parametrize("form", ["curl", "python", "javascript", "httpie", "json"])
def test_a_generated_program_has_the_headers(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["respond", "--as", form, "--header", "X-Team: it's", "hi"]) == 0
    out = capfd.readouterr().out
    assert "X-Team" in out
    assert out.count("it'") + out.count("it's") >= 1


def test_dry_run_and_debug_show_them(capfd: pytest.CaptureFixture[str]) -> None:
    main(["chat", "--dry-run", "--header", "X-Team: core", "hi"])
    assert json.loads(capfd.readouterr().out)["headers"]["X-Team"] == "core"
    main(["chat", "--debug", "--header", "X-Team: caf\u00e9", "hi"])
    assert "> X-Team: caf\u00e9\n" in capfd.readouterr().err


def test_a_template_can_neither_set_nor_save_headers(empty_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--save", "t", "--header", "X-Team: core", "hi"]) == 0
    saved = (empty_home / "xdg_config_home/aiml/templates/t.toml").read_text()
    assert "X-Team" not in saved
    (empty_home / "xdg_config_home/aiml/templates/u.toml").write_text('prompt = "hi"\n[headers]\nX-Team = "x"\n')
    assert main(["chat", "-t", "u"]) == 2
    assert "headers" in capfd.readouterr().err


def test_a_config_file_that_the_group_can_change_cannot_set_headers(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[headers]\nX-Team = "core"\n')
    config.chmod(0o660)
    assert main(["chat", "hi"]) == 2
    assert "it sets headers" in capfd.readouterr().err


def test_a_single_header_can_be_set_read_and_unset_by_config(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert main(["config", *arguments]) == 0
        return capfd.readouterr().out

    config.write_text('# mine\n[headers]\nX-Team = "core"  # ours\nX-Build = 7\n[profiles.p]\nmodel = "m"\n')
    run("set", "headers.x-team", "infra")
    run("set", "headers.X-New", "a: b=c")
    run("set", "headers.X-New", "p", "--profile", "p")
    assert run("get", "headers").split("\n") == ["X-Team: infra", "X-Build: 7", "X-New: a: b=c", ""]
    assert run("get", "headers.X-TEAM") == "infra\n"
    assert run("get", "headers", "--profile", "p").split("\n")[2] == "X-New: p"
    run("unset", "headers.x-build")
    assert run("get", "headers.X-Build") == ""
    run("unset", "headers.X-New")
    assert config.read_text() == (
        '# mine\n[headers]\nX-Team = "infra"  # ours\n[profiles.p]\nheaders = {X-New = "p"}\nmodel = "m"\n'
    )
    assert "headers = X-Team: infra, X-New: f  (flag --header; adds to the config file" in run(
        "show", "--header", "X-New: f"
    )
    assert main(["config", "set", "header.X-A", "b"]) == 2


def test_a_recording_stores_the_headers_but_a_replay_does_not_compare_them(
    empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--record", "r.jsonl", "--header", "X-Team: core", "hi"]) == 0
    answer = capfd.readouterr().out
    assert json.loads((empty_home / "r.jsonl").read_text())["request"]["headers"] == {"X-Team": "core"}
    for arguments in ([], ["--header", "X-Team: other"]):
        assert main(["chat", "--replay", "r.jsonl", *arguments, "hi"]) == 0
        assert capfd.readouterr().out == answer
