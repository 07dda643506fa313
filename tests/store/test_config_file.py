"""The config file is read, changed and kept."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.forked_process import CliProcess
from support.run_cli import build_command

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.options import ROWS, value_of
from aiml_cli.settings.resolve import RawValue, Settings, Source, resolve
from aiml_cli.store import config_edit, config_file, paths

TWO_PROFILES = "profile = 'home'\n[profiles.home]\nseed = 1\n[profiles.work]\nseed = 2\n"
CONFIG_TEXTS = [
    "# one\n\n# two\n\n# three\n",
    "# one\nsystem = 'a' # two\n# three\n[profiles.home]\neffort = 'b'\n",
    "system = '''\n[profiles.work]\n''' # one\n[profiles.work]\n# two\neffort = 'b' # three\n\n[profiles.home]\n",
    "# one\n[profiles.home]\n# two\neffort = 'c'\n[option]\na = 1 # three\n[profiles.work]\neffort = 'c'",
    "# one\r\nsystem = 'a' # two\r\n[profiles.home] # three\r\neffort = 'b'\r\n",
    "include = [\n  'a', # one\n  'b', # two\n]\n# three",
]
CHANGES = st.tuples(
    st.sampled_from(["seed", "n", "retries"]),
    st.none() | st.integers(1, 9),
    st.sampled_from([None, "home", "work"]),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "xdg_config_home" / "aiml"
    folder.mkdir()
    return folder / "config.toml"


def read_settings(flags: dict[str, str] | None = None, **environ: str) -> Settings:
    values = {name: RawValue((text,), f"--{name}") for name, text in (flags or {}).items()}
    return resolve(config_file.read_sources(values, environ))


def read_value(name: str) -> Any:
    return value_of(read_settings().options, ROWS[name])


def test_the_source_with_the_higher_priority_wins(file: Path) -> None:
    file.write_text("seed = 1\nn = 1\nretries = 1\ntimeout = 1\n[profiles.work]\nn = 2\nretries = 2\ntimeout = 2\n")
    found = read_settings({"profile": "work", "timeout": "4"}, AIML_RETRIES="3", AIML_TIMEOUT="3")
    options, sources = found.options, found.sources
    assert (options.format, options.seed, options.n, options.retries, options.timeout) == ("md", 1, 2, 3, 4)
    assert [sources[name] for name in ("format", "seed", "n", "retries", "timeout")] == [
        Source.DEFAULT, Source.FILE, Source.PROFILE, Source.ENVIRONMENT, Source.FLAG,
    ]  # fmt: skip
    assert found.overrides["retries"] == (f"{file}: retries", f"{file}: profile work: retries")


@pytest.mark.parametrize(
    ("flags", "environ", "seed"),
    [
        ({}, {}, 1),
        ({}, {"AIML_PROFILE": "work"}, 2),
        ({"profile": "work"}, {"AIML_PROFILE": "home"}, 2),
        ({}, {"AIML_PROFILE": ""}, 1),
    ],
)
def test_a_profile_is_chosen_by_flag_environment_or_file(
    file: Path, flags: dict[str, str], environ: dict[str, str], seed: int
) -> None:
    file.write_text(TWO_PROFILES)
    assert read_settings(flags, **environ).options.seed == seed


def test_a_missing_profile_is_an_error_that_lists_the_existing_ones(file: Path) -> None:
    file.write_text(TWO_PROFILES)
    with pytest.raises(UsageError) as caught:
        read_settings({"profile": "wrok"})
    assert caught.value.message == "--profile: there is no profile 'wrok'"
    assert caught.value.hint == "did you mean work? available: home, work"


def test_a_missing_profile_is_an_error_without_a_config_file() -> None:
    with pytest.raises(UsageError, match="AIML_PROFILE: there is no profile 'work'"):
        read_settings(AIML_PROFILE="work")


@pytest.mark.promise("names-are-not-paths")
@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".x", "-x", "a b", "a\n", "ä"])
def test_the_name_of_a_profile_is_not_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid profile name"):
        read_settings({"profile": name})
    with pytest.raises(UsageError, match="is not a valid profile name"):
        config_edit.set_value("seed", "1", name)


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize(
    ("damaged_text", "place"),
    [
        (b"seed = 1\nn = \n", ", line 2, column 5: invalid value"),
        (b"seed = 1\nseed = 2\n", ", line 2, column 9: cannot overwrite a value"),
        (b"n = 1\nsystem = 'open", ', line 2, column 15: expected "\'"'),
        (b"seed = 1\n\nsystem = 'a\xff'", ", line 3, column 12: not UTF-8 text"),
        (b"include = " + b"[" * 100_000, ": nested too deeply"),
        (b"n = " + b"1" * 5000, ", line 1, column 5005: exceeds the limit"),
        (b"[profile.work]\nseed = 1\n", ": [profile] is not a table"),
        (b"profiles = 1\n", ": profiles must contain only tables"),
        (b"[profiles]\nwork = 1\n", ": profiles must contain only tables"),
    ],
)
def test_a_damaged_config_file_is_an_error_and_is_not_changed(file: Path, damaged_text: bytes, place: str) -> None:
    file.write_bytes(damaged_text)
    for attempt in (read_settings, lambda: config_edit.set_value("seed", "5"), lambda: config_edit.unset_value("seed")):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.message.startswith(f"{file}{place}")
    assert file.read_bytes() == damaged_text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("temprature = 1", "unknown setting 'temprature'", "did you mean temperature?"),
        ("api_key = 'k'", "api_key cannot be set in the config file", "store the key with: aiml config key"),
        ("output = 'f'", "output cannot be set in the config file", "pass --output on each call"),
        ("profile = 'a'\n[profiles.a]\nprofile = 'b'", "profile a: a profile cannot set profile", ""),
        ("temperature = 3", "temperature: '3' is not a number from 0 to 2", ""),
    ],
)
def test_an_invalid_setting_is_an_error(file: Path, text: str, message: str, hint: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_settings()
    assert (caught.value.message, caught.value.hint) == (f"{file}: {message}", hint)


def test_a_byte_order_mark_and_an_empty_list_are_accepted(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfinclude = []\nseed = 4\n")
    assert (read_settings().options.include, read_settings().options.seed) == (None, 4)


@pytest.mark.promise("damaged-config")
def test_a_file_that_cannot_be_read_is_an_error(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        read_settings()


@pytest.mark.promise("current-directory")
def test_a_config_file_in_the_current_directory_is_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "cloned"
    for name in ("config.toml", "aiml.toml", ".aiml.toml", "aiml/config.toml", ".config/aiml/config.toml", ".env"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("base_url = 'https://evil.example'\nAIML_BASE_URL='https://evil.example'\n")
    done = subprocess.run(
        [sys.executable, "-c", "from aiml_cli.store import config_file as config; print(config.read_sources({}, {}))"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "evil" not in done.stdout


@pytest.mark.parametrize(
    ("before", "name_and_text", "after"),
    [
        ("", ("temperature", "0.2"), "temperature = 0.2\n"),
        ("", ("store", "yes"), "store = true\n"),
        ("", ("include", "a, b"), 'include = ["a", "b"]\n'),
        ("", ("option", "text.verbosity=low"), 'option = {"text.verbosity" = "low"}\n'),
        ("", ("tools", '[{"a": [1]}]'), "tools = [{a = [1]}]\n"),
        ("", ("seed", "1", "work"), "[profiles.work]\nseed = 1\n"),
        ("# mine\nseed = 1 # why\n", ("seed", "2"), "# mine\nseed = 2 # why\n"),
        ("seed = 1", ("n", "2"), "seed = 1\nn = 2\n"),
        ("# mine\n\n# at work\n[profiles.work]\nn = 1\n", ("seed", "2"),
         "# mine\nseed = 2\n\n# at work\n[profiles.work]\nn = 1\n"),
        ("[profiles.work] # a\nn = 1\n# b\n[profiles.home]\n", ("seed", "2", "work"),
         "[profiles.work] # a\nseed = 2\nn = 1\n# b\n[profiles.home]\n"),
        ("[profiles.work]", ("seed", "2", "work"), "[profiles.work]\nseed = 2\n"),
        ("n = 1 # a", ("seed", "2", "work"), "n = 1 # a\n\n[profiles.work]\nseed = 2\n"),
        ("profiles.work.n = 1\n", ("seed", "2", "work"), "profiles.work.n = 1\nprofiles.work.seed = 2\n"),
        ("[option]\n# most\ntop_k = 5\n", ("option", "user=me"), '[option]\n# most\ntop_k = 5\nuser = "me"\n'),
        ("headers = {A = '1'} # ours\n", ("headers.B", "2"), 'headers = {A = "1", B = "2"} # ours\n'),
        ("loaders = {a = ['b', '{}'],c = 'd {}'}\n", ("loaders.c", "e {}"),
         'loaders = {a = ["b", "{}"], c = ["e", "{}"]}\n'),
        ("[profiles.a]\n[response_format]\ntype = 'a'\nx = 1\n", ("response_format", '{"type": "text"}'),
         'response_format = {type = "text"}\n\n[profiles.a]\n'),
        ("system = '''\n[profiles.work]\n'''\n", ("seed", "2"), "system = '''\n[profiles.work]\n'''\nseed = 2\n"),
    ],
)  # fmt: skip
def test_a_change_leaves_the_rest_of_the_file_unchanged(
    file: Path, before: str, name_and_text: tuple[str, ...], after: str
) -> None:
    file.write_text(before)
    config_edit.set_value(*name_and_text)
    assert file.read_text() == after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CONFIG_TEXTS), st.lists(CHANGES, max_size=6))
def test_any_series_of_changes_is_applied_and_keeps_every_comment(
    file: Path, text: str, changes: list[tuple[str, int | None, str | None]]
) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    wanted = tomllib.loads(text)
    for name, number, profile in changes:
        table = wanted.setdefault("profiles", {}).setdefault(profile, {}) if profile else wanted
        if number is None:
            assert config_edit.unset_value(name, profile) is (table.pop(name, None) is not None)
        else:
            config_edit.set_value(name, str(number), profile)
            table[name] = number
    written = file.read_text()
    found = tomllib.loads(written)
    for each in (wanted, found):
        each["profiles"] = {name: table for name, table in each.get("profiles", {}).items() if table}
    assert found == wanted
    assert [comment for comment in ("# one", "# two", "# three") if comment not in written] == []


@pytest.mark.parametrize(
    ("before", "profile", "after"),
    [
        ("# a\nseed = 1 # b\nn = 1 # c\n", None, "# a\nn = 1 # c\n"),
        ("seed = 1\n[profiles.work]\nseed = 2\nn = 1\n", "work", "seed = 1\n[profiles.work]\nn = 1\n"),
        ("profiles.work.seed = 1\n", "work", ""),
        ("option = {a = 1}\nseed = 1\n", None, "option = {a = 1}\n"),
    ],
)
def test_a_setting_is_removed(file: Path, before: str, profile: str | None, after: str) -> None:
    file.write_text(before)
    assert config_edit.unset_value("seed", profile)
    assert file.read_text() == after
    assert not config_edit.unset_value("seed", profile)


def test_an_obsolete_setting_can_be_removed(file: Path) -> None:
    file.write_text("old_name = 1\nseed = 1\n")
    assert config_edit.unset_value("old_name")
    assert read_value("seed") == 1
    with pytest.raises(UsageError, match="unknown setting 'old_name'"):
        config_edit.unset_value("old_name")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "3", "config set: temperature: '3' is not a number from 0 to 2"),
        ("format", "jsn", "config set: format: 'jsn' is not one of md, text, json, jsonl, raw"),
        ("include", ",", "config set: include: ',' is not a list of strings"),
        ("option", "a=null", "config set: option: the config file cannot contain 'a=null'"),
        ("option", 'a={"b": [null]}', "config set: option: the config file cannot contain"),
        ("option", "a=NaN", "config set: option: the config file cannot contain 'a=NaN'"),
        ("system", "\udcff", "config set: system: the config file cannot contain"),
        ("profile", "wrok", "config set: profile: there is no profile 'wrok'"),
        ("temprature", "1", "config set: unknown setting 'temprature'"),
        ("api_key", "k", "config set: api_key cannot be set in the config file"),
    ],
)
def test_an_invalid_setting_is_refused_before_anything_is_written(name: str, text: str, message: str) -> None:
    config_edit.set_value("seed", "1")
    with pytest.raises(UsageError) as caught:
        config_edit.set_value(name, text)
    assert caught.value.message.startswith(message)
    assert [path.read_text() for path in list_files("config.toml")] == ["seed = 1\n"]


def test_a_profile_does_not_choose_a_profile(file: Path) -> None:
    file.write_text(TWO_PROFILES)
    with pytest.raises(UsageError, match="a profile cannot set profile"):
        config_edit.set_value("profile", "home", "work")
    config_edit.set_value("profile", "work")
    assert read_value("seed") == 2


def list_files(name: str) -> list[Path]:
    path = paths.config_file()
    assert path
    return [each for each in path.parent.iterdir() if each.name == name]


def test_a_change_that_would_break_the_file_is_refused(file: Path) -> None:
    before = "profiles = {work = {n = 1}}\n"
    file.write_text(before)
    with pytest.raises(AimlError, match="cannot be changed safely"):
        config_edit.set_value("seed", "1", "home")
    assert file.read_text() == before


def test_a_pair_is_added_to_the_existing_ones_and_a_json_object_replaces_them(file: Path) -> None:
    for text in ("top_k=5", "user=me", "top_k=6"):
        config_edit.set_value("option", text)
    for text in ('{"type": "text", "a": 1}', '{"type": "json_object"}'):
        config_edit.set_value("response_format", text)
    assert tomllib.loads(file.read_text()) == {
        "option": {"top_k": 6, "user": "me"}, "response_format": {"type": "json_object"},
    }  # fmt: skip


@pytest.mark.promise("atomic-writes")
def test_settings_that_processes_set_at_the_same_time_are_all_kept() -> None:
    wanted = {"seed": 1, "n": 2, "retries": 3, "timeout": 4, "temperature": 1, "top_p": 0.5, "max_tokens": 9}
    jobs = [(name, str(each), *flags) for name, each in wanted.items() for flags in ([], ["--profile", "work"])]
    runs = [CliProcess(build_command("config", "set", *job)) for job in jobs]
    assert [run.wait(60) for run in runs] == [0] * len(jobs)
    assert {name: read_value(name) for name in wanted} == wanted
    found = read_settings({"profile": "work"})
    assert {name: found.sources[name] for name in wanted} == dict.fromkeys(wanted, Source.PROFILE)


@pytest.mark.promise("private-files")
def test_a_linked_config_file_is_read_and_not_written(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("seed = 1\n")
    file.symlink_to(target)
    assert read_value("seed") == 1
    with pytest.raises(UsageError, match="symbolic link"):
        config_edit.set_value("seed", "2")
    assert (file.is_symlink(), target.read_text()) == (True, "seed = 1\n")
