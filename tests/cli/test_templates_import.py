"""Import of prompt files of GitHub Models and of fabric's patterns: what is imported works, the rest is reported."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forked_process import TerminalProcess
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.core.template_fill import fill_variables
from aiml_cli.core.template_formats import ImportedTemplate, convert_mustache
from aiml_cli.store.template_files import list_templates

Capture = pytest.CaptureFixture[str]
GITHUB_PROMPT = r"""
name: Text Summarizer
description: Summarizes input text concisely
model: openai/gpt-4o-mini
modelParameters:
  temperature: 0.5
  maxTokens: 50
  topP: 0.9
  frequencyPenalty: 0.2
  stop: ["END"]
messages:
  - role: system
    content: 'You write {{lang}}. {"a": {b}} {{{lang}}} {{plugin:x}}'
  - role: developer
    content: Be short.
  - role: user
    content: an example
  - role: assistant
    content: its answer
  - role: user
    content: |
      Summarize for {{ user-name }} as {json}:
      {{input}}
testData:
  - input: |
      The quick
      "brown" fox
    lang: French
    user-name: Bo
    wanted: Renard.
    expected: Summary - the fox.
  - {input: hi, lang: German, user-name: 3, wanted: Hallo, more: x}
evaluators:
  - {name: starts, string: {startsWith: 'Summary - (a)'}}
  - {name: has, string: {contains: '{{wanted}}'}}
  - {name: similar, uses: github/similarity}
  - {name: judged, llm: {modelId: m, prompt: p}}
