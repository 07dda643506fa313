"""Templates of a team: named files, several at once, and folders that are searched after the user's own."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, Loopback
from support.repl_lines import ReplDriver
from support.run_cli import IGNORES_PERMISSIONS, Aiml, build_permission_prefix, can_run_as_others

from aiml_cli.__main__ import main

OTHER_USER_ID = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
ENDPOINTS = ["chat", "respond"]
Capture = pytest.CaptureFixture[str]


def write(path: str, text: str) -> Path:
    target = Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def write_own_template(name: str, text: str) -> Path:
    return write(f"xdg_config_home/aiml/templates/{name}.toml", text)


def build_body(capfd: Capture, *arguments: str) -> dict[str, Any]:
    """Return the request's body that --dry-run shows."""
    assert main([*arguments, "--dry-run", "--demo", "-q"]) == 0, capfd.readouterr().err
    found: dict[str, Any] = json.loads(capfd.readouterr().out)["body"]
    return found


def read_texts(body: dict[str, Any]) -> tuple[str, str]:
    """Return the system text and the prompt of a body."""
    if "messages" in body:
        contents = {message["role"]: message["content"] for message in body["messages"]}
        return contents.get("system", ""), contents["user"]
    prompt = body["input"] if isinstance(body["input"], str) else body["input"][0]["content"]
    return body.get("instructions", ""), prompt


def read_refusal(capfd: Capture, *arguments: str) -> str:
    """Return the error message of a call that must send nothing."""
    assert main(list(arguments)) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    return shown.err


