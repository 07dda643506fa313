"""The key is looked up in order, sent to its own host only, and never shown."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiml_cli.errors import AimlError, AuthError, UsageError
from aiml_cli.settings.resolve import RawValue, Settings, resolve
from aiml_cli.store import api_keys, paths
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.store.config_file import read_sources

VENDOR_URL = "https://api.aimlapi.com/v1/chat/completions"
OTHER_URL = "https://other.example/v1"
LOCAL_URL = "http://127.0.0.1:4000/v1"
SECRET = "k-0123456789abcdef"

# A stand-in for the package of that name, which is an extra: it keeps keys in a file of the test's.
WORKING_KEYRING = """
import json, pathlib
FILE = pathlib.Path(__file__).with_name("ring.json")
def _ring(): return json.loads(FILE.read_text()) if FILE.exists() else {}
def get_password(service, name): return _ring().get(f"{service} {name}")
def set_password(service, name, value): FILE.write_text(json.dumps({**_ring(), f"{service} {name}": value}))
def delete_password(service, name):
    ring = _ring()
    del ring[f"{service} {name}"]
    FILE.write_text(json.dumps(ring))
"""
LOCKED_KEYRING = (
    "def _locked(*_): raise RuntimeError('locked')\nget_password = set_password = delete_password = _locked"
)
FORGETFUL_KEYRING = "def get_password(*_): return None\nset_password = delete_password = get_password"


@pytest.fixture(autouse=True)
def hide_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own keyring."""
    monkeypatch.setitem(sys.modules, "keyring", None)


