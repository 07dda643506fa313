"""Templates: how they are made, what they make of words and flags, and what is refused in them."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import stream_text
from support.catalogs import PRICES
from support.forked_process import TerminalProcess
from support.loopback import HELLO, Loopback
from support.paths import ROOT
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.api.model_list import parse_models
from aiml_cli.core.template_fill import escape_braces, fill_variables, list_variables
from aiml_cli.store.model_cache import CachedModels, save_models

DOCUMENT = (ROOT / "docs/templates.md").read_text()
CODE = '{"a": {"b": 1}} for (;;) {x = {}} { y }'


def write_template(text: str, name: str = "t") -> Path:
    path = get_templates_folder() / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def get_templates_folder() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"


def read_body(done: Any) -> dict[str, Any]:
    """Return the request's body that --dry-run showed."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["body"]
    return found


def read_prompt(done: Any) -> str:
    text: str = read_body(done)["messages"][-1]["content"]
    return text


def read_refusal(done: Any) -> str:
    """Return the error message of a call that sent nothing."""
    assert (done.returncode, done.stdout) == (2, b"")
    text: str = done.stderr.decode()
    return text


@given(st.text("{}ab_1 "))
def test_any_text_can_be_escaped_so_that_it_has_no_variables(text: str) -> None:
    assert fill_variables(escape_braces(text), {"a": "!", "b": "!", "ab": "!"}) == text


def test_only_a_name_in_braces_is_a_variable() -> None:
    assert list_variables(CODE) == []
    assert fill_variables(CODE, {}) == CODE
    assert fill_variables("{a} {{a}} {a}", {"a": "{b}", "b": "!"}) == "{b} {a} {b}"


def test_a_saved_template_sends_the_same_request(aiml: Aiml, server: Loopback) -> None:
    made = aiml("chat", "--save", "t", "-m", "m", "-s", "S", "--temperature", "0", "-P", "who=you", "Hi {who}", CODE)
    assert (made.returncode, made.stdout, server.requests) == (0, b"", [])
    assert f"saved as {get_templates_folder() / 't.toml'}".encode() in made.stderr
    server.answer_with(HELLO)
    assert aiml("chat", "-t", "t", "now").returncode == 0
    asked = server.requests[0].json
    assert (asked["model"], asked["temperature"]) == ("m", 0)
    assert [each["content"] for each in asked["messages"]] == ["S", f"Hi you {CODE}\n\nnow"]


@pytest.mark.promise("private-files")
def test_a_template_is_for_its_owner_alone(aiml: Aiml) -> None:
    old = os.umask(0)
    try:
        assert aiml("chat", "--save", "t", "hi").returncode == 0
    finally:
        os.umask(old)
    assert [(path.stat().st_mode & 0o777) for path in (get_templates_folder() / "t.toml", get_templates_folder())] == [
        0o600,
        0o700,
    ]


def test_options_for_a_single_call_are_not_saved(aiml: Aiml) -> None:
    Path("f").write_text("x")
    done = aiml("chat", "--save", "t", "-o", "out", "-f", "f", "--dry-run", "-y", "--json", "hi", "@f")
    assert b"each call: --output, --file, --dry-run" in done.stderr or b"--file, --output, --dry-run" in done.stderr
    text = (get_templates_folder() / "t.toml").read_text()
    assert text.startswith('prompt = "hi f"\n\n[settings]\nformat = "json"\n')
    assert not set(re.findall(r"^\w+", text, re.MULTILINE)) - {"prompt", "format"}


def test_the_content_of_a_file_is_saved_instead_of_its_name(aiml: Aiml) -> None:
    Path("s.txt").write_text("From {the} file.")
    Path("schema.json").write_text('{"type": "object", "title": "T"}')
    Path("tools.json").write_text('[{"type": "function", "name": "f"}]')
    flags = ["-s", "@s.txt", "--schema", "schema.json", "--tools", "@tools.json"]
    assert aiml("chat", "--save", "t", *flags).returncode == 0
    for name in ("s.txt", "schema.json", "tools.json"):
        Path(name).unlink()
    asked = read_body(aiml("chat", "-t", "t", "--dry-run", "x"))
    assert asked["messages"][0]["content"] == "From {the} file."
    assert (asked["response_format"]["json_schema"]["name"], asked["tools"][0]["function"]["name"]) == ("T", "f")