# A file, by the names under which it can be given.
FILE_NAMES = ["@t.toml", "@./t.toml", "@{}/t.toml", "@~/t.toml", "@sub/../t.toml", "@link.toml", "@no suffix"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_template_is_read_from_a_named_file(name: str, endpoint: str, capfd: Capture) -> None:
    text = 'prompt = "Hi {who}"\n[defaults]\nwho = "you"\n[settings]\nsystem = "S"'
    for path in ("t.toml", "home/t.toml", "no suffix"):
        write(path, text)
    Path("sub").mkdir()
    Path("link.toml").symlink_to("t.toml")
    body = build_body(capfd, endpoint, "-t", name.format(Path.cwd()), "-P", "who=me")
    assert read_texts(body) == ("S", "Hi me")


@pytest.mark.promise("current-directory")
def test_a_template_file_must_be_named_with_an_at_sign(capfd: Capture) -> None:
    write("t.toml", "prompt = 'x'")
    assert "there is no template 't'" in read_refusal(capfd, "chat", "-t", "t", "hi")
    assert "'t.toml' is not a valid template name\nhint: use @t.toml for the file" in read_refusal(
        capfd, "chat", "-t", "t.toml"
    )
    assert "hint: use @./t.toml for the file" in read_refusal(capfd, "chat", "-t", "./t.toml")
    assert "a name consists of letters, digits, - and _" in read_refusal(capfd, "chat", "-t", "no such", "hi")
    assert "a name consists of letters, digits, - and _" in read_refusal(capfd, "chat", "--save", "t.toml", "hi")


BAD_FILES = [
    ("@nowhere.toml", "nowhere.toml: no such file"),
    ("@nowhere/t.toml", "t.toml: no such file"),
    ("@other.tml", "no such file\nhint: did you mean other.toml?"),
    ("@mine", "no such file\nhint: did you mean -t mine?"),
    ("@.", "not a regular file"),
    ("@", "not a regular file"),
    ("@fifo", "not a regular file"),
    ("@/dev/zero", "not a regular file"),
    ("@evil.toml", "base_url cannot be set in a template"),
    ("@reads.toml", "system names a file, which cannot be set in a template"),
    ("@path.toml", "template_path cannot be set in a template"),
    ("@x.prompt.yml", "aiml config templates --import"),
    ("@broken.toml", "broken.toml, line 1, column"),
    ("@binary", "not UTF-8 text"),
    ("", "'' is not the name of a template, or @FILE"),
]


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize(("name", "words"), BAD_FILES)
@pytest.mark.parametrize("command", [["chat", "hi", "-t"], ["chat", "--save", "s", "-t"]], ids=" ".join)
def test_an_invalid_template_file_is_refused(command: list[str], name: str, words: str, capfd: Capture) -> None:
    write_own_template("mine", "prompt = 'x'")
    write("other.toml", "prompt = 'x'")
    write("evil.toml", "prompt = 'x'\n[settings]\nbase_url = 'https://evil.example'")
    write("reads.toml", "prompt = 'x'\n[settings]\nsystem = '@/etc/hosts'")
    write("path.toml", "prompt = 'x'\n[settings]\ntemplate_path = '/tmp'")
    write("x.prompt.yml", "messages: []")
    write("broken.toml", "prompt =")
    Path("binary").write_bytes(b"\xff\xfe\x00prompt")
    os.mkfifo("fifo")
    assert words in read_refusal(capfd, *command, name)


def change_owner(path: Path) -> None:
    os.chown(path, OTHER_USER_ID, OTHER_USER_ID)


def replace_by_link(path: Path) -> None:
    target = path.rename(path.with_name("target"))
    path.symlink_to(target)
    os.chown(path, OTHER_USER_ID, OTHER_USER_ID, follow_symlinks=False)


def change_mode(path: Path) -> None:
    path.chmod(0o646)


def change_folder_mode(path: Path) -> None:
    path.parent.chmod(0o777)


UNSAFE_CHANGES = [
    pytest.param(change_owner, "belongs to user 54321, who is neither you nor root", marks=needs_root),
    pytest.param(replace_by_link, "belongs to user 54321", marks=needs_root),
    (change_mode, "everyone can change it"),
    (change_folder_mode, "everyone can replace it"),
]


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize(("make_unsafe", "words"), UNSAFE_CHANGES)
@pytest.mark.parametrize(
    "command",
    [["chat", "hi", "-t", "{}"], ["config", "templates", "{}"], ["config", "templates", "{}", "--test", "--demo"]],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["@team/t.toml", "t"])
def test_a_file_that_others_can_change_is_not_used(
    name: str, command: list[str], make_unsafe: Any, words: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("team/t.toml", "prompt = 'x'\n[[case]]\nexpect = {contains = 'x'}")
    monkeypatch.setenv("AIML_TEMPLATE_PATH", str(path.parent))
    make_unsafe(path)
    assert words in read_refusal(capfd, *(word.format(name) for word in command))


@pytest.mark.promise("trusted-files")
@pytest.mark.skipif(not can_run_as_others(), reason="needs root, setpriv, and a checkout that other users can read")
def test_files_of_root_are_used_by_everybody(aiml: Aiml, empty_home: Path) -> None:
    write("team/t.toml", "prompt = 'x'").chmod(0o644)
    for folder in (empty_home, *empty_home.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755)
    for folder in empty_home.iterdir():
        if folder.name != "team":
            os.chown(folder, OTHER_USER_ID, OTHER_USER_ID)
    before = ["setpriv", f"--reuid={OTHER_USER_ID}", f"--regid={OTHER_USER_ID}", "--clear-groups"]
    flags = ["--dry-run", "--demo", "-q"]
    done = aiml("chat", "-t", "t", *flags, before=before, AIML_TEMPLATE_PATH=f"{empty_home}/team")
    assert (done.returncode, b'"content": "x"' in done.stdout) == (0, True), done.stderr
    os.chown("team/t.toml", OTHER_USER_ID + 1, OTHER_USER_ID)
    done = aiml("chat", "-t", "@team/t.toml", *flags, before=before)
    assert (done.returncode, b"who is neither you nor root" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["@team/t.toml", "t"])
def test_a_file_that_the_group_can_change_gives_a_warning(
    name: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("team/t.toml", "prompt = 'x'")
    path.chmod(0o664)
    monkeypatch.setenv("AIML_TEMPLATE_PATH", str(path.parent))
    for _ in range(2):
        assert main(["chat", "-t", name, "--dry-run", "--demo"]) == 0
    assert capfd.readouterr().err.count(f"the group of {path} can change it: chmod g-w {path}\n") == 1


@pytest.mark.parametrize("name", ["@team/t.toml", "t"])
def test_quiet_hides_the_warning(name: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("team/t.toml", "prompt = 'x'")
    path.chmod(0o664)
    monkeypatch.setenv("AIML_TEMPLATE_PATH", str(path.parent))
    assert main(["chat", "-t", name, "--dry-run", "--demo", "-q"]) == 0
    assert capfd.readouterr().err == ""


PATTERN = "[settings]\nsystem = 'Write {style}.'\ntemperature = 0.1\nseed = 1\n[defaults]\nstyle = 'short'"
QUESTION = "prompt = 'Explain {topic} {style}ly.'\n[settings]\ntemperature = 0.2"
OTHER = "prompt = 'Ask {who}.'\n[settings]\nsystem = 'Be {mood}.'\n[defaults]\nmood = 'kind'\nstyle = 'long'"
# Templates in their order, values, and the system text, prompt and temperature that they make.
COMBINATIONS = [
    ("pq", "topic=x", ("Write short.", "Explain x shortly."), 0.2),
    ("qp", "topic=x", ("Write short.", "Explain x shortly."), 0.1),
    ("qp", "topic=x style=long", ("Write long.", "Explain x longly."), 0.1),
    ("pqo", "who=me", ("Be kind.", "Ask me."), 0.2),
    ("oq", "topic=x", ("Be kind.", "Explain x longly."), 0.2),
    ("oqp", "topic=x", ("Write short.", "Explain x shortly."), 0.1),
    ("qq", "topic=x style=a", ("", "Explain x aly."), 0.2),
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("names", "values", "texts", "temperature"), COMBINATIONS)
@pytest.mark.parametrize("kind", ["{}", "@{}.toml"])
def test_several_templates_are_merged_and_the_later_one_wins(
    kind: str, names: str, values: str, texts: tuple[str, str], temperature: float, endpoint: str, capfd: Capture
) -> None:
    for name, text in (("p", PATTERN), ("q", QUESTION), ("o", OTHER)):
        write_own_template(name, text)
        write(f"{name}.toml", text)
    flags = [word for name in names for word in ("-t", kind.format(name))]
    flags += [word for value in values.split() for word in ("-P", value)]
    body = build_body(capfd, endpoint, *flags)
    assert (read_texts(body), body["temperature"]) == (texts, temperature)
    assert main([endpoint, *flags, "--save", "all", "-q"]) == 0
    saved = build_body(capfd, endpoint, "-t", "all")
    assert saved == body


BAD_COMBINATIONS = [
    (["-P", "topic=x"], "no value for {style} of the template q + o\nhint: pass it with -P style=…"),
    ([], "no value for {topic}, {style} of the template q + o"),
    (["-P", "topic=x", "-P", "style=y", "-P", "topc=1"], "the template q + o has no variable 'topc'"),
    (["-P", "topic=x", "-P", "style=y", "-P", "who=1"], "the template q + o has no variable 'who'"),
    (["-t", "nowhere"], "there is no template 'nowhere'"),
]


@pytest.mark.parametrize(("flags", "words"), BAD_COMBINATIONS)
def test_an_error_about_merged_templates_names_all_of_them(flags: list[str], words: str, capfd: Capture) -> None:
    write_own_template("q", QUESTION)
    write_own_template("o", "[settings]\nsystem = 'Be kind.'")
    assert words in read_refusal(capfd, "chat", "-t", "q", "-t", "o", *flags)


def test_cases_and_their_schemas_are_saved_with_the_template(capfd: Capture) -> None:
    write("team/schema.json", '{"type": "object"}')
    case = '[[case]]\nname = "a"\nvars = {x = "1\\n2"}\nexpect = {schema = "@schema.json", contains = ["a", "b"]}'
    write("team/t.toml", f'prompt = "{{x}}"\n{case}\n[[case]]\nexpect = {{matches = "c"}}')
    assert main(["chat", "-t", "@team/t.toml", "--save", "t", "--seed", "1"]) == 0
    assert main(["chat", "-t", "t", "--save", "t", "--seed", "2", "-y"]) == 0
    saved = tomllib.loads(Path("xdg_config_home/aiml/templates/t.toml").read_text())
    assert saved["settings"] == {"seed": 2}
    assert saved["case"] == [
        {"name": "a", "vars": {"x": "1\n2"}, "expect": {"schema": '{"type": "object"}', "contains": ["a", "b"]}},
        {"expect": {"matches": "c"}},
    ]


def set_template_path(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIML_TEMPLATE_PATH", value)


def test_folders_are_searched_in_order_after_the_users_own(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in {"a": "one two", "b": "two three", "c": "four"}.items():
        for name in names.split():
            write(f"{folder}/{name}.toml", f"prompt = '{name} of {folder}'")
    write_own_template("one", "prompt = 'one of mine'")
    set_template_path(f"{Path.cwd()}/a::{Path.cwd()}/nowhere:{Path.cwd()}/b/:~/../c", monkeypatch)
    found = {name: read_texts(build_body(capfd, "chat", "-t", name))[1] for name in ("one", "two", "three", "four")}
    assert list(found.values()) == ["one of mine", "two of a", "three of b", "four of c"]


# How the folder is named: in the environment, in the config, in a profile, with a flag.
PATH_SOURCES: list[tuple[str, str, list[str]]] = [
    ("{}", "", []),
    ("", "template_path = '{}'", []),
    ("", "template_path = ['/nowhere', '{}']", []),
    ("", "template_path = '/nowhere:{}'", []),
    ("", "profile = 'p'\n[profiles.p]\ntemplate_path = ['{}']", []),
    ("", "[profiles.p]\ntemplate_path = ['{}']", ["--profile", "p"]),
    ("", "", ["--template-path", "{}"]),
    ("/nowhere", "template_path = '/nowhere'", ["--template-path", "{}"]),
]


@pytest.mark.parametrize(("variable", "config", "flags"), PATH_SOURCES)
def test_template_path_can_be_set_by_every_source(
    variable: str, config: str, flags: list[str], capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write("team/t.toml", "prompt = 'x'").parent)
    write("xdg_config_home/aiml/config.toml", config.format(folder))
    set_template_path(variable.format(folder), monkeypatch)
    flags = [flag.format(folder) for flag in flags]
    assert read_texts(build_body(capfd, "respond", "-t", "t", *flags))[1] == "x"
    assert main(["config", "templates", *flags]) == 0
    assert f"t\tx\t\t{folder}/t.toml\t\n" in capfd.readouterr().out


def test_template_path_is_printed_in_the_form_that_set_accepts(capfd: Capture) -> None:
    assert main(["config", "set", "template_path", "/a b:/c"]) == 0
    assert main(["config", "get", "template_path"]) == 0
    assert capfd.readouterr().out == "/a b:/c\n"


@pytest.mark.promise("current-directory")
@pytest.mark.parametrize("value", ["team", "./team", "/x:team", "team:/x", "..", ".", "$HOME"])
def test_a_relative_folder_is_refused(value: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write("team/t.toml", "prompt = 'x'")
    set_template_path(value, monkeypatch)
    for command in (["chat", "-t", "t"], ["config", "templates"]):
        assert "is not an absolute path\nhint: begin it with / or ~" in read_refusal(capfd, *command)
    set_template_path("", monkeypatch)
    assert "is not an absolute path" in read_refusal(capfd, "config", "set", "template_path", value)
    write("xdg_config_home/aiml/config.toml", f"template_path = ['{value}']")
    assert "is not an absolute path" in read_refusal(capfd, "chat", "-t", "t")
    assert main(["chat", "--template-path", "/x", "--dry-run", "--demo", "hi"]) == 0


@pytest.mark.parametrize("value", [":", "::", " : "])
def test_empty_entries_of_template_path_are_ignored(
    value: str, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("t.toml", "prompt = 'x'")
    set_template_path(value, monkeypatch)
    assert "there is no template 't'" in read_refusal(capfd, "chat", "-t", "t")


def test_the_list_shows_the_path_of_each_template_and_what_hides_it(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, hidden = write_own_template("t", "prompt = 'mine'"), write("team/t.toml", "prompt = 'team'")
    other = write("team/u.toml", "prompt = 'other'\n[[case]]\nexpect = {contains = 'x'}")
    set_template_path(f"{Path.cwd()}/team", monkeypatch)
    assert main(["config", "templates"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "name\tprompt\tvariables\tpath\thidden_by",
        f"t\tmine\t\t{mine}\t",
        f"t\tteam\t\t{hidden}\t{mine}",
        f"u\tother\t\t{other}\t",
    ]
    assert main(["config", "templates", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["path"], row["hidden_by"], row["cases"]) for row in rows] == [
        (str(mine), None, 0),
        (str(hidden), str(mine), 0),
        (str(other), None, 1),
    ]
    assert main(["config", "templates", "t"]) == 0
    assert capfd.readouterr().out == "prompt = 'mine'"
    assert main(["config", "templates", "@team/t.toml"]) == 0
    assert capfd.readouterr().out == "prompt = 'team'"


def test_the_users_own_folder_is_listed_once(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write_own_template("t", "prompt = 'mine'")
    set_template_path(f"{mine.parent}/:{mine.parent}", monkeypatch)
    assert main(["config", "templates"]) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [f"t\tmine\t\t{mine}\t"]


def test_a_template_is_saved_only_in_the_users_own_folder(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = write("team/t.toml", "prompt = 'team'")
    set_template_path(str(shared.parent), monkeypatch)
    assert main(["chat", "-t", "t", "--save", "t", "--seed", "1"]) == 0
    assert shared.read_text() == "prompt = 'team'"
    assert "seed = 1" in Path("xdg_config_home/aiml/templates/t.toml").read_text()


def test_config_check_checks_the_template_folders(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("team/t.toml", "prompt = 'x'")
    set_template_path(f"{path.parent}:/nowhere", monkeypatch)
    command = ["config", "check", "--base-url", "http://127.0.0.1:9/v1"]
    assert main(command) == 7
    out = capfd.readouterr().out
    assert f"ok      template_path: {path.parent}: 1 templates\n" in out
    assert "ok      template_path: /nowhere is not a folder and is skipped\n" in out
    path.chmod(0o666)
    main(command)
    assert f"not ok  {path} is not used: everyone can change it" in capfd.readouterr().out


@pytest.mark.skipif(IGNORES_PERMISSIONS, reason="file modes do not bind this user")
def test_an_unreadable_folder_is_treated_like_a_missing_one(aiml: Aiml) -> None:
    path = write("team/t.toml", "prompt = 'x'")
    write_own_template("mine", "prompt = 'mine'")
    path.parent.chmod(0)
    done = aiml(
        "chat", "-t", "mine", "--dry-run", before=build_permission_prefix(), AIML_TEMPLATE_PATH=str(path.parent)
    )
    assert (done.returncode, b'"mine"' in done.stdout) == (0, True)
    done = aiml("chat", "-t", "t", "--dry-run", before=build_permission_prefix(), AIML_TEMPLATE_PATH=str(path.parent))
    assert (done.returncode, b"there is no template 't'" in done.stderr) == (2, True)
    done = aiml(
        "config",
        "check",
        "--base-url",
        "http://127.0.0.1:9/v1",
        before=build_permission_prefix(),
        AIML_TEMPLATE_PATH=str(path.parent),
    )
    assert f"not ok  template_path: {path.parent}: Permission denied" in done.stdout.decode()
    path.parent.chmod(0o700)


# What is typed in the REPL, and what is sent for it.
REPL_LINES = [
    ("/template t who=me", ("", "Hi me")),
    ("/template @t.toml who=me now", ("", "Hi me\n\nnow")),
    ("/template @'sp ace.toml' who=me", ("", "Hi me")),
    ('/template @"sp ace.toml" who=me', ("", "Hi me")),
    ("/template @sp\\ ace.toml who=me", ("", "Hi me")),
    ("/template s -t @t.toml who=me now", ("S", "Hi me\n\nnow")),
    ("/template -t s -t t who=me", ("S", "Hi me")),
    ("/template shared x -t y", ("", "From the team\n\nx -t y")),
]


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize(("line", "texts"), REPL_LINES)
def test_the_repl_accepts_the_same_forms(
    line: str, texts: tuple[str, str], endpoint: str, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own_template("t", "prompt = 'Hi {who}'")
    write_own_template("s", "[settings]\nsystem = 'S'")
    for name in ("t.toml", "sp ace.toml"):
        write(name, "prompt = 'Hi {who}'")
    write("team/shared.toml", "prompt = 'From the team'")
    server.answer_with(HELLO)
    repl = ReplDriver(server, endpoint)
    repl.type_lines(f"/set template_path={Path.cwd()}/team", line)
    assert read_texts(repl.request_bodies[0]) == texts


def test_an_error_in_the_repl_does_not_end_it(server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    write_own_template("t", "prompt = 'Hi'")
    repl = ReplDriver(server)
    repl.type_lines("/template", "/template @nowhere", "/template t -t u", "/template '", "/template @")
    told = capsys.readouterr().err
    assert (told.count("available: t"), told.count("letters, digits"), told.count("not a regular file")) == (2, 1, 1)
    assert (told.count("no such file"), told.count("there is no template"), server.requests) == (1, 1, [])
