"""`aiml config …` does what it says, and never shows the key."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pexpect
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.forked_process import TerminalProcess
from support.loopback import Loopback, http_response, json_response
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.cli.commands import config, config_check
from aiml_cli.errors import AimlError, AuthError, UsageError
from aiml_cli.settings.options import ROWS, value_of
from aiml_cli.settings.resolve import RawValue, persistent_options, resolve
from aiml_cli.store import api_keys
from aiml_cli.store.config_file import read_sources

SECRET = "k-0123456789abcdef"
BALANCE_RESPONSE = json_response({"current_balance": 12.5, "currency": "USD"})
REFUSED_KEY_RESPONSE = json_response({"status": 401, "message": f"Bad key {SECRET}"}, "401 Unauthorized")


@pytest.fixture(autouse=True)
def hide_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own keyring, also from processes that the tests start."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "xdg_config_home" / "aiml" / "config.toml"


@pytest.fixture
def default_server(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    return server


def read_output(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().out


def list_settings(capfd: pytest.CaptureFixture[str]) -> dict[str, str]:
    config.show_all()
    return {line.split(" ")[0]: line for line in read_output(capfd).splitlines()}


def test_show_prints_each_value_with_its_source(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config.set_setting("temperature", "0.2")
    config.set_setting("seed", "2")
    config.set_setting("seed", "3", "work")
    config.set_setting("system", "a\nb\x1b[2J")
    monkeypatch.setenv("AIML_PROFILE", "work")
    monkeypatch.setenv("AIML_TEMPERATURE", "0.5")
    found = list_settings(capfd)
    assert found["temperature"] == "temperature = 0.5  (environment AIML_TEMPERATURE; overrides the config file)"
    assert found["seed"] == "seed = 3  (profile work; overrides the config file)"
    assert found["system"] == "system = a\\nb\\x1b[2J  (config file)"
    assert found["format"] == "format = md  (default)"
    assert found.keys() <= {*(row.name for row in persistent_options()), "api_key"}
    assert "effort" not in found


PROFILES = "[profiles.local]\nmodel = 'a/b'\nstream = false\n[profiles.other]\ntemperature = 0.2\n"


@pytest.mark.parametrize("command", [["profiles"], ["config", "profiles"], ["profiles", "list"]])
def test_profiles_are_listed(command: list[str], file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"profile = 'other'\n{PROFILES}")
    assert main(command) == 0
    assert (
        read_output(capfd) == "name\tstate\tsettings\nlocal\t\tmodel=a/b, stream=off\nother\tin use\ttemperature=0.2\n"
    )


@pytest.mark.parametrize("words", [["local"], ["show", "local"]])
def test_a_profile_is_shown(words: list[str], file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROFILES)
    assert main(["profiles", *words]) == 0
    assert read_output(capfd) == "model = a/b\nstream = off\n"
    assert main(["profiles", *words, "--json"]) == 0
    assert json.loads(read_output(capfd)) == {"model": "a/b", "stream": "off"}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["lokal"], "did you mean local? available: local, other"), (["local", "other"], "one profile")],
)
def test_a_missing_profile_is_a_usage_error(
    words: list[str], message: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROFILES)
    assert main(["profiles", *words]) == 2
    assert message in capfd.readouterr().err


def test_without_profiles_a_notice_says_how_to_make_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles"]) == 0
    shown = capfd.readouterr()
    assert (shown.out, "aiml config set --profile NAME" in shown.err) == ("", True)


def test_show_as_json_has_every_setting(capfd: pytest.CaptureFixture[str]) -> None:
    config.set_setting("option", "a.b=1")
    read_output(capfd)
    config.show_all({"json": RawValue(("on",), "--json")})
    found = json.loads(read_output(capfd))
    assert list(found) == [*(row.name for row in persistent_options()), "api_key"]
    assert found["option"]["value"] == {"a.b": 1}
    assert found["timeout"] == {"value": 120, "source": "default", "hides": []}


@pytest.mark.promise("key-masked")
def test_show_says_only_where_the_key_is_stored(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    none = "api_key = not set: there is no key for api.aimlapi.com: AIMLAPI_API_KEY is not set, and none is stored"
    assert list_settings(capfd)["api_key"] == none
    monkeypatch.setenv("AIML_KEY_COMMAND", f"touch {file}.ran")
    assert list_settings(capfd)["api_key"] == "api_key = printed by key_command"
    assert not Path(f"{file}.ran").exists()
    api_keys.store_key("api.aimlapi.com", SECRET)
    assert list_settings(capfd)["api_key"] == f"api_key = set (file {file.parent}/keys.json)"
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET)
    assert list_settings(capfd)["api_key"] == "api_key = set (environment AIMLAPI_API_KEY)"
    monkeypatch.setenv("AIMLAPI_API_KEY", f"{SECRET}\n")
    unusable = "api_key = not usable: environment AIMLAPI_API_KEY: the key contains a line break"
    assert list_settings(capfd)["api_key"] == unusable


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"], exclude_characters=","), min_size=1))
JSON_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PAIR_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="="), min_size=1).filter(
    lambda name: name.strip(".")
)


def build_text_strategy(name: str) -> st.SearchStrategy[str]:  # noqa: C901, PLR0912 - a case for each kind of value
    """Return a strategy for texts that a setting accepts, from its row in the table."""
    kind = ROWS[name].value_type
    low, high = kind.limits
    match name:
        case _ if kind.is_closed:
            return st.sampled_from(kind.choices)
        case "tools" | "response_format" | "tool_choice":
            return st.dictionaries(TEXTS, JSON_VALUES).map(json.dumps)
        case "option":
            texts = JSON_VALUES.map(json.dumps)
            return st.tuples(PAIR_NAMES, texts | texts.map(json.dumps) | TEXTS).map("=".join)
        case "prompt_var" | "mcp_server":
            return st.tuples(PAIR_NAMES, TEXTS.filter(lambda text: text[0] != "{")).map("=".join)
        case "location":
            return WORDS.filter(bool).map(lambda words: f"city={words[0]}")
        case "include" | "allow":
            return WORDS.filter(bool).map(",".join)
        case "cache":
            return st.sampled_from(["30m", "12h", "7d", "2w", "off"])
        case "template_path":
            return st.lists(TEXTS.map(lambda text: "/" + text.replace(":", "")), min_size=1).map(":".join)
        case "headers":
            values = st.text(st.characters(min_codepoint=0xA1, max_codepoint=0xFF) | st.sampled_from("a b:='\"#"))
            return st.tuples(st.sampled_from(["X-Team", "x.y", "A_1"]), values.map(str.strip).filter(bool)).map(
                ": ".join
            )
        case "loaders":
            commands = st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=1).map(
                lambda words: json.dumps(["conv", *words, "{}"])
            )
            return st.tuples(st.sampled_from(["docx", "tar.gz", "0"]), commands).map("=".join)
        case _ if kind.metavar == "N":
            return st.integers(int(low or 0), int(high or 10**30)).map(str)
        case _ if kind.metavar == "NUMBER":
            return st.floats(low or 0, high or 1e300).map(repr)
        case _ if kind.metavar in ("PATH", "URL"):
            return TEXTS.map("/".__add__ if kind.metavar == "PATH" else lambda text: "https://h/v" + quote(text, ""))
        case _:
            return TEXTS.filter(lambda text: text[0] != "@")


PERSISTENT_NAMES = [row.name for row in persistent_options() if row.name not in ("profile", "file")]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_get_prints_a_value_that_sets_the_same_again(
    capfd: pytest.CaptureFixture[str], file: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(PERSISTENT_NAMES))
    text = data.draw(build_text_strategy(name))
    profile = data.draw(st.sampled_from([None, "work"]))
    file.unlink(missing_ok=True)
    wanted = value_of(resolve({}).options, ROWS[name])
    config.set_setting("n", "1", "work")
    try:
        config.set_setting(name, text, profile)
    except UsageError as fault:  # what would come back as another value is not taken
        assume(name != "option" or "cannot contain" not in fault.message)
        raise
    flags = {"profile": RawValue((profile,), "--profile")} if profile else {}
    got = value_of(resolve(read_sources(flags, {})).options, ROWS[name])
    assert got == resolve_value(name, text)
    read_output(capfd)
    config.get_setting(name, flags)
    printed = read_output(capfd)
    assert printed.endswith("\n")
    assert resolve_value(name, printed[:-1]) == got
    config.unset_setting(name, profile)
    if name != "n":
        assert value_of(resolve(read_sources(flags, {})).options, ROWS[name]) == wanted


def resolve_value(name: str, text: str) -> Any:
    return value_of(resolve(read_sources({name: RawValue((text,), "--flag")}, {})).options, ROWS[name])


def test_get_prints_values_in_the_form_that_set_accepts(capfd: pytest.CaptureFixture[str]) -> None:
    for text in ("top_k=5", "user=me", 'b.c={"d": 1}'):
        config.set_setting("option", text)
    config.set_setting("--max-tokens", "9")
    read_output(capfd)
    for name, printed in {"max-tokens": "9\n", "store": "", "stream": "on\n", "retries": "2\n"}.items():
        assert config.get_setting(name) == 0
        assert read_output(capfd) == printed
    config.get_setting("option")
    assert read_output(capfd) == 'top_k=5\nuser=me\nb.c={"d": 1}\n'


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: config.get_setting("temprature"),
        lambda: config.set_setting("temprature", "1"),
        lambda: config.unset_setting("temprature"),
    ],
)
def test_an_unknown_setting_is_an_error_with_a_suggestion(attempt: Any) -> None:
    with pytest.raises(UsageError, match="unknown setting 'temprature'") as told:
        attempt()
    assert told.value.hint == "did you mean temperature?"


def test_an_invalid_setting_does_not_affect_others(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.parent.mkdir()
    file.write_text("temperature = 9\nseed = 4\n")
    config.get_setting("seed")
    assert read_output(capfd) == "4\n"
    config.set_setting("temperature", "1")
    assert config.show_all() == 0


def test_a_notice_says_if_another_source_overrides_a_new_value(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIML_SEED", "7")
    config.set_setting("seed", "1")
    assert capfd.readouterr().err == "aiml: AIML_SEED overrides this value\n"
    config.set_setting("n", "1")
    config.unset_setting("effort")
    assert capfd.readouterr().err.startswith("aiml: effort was not set in ")


def test_path_prints_the_path_of_the_file_even_if_it_does_not_exist(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.print_path()
    assert read_output(capfd) == f"{file}\n"
    assert not file.parent.exists()


def set_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make an editor from a shell script, in which $1 is the file."""
    program = tmp_path / "my editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("EDITOR", shlex.quote(str(program)))