def test_an_existing_template_is_replaced_only_with_yes(aiml: Aiml) -> None:
    assert aiml("chat", "--save", "t", "one").returncode == 0
    assert "a template 't' already exists" in read_refusal(aiml("chat", "--save", "t", "two"))
    assert read_prompt(aiml("chat", "-t", "t", "--dry-run")) == "one"
    assert aiml("chat", "--save", "t", "-y", "two").returncode == 0
    assert read_prompt(aiml("chat", "-t", "t", "--dry-run")) == "two"


@pytest.mark.parametrize(("answer", "code", "prompt"), [("y", 0, "two"), ("n", 2, "one"), ("", 2, "one")])
def test_on_a_terminal_the_user_is_asked_before_a_template_is_replaced(
    answer: str, code: int, prompt: str, aiml: Aiml
) -> None:
    assert aiml("chat", "--save", "t", "one").returncode == 0
    program, *rest = build_command("chat", "--save", "t", "two")
    child = TerminalProcess(program, rest, timeout=60)
    child.expect_exact("replace ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, read_prompt(aiml("chat", "-t", "t", "--dry-run"))) == (code, prompt)


def test_a_template_can_be_based_on_another(aiml: Aiml) -> None:
    write_template('prompt = "Hi {who}"\n[defaults]\nwho = "you"\n[settings]\nmodel = "m"\nseed = 1', "base")
    assert aiml("chat", "-t", "base", "--save", "t", "--seed", "2", "-P", "who=me").returncode == 0
    asked = read_body(aiml("chat", "-t", "t", "--dry-run"))
    assert (asked["model"], asked["seed"], asked["messages"][0]["content"]) == ("m", 2, "Hi me")


def test_the_prompt_may_come_from_a_pipe(aiml: Aiml) -> None:
    assert aiml("chat", "--save", "t", stdin=b"Tell {who}\nall\n").returncode == 0
    assert read_prompt(aiml("chat", "-t", "t", "-P", "who=me", "--dry-run")) == "Tell me\nall"


@pytest.mark.parametrize("arguments", [("chat", "--save", "t"), ("chat", "--save", "t", "-o", "x")])
def test_an_empty_template_is_not_saved(arguments: tuple[str, ...], aiml: Aiml) -> None:
    assert "there is nothing to save" in read_refusal(aiml(*arguments))
    assert not get_templates_folder().exists()


@pytest.mark.parametrize("flag", [(), ("--seed", "4")])
def test_a_template_overrides_environment_and_config_but_not_flags(flag: tuple[str, ...], aiml: Aiml) -> None:
    write_template('prompt = "x"\n[settings]\nseed = 3')
    (get_templates_folder().parent / "config.toml").write_text("profile = 'p'\nseed = 1\n[profiles.p]\nseed = 2\nn = 7")
    asked = read_body(aiml("chat", "-t", "t", "--dry-run", *flag, AIML_SEED="9"))
    assert (asked["seed"], asked["n"]) == (4 if flag else 3, 7)


@pytest.mark.parametrize(
    ("prompt", "words", "stdin", "expected"),
    [
        ("A {words} b", "x y", None, "A x y b"),
        ("A {prompt} b", "x", b"in", "<stdin>\nin\n</stdin>\n\nA x b"),
        ("A {prompt} b", "", b"in", "A in b"),
        ("A {stdin} b", "x", b"in", "A in b\n\nx"),
        ("A", "@@x", None, "A\n\n@x"),
        ("@t", "", None, "@t"),
        ("", "x", None, "x"),
    ],
)
def test_words_and_piped_input_fill_their_placeholders(
    prompt: str, words: str, stdin: bytes | None, expected: str, aiml: Aiml
) -> None:
    write_template(f"prompt = {json.dumps(prompt)}\n[settings]\nseed = 1")
    Path("t").write_text("no file is meant")
    assert read_prompt(aiml("chat", "-t", "t", "--dry-run", *words.split(), stdin=stdin)) == expected


def test_a_file_among_the_words_is_sent(aiml: Aiml) -> None:
    write_template('prompt = "Look: {words}"')
    Path("f").write_text("content")
    assert '<file name="f">\ncontent\n</file>' in read_prompt(aiml("chat", "-t", "t", "--dry-run", "@f"))


def test_a_value_can_be_read_from_a_file_and_is_not_interpreted(aiml: Aiml) -> None:
    write_template('prompt = "{code}"\n[settings]\nsystem = "For {who}."')
    Path("f").write_text("@f {who} {{x}}\n")
    messages = read_body(aiml("chat", "-t", "t", "--dry-run", "-P", "code=@f", "-P", "who=@@me"))["messages"]
    assert [each["content"] for each in messages] == ["For @me.", "@f {who} {{x}}"]


@pytest.mark.parametrize("value", ["import {stdin} from 'process'", "a {stdin} b", "{{stdin}}", "{{{stdin}}} {x}"])
@pytest.mark.parametrize("stdin", [None, b"in"])
def test_placeholders_in_a_value_are_not_filled(value: str, stdin: bytes | None, aiml: Aiml) -> None:
    write_template('prompt = "{code} {{stdin}} {{ y }}"')
    text = read_prompt(aiml("chat", "-t", "t", "--dry-run", "-P", f"code={value}", stdin=stdin))
    assert text == ("<stdin>\nin\n</stdin>\n\n" if stdin else "") + f"{value} {{stdin}} {{ y }}"


@pytest.mark.promise("secrets-confirmed")
def test_a_secret_in_a_value_is_not_sent(aiml: Aiml, server: Loopback) -> None:
    write_template('prompt = "{code}"')
    Path("f").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n")
    assert "nothing was sent" in read_refusal(aiml("chat", "-t", "t", "-P", "code=@f"))
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no value for {one}, {two} of the template t\nhint: pass it with -P one=… -P two=…"),
        (("-P", "one=1"), "for {two} of"),
        (("-P", "one=1", "-P", "two=2", "-P", "onn=1"), "no variable 'onn'\nhint: did you mean one?"),
        (("-P", "one=1", "-P", "words=2"), "--param words: write it after the command"),
        (("-P", "one"), "'one' is not NAME=VALUE"),
        (("-P", "one=@nowhere"), "nowhere: No such file"),
    ],
)
def test_missing_and_unknown_variables_are_an_error(arguments: tuple[str, ...], words: str, aiml: Aiml) -> None:
    write_template('prompt = "{one} {two} {three}"\n[defaults]\nthree = 3')
    assert words in read_refusal(aiml("chat", "-t", "t", *arguments))