def install_keyring(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a fake package called keyring first on the import path."""
    folder = tmp_path / "ring"
    folder.mkdir()
    (folder / "keyring.py").write_text(source)
    monkeypatch.delitem(sys.modules, "keyring")
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "xdg_config_home" / "aiml" / "keys.json"


def write_config(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "xdg_config_home" / "aiml"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)


def read_settings(flags: dict[str, str] | None = None, **environ: str) -> Settings:
    return resolve(
        read_sources({name: RawValue((text,), f"--{name}") for name, text in (flags or {}).items()}, environ)
    )


def find_key(url: str = VENDOR_URL, flags: dict[str, str] | None = None, **environ: str) -> tuple[str, str] | None:
    key = api_keys.find_key(read_settings(flags, **environ), url)
    return (key.value, key.source) if key else None


def build_print_command(words: str) -> str:
    """Return a command line that prints words, as TOML."""
    return f"key_command = '''{sys.executable} -c \"print({words!r})\"'''\n"


def test_the_environment_comes_first_then_the_keyring_then_the_file_then_the_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(build_print_command("from-command"), tmp_path)
    assert find_key() == ("from-command", "key_command")
    api_keys.store_key("api.aimlapi.com", "from-file")
    assert find_key() == ("from-file", f"file {file}")
    install_keyring(WORKING_KEYRING, tmp_path, monkeypatch)
    (tmp_path / "ring" / "ring.json").write_text('{"aiml api.aimlapi.com": "from-ring"}')
    assert find_key() == ("from-ring", "the system's keyring")
    assert find_key(AIMLAPI_KEY="third") == ("third", "environment AIMLAPI_KEY")
    assert find_key(AIMLAPI_KEY="third", AIML_API_KEY="second") == ("second", "environment AIML_API_KEY")
    assert find_key(AIML_API_KEY="second", AIMLAPI_API_KEY="first") == ("first", "environment AIMLAPI_API_KEY")


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("keyring_source", [WORKING_KEYRING, LOCKED_KEYRING, FORGETFUL_KEYRING, "raise RuntimeError"])
def test_a_stored_key_goes_to_its_host_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyring_source: str
) -> None:
    install_keyring(keyring_source, tmp_path, monkeypatch)
    where = api_keys.store_key("other.example", SECRET)
    assert find_key(OTHER_URL) == (SECRET, where)
    for url in (
        VENDOR_URL,
        LOCAL_URL,
        "https://other.example:8443/v1",
        "https://sub.other.example/v1",
        "https://other.example.x",
    ):
        assert find_key(url) is None
    assert api_keys.delete_stored_key("other.example")
    assert not api_keys.delete_stored_key("other.example")
    assert find_key(OTHER_URL) is None


def test_an_old_key_in_the_keyring_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_keyring("def get_password(*_): return 'old'\ndef set_password(*_): raise OSError", tmp_path, monkeypatch)
    for attempt in (lambda: api_keys.store_key("a.example", SECRET), lambda: api_keys.delete_stored_key("a.example")):
        with pytest.raises(AuthError, match=r"could not delete the key for a\.example"):
            attempt()


def test_a_key_that_moves_to_the_keyring_is_removed_from_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_keys.store_key("api.aimlapi.com", "old")
    install_keyring(WORKING_KEYRING, tmp_path, monkeypatch)
    api_keys.store_key("api.aimlapi.com", SECRET)
    assert json.loads(file.read_text()) == {}
    assert find_key() == (SECRET, "the system's keyring")


def test_a_key_from_the_environment_may_go_to_any_local_port_but_a_stored_one_only_to_its_own() -> None:
    assert find_key(LOCAL_URL, AIMLAPI_API_KEY=SECRET) == (SECRET, "environment AIMLAPI_API_KEY")
    api_keys.store_key("127.0.0.1:4000", SECRET)
    assert find_key(LOCAL_URL)
    assert find_key("http://127.0.0.1:4001/v1") is None


@pytest.mark.promise("private-files")
def test_the_file_of_keys_is_private(file: Path) -> None:
    before = os.umask(0)
    try:
        api_keys.store_key("api.aimlapi.com", SECRET)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o600, 0o700]


@pytest.mark.promise("private-files")
def test_a_key_file_that_others_can_read_is_used_with_a_warning(file: Path) -> None:
    api_keys.store_key("api.aimlapi.com", SECRET)
    key = api_keys.find_key(read_settings(), VENDOR_URL)
    assert key == ApiKey(SECRET, f"file {file}", "")
    file.chmod(0o640)
    key = api_keys.find_key(read_settings(), VENDOR_URL)
    assert key == ApiKey(SECRET, f"file {file}", f"others can read the key in {file}: chmod 600 {file}")
    assert (f"{file}: others can read it (chmod 600 {file})", False) in paths.check_permissions()


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize(
    "damage", ["{", '{"api.aimlapi.com": "k-0123', '["k-0123"]', '{"a": {"b": "k-0123"}}', '{"a": 1}']
)
def test_a_damaged_key_file_is_not_changed_and_its_content_is_not_shown(file: Path, damage: str) -> None:
    file.parent.mkdir()
    file.write_text(damage)
    for attempt in (
        find_key,
        lambda: api_keys.store_key("other.example", SECRET),
        lambda: api_keys.delete_stored_key("other.example"),
    ):
        with pytest.raises(UsageError, match=f"^{file}(, line 1, column \\d+)?: not ") as caught:
            attempt()
        assert "k-0123" not in caught.value.message + caught.value.hint
    assert file.read_text() == damage


@pytest.mark.promise("implausible-keys")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("<YOUR_AIMLAPI_KEY>", "AIMLAPI_API_KEY contains a placeholder, not a key"),
        (" <x> ", "AIMLAPI_API_KEY contains a placeholder, not a key"),
        ("  ", "AIMLAPI_API_KEY contains only spaces, not a key"),
        ("\n", "AIMLAPI_API_KEY contains only spaces, not a key"),
        ("", "there is no key for api.aimlapi.com: AIMLAPI_API_KEY is not set, and none is stored"),
    ],
)
def test_a_placeholder_is_not_used_as_a_key(value: str, message: str) -> None:
    settings = read_settings(AIMLAPI_API_KEY=value)
    assert api_keys.find_key(settings, VENDOR_URL) is None
    assert api_keys.explain_missing_key(settings, VENDOR_URL) == message
    with pytest.raises(UsageError):
        api_keys.store_key("api.aimlapi.com", value)
    api_keys.store_key("api.aimlapi.com", SECRET)
    assert find_key(AIMLAPI_API_KEY=value)


def test_an_error_names_a_key_of_another_host_or_a_placeholder(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({"api.aimlapi.com": "<KEY>", "a.example": SECRET}))
    assert (
        api_keys.explain_missing_key(read_settings(), VENDOR_URL)
        == "the key stored for api.aimlapi.com is a placeholder"
    )
    assert api_keys.explain_missing_key(read_settings(), OTHER_URL) == (
        "there is no key for other.example; the stored key is only sent to a.example, api.aimlapi.com"
    )


@pytest.mark.promise("implausible-keys")
@pytest.mark.parametrize(
    ("character", "description"),
    [
        ("\n", "a line break"),
        ("\r", "a line break"),
        ("\t", "a control character"),
        ("\x1b", "a control character"),
        ("\x7f", "a control character"),
        (" ", "a space"),
        ("é", "a character that is not ASCII"),
        ("\u200b", "a character that is not ASCII"),
        ("\udcff", "a character that is not ASCII"),
    ],
)
def test_a_key_with_invalid_characters_is_refused_and_not_shown(character: str, description: str) -> None:
    for value in (f"k-0123{character}4567", f"k-01234567{character}"):
        for attempt in (
            lambda v=value: find_key(AIML_API_KEY=v),
            lambda v=value: api_keys.store_key("api.aimlapi.com", v),
        ):
            with pytest.raises((AuthError, UsageError), match=f"the key contains {description}") as caught:
                attempt()
            assert "0123" not in f"{caught.value!r} {caught.value.hint} {caught.value.details}"


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize("url", ["http://api.aimlapi.com/v1", "HTTP://api.aimlapi.com", "http://127.0.0.1.example"])
def test_no_key_goes_over_plain_http_to_another_machine(url: str) -> None:
    with pytest.raises(UsageError, match="over plain http"):
        api_keys.refuse_plain_http(url, ApiKey(SECRET, "x"))
    api_keys.refuse_plain_http(url, None)


@pytest.mark.parametrize("url", [VENDOR_URL, LOCAL_URL, "http://localhost", "http://[::1]:1"])
def test_a_key_goes_over_https_and_to_this_machine(url: str) -> None:
    api_keys.refuse_plain_http(url, ApiKey(SECRET, "x"))


@pytest.mark.promise("key-masked")
def test_a_key_is_not_in_its_repr() -> None:
    key = ApiKey(SECRET, "keyring")
    assert repr(key) == "ApiKey(source='keyring', notice='')"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "key_command ended with 1"),
        ("true", "key_command printed no key"),
        ("echo '<YOUR_KEY>'", "key_command printed no key"),
        ("no-such-program-at-all", "key_command cannot be started: No such file or directory"),
        ("echo 'open", "key_command cannot be read: No closing quotation"),
        (" ", "key_command does not name a program by its name or absolute path"),
        ("./here", "key_command does not name a program by its name or absolute path"),
        ("echo two words", "key_command: the key contains a space"),
    ],
)
def test_a_key_command_that_fails_is_an_error(command: str, message: str) -> None:
    with pytest.raises(AuthError) as caught:
        find_key(AIML_KEY_COMMAND=command)
    assert caught.value.message == message


def test_a_key_command_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "COMMAND_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(AuthError, match=r"printed no key within 0\.2 s"):
        find_key(AIML_KEY_COMMAND="sleep 60")
    assert time.monotonic() - start < 20


@pytest.mark.promise("current-directory")
def test_a_key_command_gets_no_shell_no_input_and_no_current_directory(tmp_path: Path) -> None:
    (tmp_path / "cat").write_text("#!/bin/sh\necho wrong")
    (tmp_path / "cat").chmod(0o755)
    assert find_key(AIML_KEY_COMMAND="echo k;echo$HOME`id`") == ("k;echo$HOME`id`", "key_command")
    assert find_key(AIML_KEY_COMMAND="pwd") == ("/", "key_command")
    with pytest.raises(AuthError, match="printed no key"):
        find_key(AIML_KEY_COMMAND="cat")


def test_a_key_command_does_not_read_the_prompt_on_standard_input() -> None:
    script = """
from aiml_cli.settings.resolve import resolve
from aiml_cli.store import config_file as config, api_keys as key
try:
    key.find_key(resolve(config.read_sources({}, {"AIML_KEY_COMMAND": "cat"})), "https://api.aimlapi.com")
finally:
    print(input())
"""
    done = subprocess.run([sys.executable, "-c", script], input="prompt", capture_output=True, text=True, check=False)
    assert done.stdout == "prompt\n"


def test_a_key_command_returns_its_first_line_and_may_use_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / "home" / "key").write_text(f"{SECRET}\r\nnote\n")
    assert find_key(AIML_KEY_COMMAND="cat ~/key") == (SECRET, "key_command")


@pytest.mark.promise("key-per-server")
@pytest.mark.parametrize(
    ("config", "flags", "environ", "url", "is_run"),
    [
        (None, {}, {}, VENDOR_URL, True),
        (None, {"base_url": OTHER_URL}, {}, OTHER_URL, False),
        (None, {}, {"AIML_API_BASE": OTHER_URL}, OTHER_URL, False),
        (None, {}, {"AIML_API_BASE": "https://api.aimlapi.com/v2"}, VENDOR_URL, True),
        (None, {}, {}, LOCAL_URL, False),
        (f"base_url = '{OTHER_URL}'\n", {}, {}, OTHER_URL, True),
        (f"base_url = '{OTHER_URL}'\n", {"base_url": "https://api.aimlapi.com/v1"}, {}, VENDOR_URL, False),
        (f"[profiles.a]\nbase_url = '{OTHER_URL}'\n", {"profile": "a"}, {}, OTHER_URL, False),
        (f"base_url = '{LOCAL_URL}'\n", {}, {}, LOCAL_URL, True),
    ],
)  # fmt: skip
def test_a_key_command_is_used_only_for_the_address_configured_beside_it(
    tmp_path: Path, config: str | None, flags: dict[str, str], environ: dict[str, str], url: str, *, is_run: bool
) -> None:
    write_config(build_print_command(SECRET) + (config or ""), tmp_path)
    settings = read_settings(flags, **environ)
    assert api_keys.has_key_command(settings, url) is is_run
    assert (find_key(url, flags, **environ) is not None) is is_run
    if not is_run:
        assert api_keys.explain_missing_key(settings, url).startswith("key_command is not run for ")


def test_a_key_command_can_be_set_only_by_file_profile_and_environment() -> None:
    assert find_key(flags={"key_command": f"echo {SECRET}"}) is None


@pytest.mark.promise("key-masked")
def test_no_error_contains_the_key(file: Path) -> None:
    api_keys.store_key("api.aimlapi.com", SECRET)
    file.write_text(file.read_text()[:-3])
    with pytest.raises(AimlError) as caught:
        find_key()
    assert SECRET not in describe_error(caught.value)


def describe_error(error: Any) -> str:
    return f"{error!r} {error.hint} {error.details}"