def test_edit_saves_a_valid_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_editor(tmp_path, monkeypatch, 'echo "seed = 4 # mine" >> "$1"')
    before = os.umask(0)
    try:
        assert config.edit_config() == 0
    finally:
        os.umask(before)
    assert file.read_text().endswith("aiml config show\nseed = 4 # mine\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == [".config.toml.lock", "config.toml"]


def test_visual_takes_precedence_over_editor(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_editor(tmp_path, monkeypatch, "exit 1")
    monkeypatch.setenv("VISUAL", "sh -c 'echo seed = 4 > \"$0\"'")
    config.edit_config()
    assert file.read_text() == "seed = 4\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed = 4\\nn = ", ", line 2, column 5: invalid value"),
        ("temprature = 1", ": unknown setting 'temprature'"),
        ("[profiles.a]\\ntemperature = 9", ": profile a: temperature: '9' is not a number from 0 to 2"),
        ("profile = 'b'\\n[profiles.a]\\n", ": profile: there is no profile 'b'"),
    ],
)
def test_edit_keeps_an_invalid_text_in_a_copy_and_does_not_change_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    config.set_setting("seed", "1")
    set_editor(tmp_path, monkeypatch, f'printf \'%b\' "{text}" > "$1"')
    with pytest.raises(UsageError) as told:
        config.edit_config()
    (copy,) = file.parent.glob("config.*-*.toml")
    assert told.value.message.startswith(f"{copy}{sentence}")
    assert told.value.hint == f"the config file was not changed; what you wrote is kept in {copy}"
    assert file.read_text() == "seed = 1\n"
    assert copy.read_text()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [("echo 'seed = 4' > \"$1\"; exit 3", "ended with 3"), (None, "cannot be started: No such file or directory")],
)
def test_an_editor_that_fails_changes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, sentence: str
) -> None:
    config.set_setting("seed", "1")
    monkeypatch.setenv("EDITOR", "no-such-editor")
    if script:
        set_editor(tmp_path, monkeypatch, script)
    with pytest.raises(UsageError, match=sentence):
        config.edit_config()
    assert file.read_text() == "seed = 1\n"
    assert sorted(path.name for path in file.parent.iterdir()) == [".config.toml.lock", "config.toml"]