def test_values_without_a_template_are_an_error(aiml: Aiml) -> None:
    assert "name the template with -t" in read_refusal(aiml("chat", "-P", "a=b", "hi"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('prompt = "a\nb"', "t.toml, line 1, column "),
        ("prompt = 1", "prompt is not a string"),
        ('promt = "x"', "cannot have 'promt'\nhint: did you mean prompt?"),
        ('model = "x"', "did you mean model in the table [settings]?"),
        ('[settings]\nmodle = "x"', "unknown setting 'modle'\nhint: did you mean model?"),
        ('[settings]\napi_key = "x"', "api_key cannot be set in a template"),
        ('[settings]\nkey_command = "touch ran"', "key_command cannot be set in a template"),
        ('[settings]\noutput = "x"', "output cannot be set in a template"),
        ("[settings]\ntemperature = 9", "t.toml: temperature: '9' is not a number from 0 to 2"),
        ('[settings]\nsystem = "{words}"', "{words} belongs in the prompt, not in system"),
        ('[settings]\nsystem = "{a}"\n[defaults]\na = "@/etc/hosts"', "must not begin with @"),
        ('[defaults]\n"a b" = 1', "the variable 'a b' cannot have a default"),
    ],
)
def test_an_invalid_template_is_an_error_that_names_the_problem(
    text: str, words: str, aiml: Aiml, server: Loopback
) -> None:
    write_template(text)
    assert words in read_refusal(aiml("chat", "-t", "t", "hi"))
    assert (server.requests, Path("ran").exists()) == ([], False)


@pytest.mark.promise("names-are-not-paths")
@pytest.mark.parametrize("name", ["../t", "/t", "a/b", ".t", "", "-t.toml", "a\nb"])
@pytest.mark.parametrize("flag", ["--template", "--save"])
def test_a_name_is_never_a_path(flag: str, name: str, aiml: Aiml) -> None:
    Path("t.toml").write_text('prompt = "x"')
    assert "name" in read_refusal(aiml("chat", f"{flag}={name}", "hi"))