"""


@pytest.fixture(autouse=True)
def require_yaml() -> None:
    pytest.importorskip("yaml")


def get_templates_folder() -> Path:
    return Path("xdg_config_home/aiml/templates")


def load_template(name: str) -> dict[str, Any]:
    return tomllib.loads((get_templates_folder() / f"{name}.toml").read_text())


def run_import(capfd: Capture, *arguments: str) -> str:
    """Import, and return the notices."""
    assert main(["config", "templates", "--import", *arguments]) == 0, capfd.readouterr().err
    return capfd.readouterr().err


def import_prompt_file(capfd: Capture, text: str, name: str = "p.prompt.yml") -> tuple[dict[str, Any], str]:
    """Import a prompt file; return the template and the notices."""
    Path(name).write_text(text)
    told = run_import(capfd, name, "-y")
    return load_template(name.partition(".")[0]), told


def test_a_prompt_file_of_github_models_becomes_a_template(capfd: Capture) -> None:
    found, told = import_prompt_file(capfd, GITHUB_PROMPT, "sum.prompt.yml")
    assert found["prompt"] == "Summarize for {user_name} as {{json}}:\n{prompt}"
    assert found["settings"] == {
        "system": 'You write {lang}. {"a": {{b}}} {lang} {{{plugin:x}}}\n\nBe short.',
        "model": "openai/gpt-4o-mini",
        "temperature": 0.5,
        "max_tokens": 50,
        "top_p": 0.9,
        "option": {"frequency_penalty": 0.2, "stop": ["END"]},
    }
    expected = [r"(?i)\A\s*Summary - \(a\)"]
    assert found["case"] == [
        {
            "vars": {"prompt": 'The quick\n"brown" fox\n', "lang": "French", "user_name": "Bo"},
            "expect": {"matches": [*expected, r"(?i)Renard\."]},
        },
        {"vars": {"prompt": "hi", "lang": "German", "user_name": "3"}, "expect": {"matches": [*expected, "(?i)Hallo"]}},
    ]
    assert "the variable user-name is renamed to user_name" in told
    left_out = told.partition("not imported: ")[2]
    for words in (
        "message 3 (user), a separate turn", "message 4 (assistant)", "{{plugin:x}}, which is kept as text",
        "the evaluator similar", "the evaluator judged", "the expected text of test 1",
        "more of test 2, which is not a variable", "description",
    ):  # fmt: skip
        assert words in left_out
    assert "wanted" not in left_out


def test_an_imported_template_can_be_used_and_tested(capfd: Capture) -> None:
    import_prompt_file(capfd, GITHUB_PROMPT, "sum.prompt.yml")
    values = ["-P", "lang=x", "-P", "user_name=y"]
    assert main(["chat", "-t", "sum", *values, "--dry-run", "--demo", "-q", "some", "text"]) == 0
    texts = [message["content"] for message in json.loads(capfd.readouterr().out)["body"]["messages"]]
    assert texts == ['You write x. {"a": {b}} x {{plugin:x}}\n\nBe short.', "Summarize for y as {json}:\nsome text"]
    assert main(["config", "templates", "sum", "--test", "--demo", "--json"]) == 10
    assert [each["result"] for each in json.loads(capfd.readouterr().out)] == ["failed", "failed"]


MESSAGES = "messages: [{role: user, content: 'Say {{input}}'}]\n"
# An evaluator, answers that meet it, and answers that do not.
EVALUATORS = [
    ("contains: 'a.B'", ["xA.by"], ["axb", "a"]),
    ("startsWith: 'Sum ('", ["sum (x", "\nSUM ("], ["a sum ("]),
    ("endsWith: 'end?'", ["the END?", "end?\n"], ["end? no"]),
    ("equals: 'Yes'", ["Yes", "Yes\n"], ["yes", "Yes.", "Yes\nYes"]),
    ("contains: 'it {{input}} $'", ["it [x] $"], ["it $"]),
    ("contains: 7", ["a 7"], ["8"]),
]


@pytest.mark.parametrize(("evaluator", "good", "bad"), EVALUATORS)
def test_an_imported_evaluator_accepts_the_same_answers(
    evaluator: str, good: list[str], bad: list[str], capfd: Capture
) -> None:
    import re

    text = f"{MESSAGES}testData: [{{input: '[x]'}}]\nevaluators: [{{name: e, string: {{{evaluator}}}}}]"
    pattern = import_prompt_file(capfd, text)[0]["case"][0]["expect"]["matches"]
    assert [bool(re.search(pattern, answer)) for answer in good + bad] == [True] * len(good) + [False] * len(bad)


# What stands in a prompt file, what of the template is checked, and what is said.
PROMPT_PARTS = [
    ("testData: [{input: a, expected: positive}]", "case", [{"vars": {"prompt": "a"}, "expect": {"contains": "positive"}}],
     "test 1 expects an answer that contains 'positive'"),
    (f"testData: [{{input: a, expected: {'x' * 90}}}]", "case", None, "test 1, which has nothing that can be checked here"),
    ("testData: [{input: a}]", "case", None, "test 1, which has nothing that can be checked here"),
    ("testData: [{input: true, expected: null}]", "case", None, "test 1, which has nothing that can be checked here"),
    ("testData: nonsense\nevaluators: 3", "case", None, "evaluators, testData"),
    ("responseFormat: json_object", "settings", {"json_object": True}, ""),
    ("responseFormat: text", "settings", None, ""),
    ("responseFormat: xml", "settings", None, "responseFormat xml"),
    ("responseFormat: json_schema\njsonSchema: '{\"name\": \"n\", \"schema\": {\"type\": \"object\"}}'", "settings",
     {"schema": '{"type": "object"}'}, ""),
    ("jsonSchema: {type: object, properties: {schema: {type: string}}}", "settings",
     {"schema": '{"type": "object", "properties": {"schema": {"type": "string"}}}'}, ""),
    ("jsonSchema: 'no json'", "settings", None, "jsonSchema"),
    ("modelParameters: {temperature: 9, seed: 3}", "settings", {"seed": 3}, "'9' is not a number from 0 to 2"),
    ("modelParameters: {maxCompletionTokens: 5}", "settings", {"max_completion_tokens": 5}, ""),
    ("tools: []", "settings", None, "tools"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "part", "value", "notice"), PROMPT_PARTS)
def test_each_part_of_a_prompt_file_is_imported_or_reported(
    text: str, part: str, value: Any, notice: str, capfd: Capture
) -> None:
    found, said = import_prompt_file(capfd, MESSAGES + text)
    assert (found["prompt"], found.get(part)) == ("Say {prompt}", value)
    assert notice in said.replace("saved p as", "")
    assert bool(notice) == ("not imported" in said or "expects an answer" in said)


ROLES = [
    ("[{role: system, content: 'Do {{input}}.'}, {role: user, content: '{{input}}'}]", "{input}", "Do {input}."),
    ("[{role: user, content: one}]", "one", None),
    ("[{role: system, content: only}]", None, "only"),
    ("[{role: user, content: '{{words}} {{stdin}} {{prompt}} {{a.b}}'}]", "{words_} {stdin_} {prompt_} {a_b}", None),
    ("[{role: user, content: [{type: text, text: x}]}, {role: user, content: two}, 3]", "two", None),
]


@pytest.mark.parametrize(("messages", "prompt", "system"), ROLES)
def test_messages_become_prompt_and_system_text(
    messages: str, prompt: str | None, system: str | None, capfd: Capture
) -> None:
    found, _ = import_prompt_file(capfd, f"messages: {messages}")
    assert (found.get("prompt"), found.get("settings", {}).get("system")) == (prompt, system)


REFUSED_PROPERTIES = [
    "modelParameters: {baseUrl: 'https://evil.example'}",
    "modelParameters: {tools: [{type: mcp, server_label: a, server_url: 'https://evil.example'}]}",
    "modelParameters: {server_url: 'https://evil.example'}",
    "modelParameters: {record: /tmp/x}",
]


@pytest.mark.promise("templates-are-data")
@pytest.mark.parametrize("text", REFUSED_PROPERTIES)
def test_a_prompt_file_that_names_a_server_or_a_file_is_refused(text: str, capfd: Capture) -> None:
    Path("p.prompt.yml").write_text(MESSAGES + text)
    assert main(["config", "templates", "--import", "p.prompt.yml"]) == 2
    assert "cannot be set in a template\nhint: nothing was imported" in capfd.readouterr().err
    assert not get_templates_folder().exists()


def write_pattern(path: str, system: str, user: str | None = None) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "system.md").write_text(system)
    if user is not None:
        (Path(path) / "user.md").write_text(user)


# system.md and user.md, and the prompt and the system text that they make.
PATTERNS = [
    ("# IDENTITY\n\nYou are {x}.\n\n# INPUT:\n", None, None, "# IDENTITY\n\nYou are {{x}}.\n\n# INPUT:"),
    ("Be brief.", "CONTENT:\n", "CONTENT:", "Be brief."),
    ("Write {{lang_code}}.", "{{input}} now", "{prompt} now", "Write {lang_code}."),
    ("Translate {{input}} to {{lang}}.", None, "Translate {prompt} to {lang}.", None),
    ("Translate {{input}}.", "Thanks.", "Translate {prompt}.\n\nThanks.", None),
    ("On {{plugin:datetime:now}} {{#if x}}", None, None, "On {{{plugin:datetime:now}}} {{{#if x}}}"),
    ("", "Only this", "Only this", None),
]


@pytest.mark.parametrize(("system", "user", "prompt", "text"), PATTERNS)
@pytest.mark.parametrize("source", ["patterns", "patterns/sum_it", "patterns/sum_it/", "patterns/sum_it/system.md"])
def test_a_fabric_pattern_becomes_a_template(
    source: str, system: str, user: str | None, prompt: str | None, text: str | None, capfd: Capture
) -> None:
    write_pattern("patterns/sum_it", system, user)
    told = run_import(capfd, source)
    found = load_template("sum_it")
    assert (found.get("prompt"), found.get("settings", {}).get("system")) == (prompt, text)
    assert ("{{plugin:datetime:now}}, which is kept as text" in told) == ("plugin" in system)


def test_all_or_some_patterns_of_a_folder_can_be_imported(capfd: Capture) -> None:
    for number in range(20):
        write_pattern(f"patterns/p{number}", f"You are {number}.")
    write_pattern("patterns/empty", "")
    (Path("patterns") / "loaders").mkdir()
    (Path("patterns") / "p1" / "README.md").write_text("x")
    (Path("patterns") / "role.md").write_text("A role of aichat.")
    run_import(capfd, "patterns", "p1", "p2")
    assert list_templates() == ["p1", "p2"]
    told = run_import(capfd, "patterns", "-y")
    assert len(list_templates()) == 21
    assert "empty was skipped: it has neither a prompt nor settings" in told
    assert "p1: not imported: README.md" in told
    assert main(["config", "templates", "--import", "patterns", "p1", "nowhere"]) == 2
    assert "patterns does not contain nowhere" in capfd.readouterr().err


def test_a_pattern_imported_from_within_its_folder_has_the_name_of_the_folder(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch, empty_home: Path
) -> None:
    write_pattern("patterns/sum_it", "You are brief.")
    monkeypatch.chdir("patterns/sum_it")
    assert main(["config", "templates", "--import", "."]) == 0
    assert main(["config", "templates", "--import", "system.md", "-y"]) == 0
    monkeypatch.chdir(empty_home)
    assert load_template("sum_it")["settings"]["system"] == "You are brief."


def test_in_a_script_existing_templates_are_listed_and_nothing_is_imported(capfd: Capture) -> None:
    write_pattern("patterns/one", "Old.")
    run_import(capfd, "patterns")
    for name in ("one", "two"):
        write_pattern(f"patterns/{name}", "New.")
    assert main(["config", "templates", "--import", "patterns"]) == 2
    assert "these templates already exist: one\nhint: add -y to replace them" in capfd.readouterr().err
    assert (list_templates(), load_template("one")["settings"]["system"]) == (["one"], "Old.")
    run_import(capfd, "patterns", "-y")
    assert load_template("one")["settings"]["system"] == "New."


@pytest.mark.parametrize(("answer", "system"), [("y", "New."), ("n", "Old.")])
def test_on_a_terminal_the_user_is_asked_before_a_template_is_replaced(
    answer: str, system: str, capfd: Capture
) -> None:
    write_pattern("patterns/one", "Old.")
    run_import(capfd, "patterns")
    for name in ("one", "two"):
        write_pattern(f"patterns/{name}", "New.")
    program, *rest = build_command("config", "templates", "--import", "patterns")
    child = TerminalProcess(program, rest, timeout=60, env=os.environ)
    child.expect_exact("replace ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, load_template("one")["settings"]["system"]) == (0, system)
    assert load_template("two")["settings"]["system"] == "New."


def test_two_templates_with_one_name_are_refused(capfd: Capture) -> None:
    write_pattern("patterns/a b", "One.")
    write_pattern("patterns/a-b", "Two.")
    assert main(["config", "templates", "--import", "patterns"]) == 2
    assert "two templates are named 'a-b'" in capfd.readouterr().err
    assert not get_templates_folder().exists()


@given(st.text("{} ab.1-\n", max_size=30))
def test_braces_that_are_not_variables_are_unchanged(text: str) -> None:
    converted = convert_mustache(ImportedTemplate("t"), text, "")
    wanted = text
    for name in ("a", "b"):  # what fabric and GitHub Models do
        for space in ("", " ", "  "):
            wanted = wanted.replace(f"{{{{{space}{name}{space}}}}}", name.upper())
    if "{{" not in text.replace("{{a}}", "").replace("{{b}}", ""):
        assert fill_variables(converted, {"a": "A", "b": "B"}) == wanted
    else:
        fill_variables(converted, {})


def test_without_yaml_fabric_patterns_can_still_be_imported(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    write_pattern("patterns/one", "You are brief.")
    run_import(capfd, "patterns")
    Path("p.prompt.yml").write_text(MESSAGES)
    assert main(["config", "templates", "--import", "p.prompt.yml"]) == 2
    assert "pip install 'aiml-cli[yaml]'" in capfd.readouterr().err