def test_edit_does_not_overwrite_a_change_by_another_program(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.set_setting("seed", "1")
    set_editor(tmp_path, monkeypatch, f"echo 'seed = 2' > {shlex.quote(str(file))}; echo 'seed = 3' > \"$1\"")
    with pytest.raises(UsageError, match="changed by another program in the meantime") as told:
        config.edit_config()
    (copy,) = file.parent.glob("config.*-*.toml")
    assert (file.read_text(), copy.read_text()) == ("seed = 2\n", "seed = 3\n")
    assert str(copy) in told.value.hint


def test_edit_does_not_open_an_editor_if_the_file_cannot_be_saved(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    file.symlink_to(tmp_path / "dotfiles.toml")
    set_editor(tmp_path, monkeypatch, f"touch {shlex.quote(str(tmp_path))}/opened")
    with pytest.raises(UsageError, match="symbolic link"):
        config.edit_config()
    assert not (tmp_path / "opened").exists()


def test_edit_without_a_change_makes_no_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDITOR", "true")
    config.edit_config()
    assert capfd.readouterr().err == "aiml: nothing was changed\n"
    assert not list(file.parent.iterdir())


def test_edit_can_repair_a_damaged_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    file.write_bytes(b"seed = \xff")
    set_editor(tmp_path, monkeypatch, "echo 'seed = 3' > \"$1\"")
    config.edit_config()
    assert file.read_text() == "seed = 3\n"


def start_on_terminal(*words: str) -> "pexpect.spawn[bytes]":
    program, *arguments = build_command("config", *words)
    return TerminalProcess(program, arguments, timeout=30)


def test_edit_offers_to_open_an_invalid_file_again(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_editor(tmp_path, monkeypatch, 'if grep -q bad "$1"; then echo "seed = 5" > "$1"; else echo bad > "$1"; fi')
    with start_on_terminal("edit") as terminal:
        terminal.expect(r"line 1, column 4: .*edit it again\? \[Y/n\] ")
        terminal.sendline("")
        terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0
    assert file.read_text() == "seed = 5\n"


def test_the_key_is_read_from_a_terminal_and_not_shown(file: Path) -> None:
    with start_on_terminal("key") as terminal:
        terminal.expect(r"API key for api\.aimlapi\.com \(not shown\): ")
        terminal.sendline(SECRET)
        terminal.expect(r"stored the key for api\.aimlapi\.com in file ")
        seen = terminal.before + terminal.after + terminal.read()
    assert SECRET.encode() not in seen
    assert json.loads((file.parent / "keys.json").read_text()) == {"api.aimlapi.com": SECRET}


def run(code: str, stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    script = f"from aiml_cli.cli.commands import config_check as check, config as configure\n{code}"
    return subprocess.run([sys.executable, "-c", script], input=stdin, capture_output=True, check=False)


def test_a_key_from_standard_input_is_stored_for_the_host_of_the_base_url(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIML_BASE_URL", "https://other.example:8443/v1")
    monkeypatch.setenv("AIMLAPI_API_KEY", "another")
    done = run("configure.change_key(False, True)", f"{SECRET}\r\n".encode())
    stored = file.parent / "keys.json"
    assert done.stdout == b""
    assert done.stderr.decode() == (
        f"aiml: stored the key for other.example:8443 in file {stored}\n"
        "aiml: AIMLAPI_API_KEY is set and overrides the stored key\n"
    )
    assert json.loads(stored.read_text()) == {"other.example:8443": SECRET}
    for words in ("removed the key", "no key is stored"):
        assert words in run("configure.change_key(True, False)", b"").stderr.decode()
    assert json.loads(stored.read_text()) == {}


@pytest.mark.promise("implausible-keys")
@pytest.mark.parametrize(
    ("stdin", "sentence"),
    [(b"", "empty or a placeholder"), (b"<KEY>\n", "empty or a placeholder"), (b"k-0123\nk-0123\n", "a line break")],
)
def test_an_invalid_key_is_not_stored(file: Path, aiml: Aiml, stdin: bytes, sentence: str) -> None:
    done = aiml("config", "key", "--stdin", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert sentence in done.stderr.decode()
    assert b"0123" not in done.stderr
    assert not file.parent.exists()


def test_key_without_a_terminal_is_a_usage_error(aiml: Aiml) -> None:
    done = aiml("config", "key")
    assert done.returncode == 2
    assert b"config key --stdin" in done.stderr


def run_check(capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """Run the check; return its exit code, what is valid, and what is not."""
    code = config_check.check()
    found = read_output(capfd).splitlines()
    assert all(line.startswith(("ok      ", "not ok  ")) for line in found)
    fine = [line[8:] for line in found if line.startswith("ok")]
    return code, fine, [line[8:] for line in found if line.startswith("not")]


def test_check_passes_if_everything_is_valid(
    default_server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    default_server.answer_with(BALANCE_RESPONSE)
    config.set_setting("seed", "1")
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET)
    host = default_server.url.removeprefix("http://").removesuffix("/v1")
    assert run_check(capfd) == (0, [
        f"{file.parent}: mode 700",
        f"{file}: mode 600",
        f"there is no {file.parent}/keys.json",
        "the settings are valid",
        "the key comes from: environment AIMLAPI_API_KEY",
        f"{host} answers",
        "the server accepts the key; the balance is 12.50 USD",
    ], [])  # fmt: skip
    (request,) = default_server.requests
    assert request.request_line == "GET /v2/billing HTTP/1.1"
    assert request.get_header("authorization") == f"Bearer {SECRET}"


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (REFUSED_KEY_RESPONSE, (3, "the server answered 401: Bad key *** (is the key right?")),
        (json_response({"message": "no credit left"}, "403 Forbidden"), (3, "the server answered 403: no credit left")),
        (http_response(b"<p>down</p>", "502 Bad Gateway", "text/html"), (6, "the server answered 502: down")),
        (json_response({}, "429 Too Many Requests"), (5, "the server answered 429")),
        (b"SSH-2.0-x\r\n\r\n", (6, "the response is not HTTP")),
    ],
)
def test_check_reports_what_the_server_refuses(
    default_server: Loopback,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    reply: bytes,
    expected: tuple[int, str],
) -> None:
    default_server.answer_with(reply)
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET)
    code, _, wrong = run_check(capfd)
    assert code == expected[0]
    assert len(wrong) == 1
    assert expected[1] in wrong[0]
    assert SECRET not in wrong[0]


@pytest.mark.parametrize(
    "reply", [http_response(b"", "404 Not Found"), http_response(b"<p>", content_type="text/html"), json_response([1])]
)
def test_check_passes_if_the_server_has_no_balance_endpoint(
    default_server: Loopback, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], reply: bytes
) -> None:
    default_server.answer_with(reply)
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET)
    code, fine, wrong = run_check(capfd)
    assert (code, wrong) == (0, [])
    assert fine[-1].startswith("the server does not say whether it accepts the key (status ")


@pytest.mark.usefixtures("default_server")
def test_check_passes_without_a_key_for_a_local_server(
    default_server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    default_server.answer_with(REFUSED_KEY_RESPONSE)
    code, fine, wrong = run_check(capfd)
    assert (code, wrong) == (0, [])
    assert "there is no key; a local server does not need one" in fine
    assert default_server.requests[0].get_header("authorization") is None


def test_check_exits_with_the_worst_problem(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AIML_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("AIMLAPI_API_KEY", "two words")
    config.set_setting("seed", "1")
    file.chmod(0o620)
    code, _, wrong = run_check(capfd)
    assert code == 7
    assert [line.partition(" (")[0] for line in wrong] == [
        f"{file}: others can change it",
        "environment AIMLAPI_API_KEY: the key contains a space",
        f"127.0.0.1:{port}: no connection: Connection refused",
    ]


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize(
    ("config", "sentence"), [("seed = ", "line 1, column 8"), ("base_url = 'x'", "is not the URL")]
)
def test_check_reports_a_damaged_file_and_contacts_no_server(
    file: Path, capfd: pytest.CaptureFixture[str], config: str, sentence: str
) -> None:
    file.parent.mkdir(0o700)
    file.write_text(config)
    code, _, wrong = run_check(capfd)
    assert code == 2
    assert len(wrong) == 1
    assert sentence in wrong[0]


@pytest.mark.promise("key-per-server")
def test_plain_http_to_another_machine_sends_no_key(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], server: Loopback
) -> None:
    server.answer_with(REFUSED_KEY_RESPONSE)
    monkeypatch.setenv("AIML_BASE_URL", "http://api.example.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET)
    code, _, wrong = run_check(capfd)
    assert code == 2
    assert "over plain http" in wrong[0]
    assert [request.get_header("authorization") for request in server.requests] == [None]


@pytest.mark.promise("key-masked")
def test_an_error_about_the_key_does_not_contain_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", SECRET + " ")
    with pytest.raises(AimlError) as told:
        api_keys.find_key(resolve(read_sources({}, os.environ)), "https://api.aimlapi.com")
    assert isinstance(told.value, AuthError)
    assert SECRET not in f"{told.value!r}{told.value.hint}"


def get_settings_path() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "config.toml"


@pytest.mark.parametrize("profile", [None, "work"])
@pytest.mark.parametrize("name", ["headers", "option"])
def test_removing_the_last_entry_removes_the_table(name: str, profile: str | None) -> None:
    flags = ["--profile", profile] if profile else []
    for entry in ("A", "B"):
        assert main(["config", "set", f"{name}.{entry}", "1", *flags]) == 0
    assert main(["config", "unset", f"{name}.A", *flags]) == 0
    assert name in get_settings_path().read_text()
    assert main(["config", "unset", f"{name}.B", *flags]) == 0
    assert name not in get_settings_path().read_text()


def test_a_section_without_entries_keeps_its_comments() -> None:
    path = get_settings_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[headers]\n# for the proxy\nA = '1'\n")
    assert main(["config", "unset", "headers.A"]) == 0
    assert path.read_text() == "[headers]\n# for the proxy\n"


@pytest.mark.parametrize("order", ["last", "first"])
def test_get_has_the_settings_of_a_profile(order: str, capfd: pytest.CaptureFixture[str]) -> None:
    for name, value, profile in [("n", "1", None), ("n", "2", "work"), ("seed", "3", None), ("effort", "low", "work")]:
        config.set_setting(name, value, profile)

    def get_value(name: str, profile: str) -> tuple[int, str]:
        flag = ["--profile", profile]
        code = main(["config", "get", *((name, *flag) if order == "last" else (*flag, name))])
        return code, read_output(capfd)

    assert [get_value(name, "work") for name in ("n", "seed", "effort")] == [(0, "2\n"), (0, "3\n"), (0, "low\n")]
    assert main(["config", "get", "n"]) == 0
    assert read_output(capfd) == "1\n"
    assert main(["config", "unset", "n", "--profile", "work"]) == 0
    assert get_value("n", "work") == (0, "1\n")


@pytest.mark.parametrize("profile", ["wrok", "", "a/b", "../x"])
def test_get_refuses_a_missing_profile(profile: str, capfd: pytest.CaptureFixture[str]) -> None:
    config.set_setting("n", "2", "work")
    assert main(["config", "get", "n", "--profile", profile]) == 2
    shown = capfd.readouterr()
    assert (shown.out, "profile" in shown.err) == ("", True)