@pytest.mark.promise("current-directory")
def test_a_template_in_the_current_directory_is_not_used(aiml: Aiml) -> None:
    Path("templates").mkdir()
    Path("templates/t.toml").write_text('prompt = "x"')
    Path("t.toml").write_text('prompt = "x"')
    assert "there is no template 't'" in read_refusal(aiml("chat", "-t", "t", "hi"))


@pytest.mark.promise("private-files")
def test_a_link_is_neither_read_nor_written_through(aiml: Aiml) -> None:
    get_templates_folder().mkdir(parents=True)
    Path("elsewhere").write_text('prompt = "x"')
    (get_templates_folder() / "t.toml").symlink_to(Path("elsewhere").absolute())
    assert "symbolic link" in read_refusal(aiml("chat", "-t", "t", "hi"))
    assert "symbolic link" in read_refusal(aiml("chat", "--save", "t", "-y", "hi"))
    assert Path("elsewhere").read_text() == 'prompt = "x"'


def test_an_unknown_name_gives_a_suggestion(aiml: Aiml) -> None:
    write_template('prompt = "x"', "review")
    assert "did you mean review? available: review" in read_refusal(aiml("chat", "-t", "reveiw", "hi"))


def test_an_error_is_json_with_json_output(aiml: Aiml) -> None:
    done = aiml("chat", "-t", "none", "hi", "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (2, 2)


def test_config_show_does_not_include_templates(capfd: pytest.CaptureFixture[str]) -> None:
    write_template('prompt = "x"\n[settings]\nseed = 3')
    assert main(["config", "show"]) == 0
    assert "seed" not in capfd.readouterr().out


def test_templates_are_listed_and_shown(capfd: pytest.CaptureFixture[str]) -> None:
    text = 'prompt = "Hi {a}\\nx {b} {stdin}"\n[defaults]\nb = 2\n'
    write_template(text, "one")
    write_template('[settings]\nsystem = "Short."', "two")
    assert main(["config", "templates"]) == 0
    paths = get_templates_folder() / "one.toml", get_templates_folder() / "two.toml"
    assert capfd.readouterr().out == (
        f"name\tprompt\tvariables\tpath\thidden_by\none\tHi {{a}}\ta, b=2\t{paths[0]}\t\ntwo\tShort.\t\t{paths[1]}\t\n"
    )
    assert main(["config", "templates", "one"]) == 0
    assert capfd.readouterr().out == text
    assert main(["config", "templates", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["variables"] == {"a": None, "b": "2"}


def test_a_damaged_template_does_not_hide_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    write_template('prompt = "fine"', "fine")
    write_template("prompt = ", "bad")
    assert main(["config", "templates"]) == 2
    found = capfd.readouterr()
    assert ("fine\tfine" in found.out, "bad.toml, line 1" in found.err) == (True, True)


LLM_TEMPLATE = """
system: You speak ${lang}.
prompt: "Sum $input for $$5 {x} in $lang"
model: gpt-4o-mini
defaults: {lang: French}
options: {temperature: 0.3, top_k: 4}
schema_object: {type: object}
fragments: [x.md]
"""
MODS_CONFIG = "api-key: sk-secret\nroles:\n  shell:\n    - an expert\n    - in {bash}\n    - file:///etc/passwd\n"
AICHAT_ROLE = "---\nmodel: openai:gpt-4o\ntemperature: 0.5\nuse_tools: fs\n---\nconvert __INPUT__ to {x}\n"


def run_import(name: str, text: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Import a file; return the notices."""
    Path(name).write_text(text)
    assert main(["config", "templates", "--import", name]) == 0
    return capfd.readouterr().err


def test_a_template_of_llm_can_be_imported(aiml: Aiml, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    assert "sum: not imported: top_k, fragments\n" in run_import("sum.yaml", LLM_TEMPLATE, capfd)
    asked = read_body(aiml("chat", "-t", "sum", "--dry-run", "this"))
    assert [each["content"] for each in asked["messages"]] == ["You speak French.", "Sum this for $5 {x} in French"]
    assert (asked["model"], asked["temperature"]) == ("gpt-4o-mini", 0.3)
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_roles_of_mods_can_be_imported(aiml: Aiml, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    told = run_import("mods.yml", MODS_CONFIG, capfd)
    assert ("not imported: file:///etc/passwd" in told, "sk-secret" in told) == (True, False)
    assert read_body(aiml("chat", "-t", "shell", "--dry-run", "x"))["messages"][0]["content"] == "an expert\nin {bash}"


def test_roles_of_aichat_can_be_imported(aiml: Aiml, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    told = run_import("emoji.md", AICHAT_ROLE, capfd)
    assert ("openai:gpt-4o" in told, "use_tools" in told) == (True, True)
    assert read_prompt(aiml("chat", "-t", "emoji", "--dry-run", stdin=b"joy")) == "convert joy to {x}"
    run_import("roles.yaml", "- name: gram\n  prompt: Fix it.\n  top_p: 0.5\n", capfd)
    asked = read_body(aiml("chat", "-t", "gram", "--dry-run", "x"))
    assert (asked["top_p"], asked["messages"][0]) == (0.5, {"role": "system", "content": "Fix it."})


def test_a_role_without_front_matter_can_be_imported_without_pyyaml(
    aiml: Aiml, capfd: pytest.CaptureFixture[str]
) -> None:
    run_import("plain.md", "You are plain.\n", capfd)
    assert read_body(aiml("chat", "-t", "plain", "--dry-run", "x"))["messages"][0]["content"] == "You are plain."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\nb: }", "x.yaml, line 2, column"),
        ("a: &a [1]\nprompt: *a", "YAML aliases"),
        ("prompt: !!python/object/apply:os.mkdir [ran]", "x.yaml, line 1"),
        ("7", "contains no templates"),
    ],
)
def test_yaml_cannot_create_objects_or_expand_without_limit(
    text: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("yaml")
    Path("x.yaml").write_text(text)
    assert main(["config", "templates", "--import", "x.yaml"]) == 2
    assert (words in capfd.readouterr().err, Path("ran").exists()) == (True, False)


def test_without_pyyaml_the_error_names_the_extra_to_install(aiml: Aiml) -> None:
    Path("x.yaml").write_text("prompt: x")
    Path("away").mkdir()
    Path("away/yaml.py").write_text("raise ImportError")
    done = aiml("config", "templates", "--import", "x.yaml", PYTHONPATH=f"{Path.cwd()}/away{os.pathsep}{ROOT}")
    assert "pip install 'aiml-cli[yaml]'" in read_refusal(done)


@pytest.fixture
def documentation_files(server: Loopback) -> dict[str, str]:
    """Write the files that the documentation shows; return the environment of its examples."""
    first, *others = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    write_template(first, "review")
    for text in others:
        path = Path(text.partition("\n")[0].removeprefix("# "))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    Path("code.txt").write_text("x = 1")
    Path("language.txt").write_text("Pascal")
    ids = ("openai/gpt-5-1", "google/gemini-2.5-flash")
    models = [{"id": name, "type": "openai/chat-completions", "pricing": PRICES} for name in ids]
    catalog = json.dumps({"data": models}).encode()
    save_models(CachedModels(server.url, "", time.time(), catalog, parse_models(catalog)))
    server.answer_with(stream_text("chat", '{"sentiment": "positive"}'))
    return {**os.environ, "PYTHONPATH": str(ROOT), "AIML_BASE_URL": server.url}


@pytest.mark.parametrize("block", re.findall(r"```\n((?:aiml|echo|AIML_).*?)```", DOCUMENT, re.DOTALL))
def test_the_examples_of_the_documentation_work(block: str, documentation_files: dict[str, str]) -> None:
    for line in block.replace("aiml chat --save review", "aiml chat --save review -y").splitlines():
        done = subprocess.run(
            ["sh", "-c", f'aiml() {{ {shlex.join(build_command())} "$@"; }}\n{line}'], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=60, check=False, env=documentation_files,
        )  # fmt: skip
        code = 10 if "--test" in line else 0  # one of the two cases expects another answer
        assert (done.returncode, b"hint" in done.stderr) == (code, code == 10 and "--json" not in line), done.stderr
