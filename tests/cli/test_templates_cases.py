"""`aiml config templates NAME --test`: cases are checked before anything is sent, asked, and reported."""

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost, build_json_error, stream_text
from support.loopback import SILENCE, Loopback, json_response
from support.row_runs import set_when_sent
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main
from aiml_cli.batch import template_cases

KEY = "k-0123456789abcdef"
ENDPOINTS = [("chat", []), ("responses", ["--endpoint", "respond"])]
Capture = pytest.CaptureFixture[str]


def write(text: str, name: str = "t.toml") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def write_case(vars_: str, expect: str, prompt: str = "Say {x}") -> None:
    write(f"prompt = '''{prompt}'''\n[[case]]\nvars = {{{vars_}}}\nexpect = {{{expect}}}\n")


def run_cases(server: Loopback | None, *flags: str) -> int:
    base = ["--base-url", server.url, "--retries", "0"] if server else ["--demo"]
    return main(["config", "templates", "@t.toml", "--test", *base, *flags])


def read_results(capfd: Capture) -> list[Any]:
    results: list[Any] = json.loads(capfd.readouterr().out)
    return results


def read_prompt(body: Mapping[str, Any]) -> str:
    """Return the text of the last message of a request."""
    messages = body.get("messages") or body["input"]
    text: str = messages if isinstance(messages, str) else messages[-1]["content"]
    return text


# What an answer of "Ruby: puts 1\nDone." makes of an expectation: "" if it is met, or why not.
ANSWER = "Ruby: puts 1\nDone."
EXPECTATIONS = [
    ('contains = "puts"', ""),
    ('contains = ["Ruby", "Done."]', ""),
    ('contains = ["Ruby", "Perl", "C"]', "does not contain 'Perl'; does not contain 'C'"),
    ('contains = "ruby"', "does not contain 'ruby'"),
    ('contains = "1\\nD"', ""),
    ('not_contains = "Perl"', ""),
    ('not_contains = ["Perl", "puts"]', "contains 'puts'"),
    ('matches = "^Ruby"', ""),
    ('matches = "(?i)done\\\\.$"', ""),
    ('matches = ["^Ruby", "^Done"]', "does not match '^Done'"),
    ('matches = "(?m)^Done"', ""),
    ('matches = "[[a]"', "does not match '[[a]'"),
    ('schema = "name"', "is not JSON: line 1, column 1: Expecting value"),
    ('contains = "Ruby", not_contains = "Perl", matches = "1"', ""),
    ('matches = "Perl", contains = "C"', "does not contain 'C'; does not match 'Perl'"),
]


@pytest.mark.parametrize(("endpoint", "flags"), ENDPOINTS)
@pytest.mark.parametrize(("expect", "reason"), EXPECTATIONS)
def test_an_answer_is_compared_with_every_expectation(
    expect: str, reason: str, endpoint: str, flags: list[str], server: Loopback, capfd: Capture
) -> None:
    write_case('x = "it"', expect)
    server.answer_with(stream_text(endpoint, ANSWER))
    assert run_cases(server, *flags) == (10 if reason else 0)
    out, err = capfd.readouterr()
    line = out.splitlines()[1].split("\t")
    assert line[:4] == ["1", "openai/gpt-5-1", "failed" if reason else "passed", reason]
    assert ("1 of 1 cases of @t.toml failed" in err) == bool(reason)


SCHEMAS = [
    ('schema = "name, age int"', '{"name": "a", "age": 1}', ""),
    ('schema = "name, age int"', '{"name": "a"}', "does not meet the schema: $: 'age' is a required property"),
    ('schema = \'{"type": "array"}\'', "[1]", ""),
    ('schema = {type = "array", minItems = 2}', "[1]", "does not meet the schema: $: [1] is too short"),
    ('schema = "@schemas/list.json"', "[1]", ""),
    ('schema = "@../list.json"', "[1]", ""),
    ('schema = "@schemas/list.json"', "```json\n[1]\n```", ""),
    ('schema = "@schemas/list.json"', "{}", "does not meet the schema: $: {} is not of type 'array'"),
    ('schema = "name", contains = "b"', '{"name": "a"}', "does not contain 'b'"),
]


@pytest.mark.parametrize(("expect", "answer", "reason"), SCHEMAS)
def test_an_answer_is_checked_against_a_schema_file(
    expect: str, answer: str, reason: str, server: Loopback, capfd: Capture, tmp_path: Path, monkeypatch: Any
) -> None:
    for path in ("team/schemas/list.json", "list.json"):
        write('{"type": "array"}', path)
    write_case('x = "it"', expect)
    Path("t.toml").rename("team/t.toml")
    server.answer_with(stream_text("chat", answer))
    flags = ["--base-url", server.url, "--json"]
    assert main(["config", "templates", "@team/t.toml", "--test", *flags]) == (10 if reason else 0)
    assert read_results(capfd)[0]["failures"] == ([reason] if reason else [])


# A prompt, the values of a case, and what is sent.
FILLED_PROMPTS = [
    ("Say {x}", 'x = "it"', "Say it"),
    ("Say {x}", "x = 3", "Say 3"),
    ("Say {x}", 'x = "@t.toml"', "Say @t.toml"),
    ("Say {x}", 'x = "{stdin} {y} {{z}}"', "Say {stdin} {y} {{z}}"),
    ("Say it", 'words = "and more"', "Say it\n\nand more"),
    ("Say {words}!", 'words = "@t.toml {stdin}"', "Say @t.toml {stdin}!"),
    ("Say {prompt}!", 'words = "a"', "Say a!"),
    ("Say {prompt}!", 'prompt = "a"', "Say a!"),
    ("Say {prompt}!", 'stdin = "a {stdin} {x}"', "Say a {stdin} {x}!"),
    ("Review: {stdin}", 'stdin = "a {x}"', "Review: a {x}"),
    ("Review this", 'stdin = "a"', "<stdin>\na\n</stdin>\n\nReview this"),
    ("Review {prompt}", 'stdin = "a", words = "this"', "<stdin>\na\n</stdin>\n\nReview this"),
    ('{{x}} {"a": {"b": 1}} import {x} from {x}', 'x = "1"', '{x} {"a": {"b": 1}} import {x} from 1'),
]


@pytest.mark.parametrize(("endpoint", "flags"), ENDPOINTS)
@pytest.mark.parametrize(("prompt", "values", "expected"), FILLED_PROMPTS)
def test_a_case_sends_the_filled_template(
    prompt: str, values: str, expected: str, endpoint: str, flags: list[str], server: Loopback
) -> None:
    write_case(values, 'contains = "Ruby"', prompt)
    server.answer_with(stream_text(endpoint, ANSWER))
    assert run_cases(server, *flags) == 0
    assert read_prompt(server.requests[0].json) == expected


def test_settings_of_the_template_apply_and_flags_override_them(server: Loopback) -> None:
    settings = "[settings]\nmodel = 'm'\nsystem = 'Be {mood}.'\nseed = 3\nusage = true\nstream = false"
    write(f"prompt = 'a'\n{settings}\n[[case]]\nvars = {{mood = 'kind'}}\nexpect = {{contains = 'Ruby'}}")
    server.answer_with(build_answer_with_cost(ANSWER, "stop", 0.5))
    assert run_cases(server) == 0
    assert run_cases(server, "-m", "other") == 0
    first, second = (request.json for request in server.requests)
    assert (first["model"], first["seed"], first["messages"][0]["content"]) == ("m", 3, "Be kind.")
    assert (second["model"], first["stream"]) == ("other", False)


INVALID_CASES = [
    ("[case]\nexpect = {contains = 'a'}", "case is not a list of tables: begin each case with [[case]]"),
    ("[[cases]]\nexpect = {contains = 'a'}", "did you mean case?"),
    ("case = ['a']", "case is not a list of tables"),
    ("[[case]]\nvars = {x = 1}", "case 1: expect is required"),
    ("[[case]]\nvars = {x = 1}\nexpect = {}", "case 1: expect is required"),
    (
        "[[case]]\nvars = {x = 1}\nexpects = {contains = 'a'}",
        "a case cannot have 'expects'\nhint: did you mean expect?",
    ),
    ("[[case]]\nvars = {x = 1}\nexpect = {contain = 'a'}", "did you mean contains?"),
    ("[[case]]\nvars = {x = 1}\nexpect = {shema = 'a'}", "did you mean schema?"),
    ("[[case]]\nvars = {x = 1}\nexpect = 'a'", "expect is not a table"),
    ("[[case]]\nvars = 'x'\nexpect = {contains = 'a'}", "vars is not a table"),
    ("[[case]]\nname = 1\nvars = {x = 1}\nexpect = {contains = 'a'}", "name is not a string"),
    ("[[case]]\nvars = {x = 1}\nexpect = {contains = ''}", "contains is not a string or a list of strings"),
    ("[[case]]\nvars = {x = 1}\nexpect = {contains = []}", "contains is not a string"),
    ("[[case]]\nvars = {x = 1}\nexpect = {not_contains = [1]}", "not_contains is not a string"),
    ("[[case]]\nvars = {x = 1}\nexpect = {matches = '('}", "matches is not a regular expression: '(': missing )"),
    ("[[case]]\nvars = {x = 1}\nexpect = {matches = ['a', '*']}", "nothing to repeat"),
    (f"[[case]]\nvars = {{x = 1}}\nexpect = {{matches = '{'(' * 5000}'}}", "is not a regular expression"),
    (f"[[case]]\nvars = {{x = 1}}\nexpect = {{matches = '{'a' * 10001}'}}", "has more than 10,000 characters"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '{'}", "schema: the schema is not JSON"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = {type = 'objekt'}}", "schema: not a valid JSON Schema"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = 'name wrong'}", "is not a type"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = 3}", "schema is not a string or a table"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '@no.json'}", "no.json: no such file"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '@/etc/hosts'}", "is not @FILE with a path relative to the folder"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '@~/x.json'}", "is not @FILE with a path relative to the folder"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = 'x.json'}", "is not @FILE with a path relative to the folder"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '@fifo'}", "not a regular file"),
    ("[[case]]\nvars = {x = 1}\nexpect = {schema = '@.'}", "not a regular file"),
    ("[[case]]\nvars = {y = 1}\nexpect = {contains = 'a'}", "has no variable 'y'\nhint: it has x"),
    ("[[case]]\nvars = {xx = 1, x = 1}\nexpect = {contains = 'a'}", "has no variable 'xx'\nhint: did you mean x?"),
    ("[[case]]\nexpect = {contains = 'a'}", "no value for {x} of the template @t.toml\nhint: vars = "),
    ("[[case]]\nvars = {x = true}\nexpect = {contains = 'a'}", "the value of x is not a string"),
    ("[[case]]\nvars = {x = ['a']}\nexpect = {contains = 'a'}", "the value of x is not a string"),
    (
        "[[case]]\nvars = {x = 1, words = 'a', prompt = 'b'}\nexpect = {contains = 'a'}",
        "words cannot be used with prompt",
    ),
    ("", "the template @t.toml has no cases\nhint: [[case]]"),
]


@pytest.mark.promise("template-cases")
@pytest.mark.parametrize(("text", "words"), INVALID_CASES)
def test_an_invalid_case_is_an_error_before_anything_is_sent(
    text: str, words: str, server: Loopback, capfd: Capture
) -> None:
    os.mkfifo("fifo")
    good = "" if "case" not in text or text.startswith(("[case]", "[[cases", "case")) else text
    write(f"prompt = 'Say {{x}}'\n{text}")
    assert run_cases(server) == 2
    assert (words in (shown := capfd.readouterr()).err, shown.out, server.requests) == (True, "", [])
    if good:  # also after a case that is in order
        write(f"prompt = 'Say {{x}}'\n[[case]]\nvars = {{x = 1}}\nexpect = {{contains = 'a'}}\n{good}")
        assert run_cases(server) == 2
        assert ("case 2: " in capfd.readouterr().err, server.requests) == (True, [])


def test_a_template_with_an_invalid_case_can_still_be_used(capfd: Capture) -> None:
    write("prompt = 'hi'\n[[case]]\nexpect = {nonsense = 1}")
    assert main(["chat", "-t", "@t.toml", "--demo", "-q"]) == 0
    assert "hi" in capfd.readouterr().out


SLOW_CHECKS = [
    'matches = "(a+a+)+$"',
    'matches = "([a-z]+)*\\\\d"',
    'matches = ["a", "(?:(a+)+)+$"]',
    'schema = {type = "string", pattern = "(a|aa)+$"}',
]


@pytest.mark.promise("template-cases")
@pytest.mark.parametrize("expect", SLOW_CHECKS)
def test_a_check_that_takes_too_long_is_stopped(
    expect: str, server: Loopback, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_cases, "CHECK_CPU_S", 0.1)
    write_case("x = 1", f'contains = "b!", {expect}')
    server.answer_with(stream_text("chat", f'"{"a" * 5000}!"'))
    assert run_cases(server, "--json") == 10
    failures = read_results(capfd)[0]["failures"]
    assert failures == ["does not contain 'b!'", "could not be checked within 0.1 s: an expression is too slow"]
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


TWO_CASES = "prompt = 'Say {x}'\n[[case]]\nname = 'one'\nvars = {x = 1}\nexpect = {contains = 'Ruby'}\n"
TWO_CASES += "[[case]]\nvars = {x = 2}\nexpect = {contains = 'Perl'}\n"


@pytest.mark.parametrize(("endpoint", "flags"), ENDPOINTS)
@pytest.mark.parametrize("jobs", [[], ["-j", "1"], ["-j", "16"]])
def test_each_case_is_sent_to_each_model_in_order(
    jobs: list[str], endpoint: str, flags: list[str], server: Loopback, capfd: Capture
) -> None:
    write(TWO_CASES)
    server.answer_with(stream_text(endpoint, ANSWER))
    assert run_cases(server, "-m", "a", "-m", "b", *flags, *jobs) == 10
    out, err = capfd.readouterr()
    assert [line.split("\t")[:4] for line in out.splitlines()[1:]] == [
        ["one", "a", "passed", ""],
        ["one", "b", "passed", ""],
        ["2", "a", "failed", "does not contain 'Perl'"],
        ["2", "b", "failed", "does not contain 'Perl'"],
    ]
    assert "aiml: 2 of 4 cases of @t.toml failed" in err
    assert sorted(request.json["model"] for request in server.requests) == ["a", "a", "b", "b"]


def test_json_output_has_one_object_per_result(server: Loopback, capfd: Capture) -> None:
    write(TWO_CASES)
    server.answer_with(build_answer_with_cost(ANSWER, "stop", 0.25))
    assert run_cases(server, "--json", "-m", "a") == 10
    first, second = read_results(capfd)
    assert first == {
        "case": 1, "name": "one", "model": "a", "result": "passed", "failures": [], "error": None, "answer": ANSWER,
        "input_tokens": 3, "output_tokens": 5, "cost_usd": 0.25,
    }  # fmt: skip
    assert (second["name"], second["result"], second["failures"]) == (None, "failed", ["does not contain 'Perl'"])


FAILED_REQUESTS = [
    (build_json_error("no such model"), 10, "no such model", "RequestRefused"),
    (build_json_error("boom", "500 Internal Server Error"), 10, "boom", "ServerFailed"),
    (build_json_error("slow down", "429 Too Many Requests"), 10, "slow down", "RateLimited"),
    (stream_text("chat", ANSWER)[:-60], 10, "", "CutShort"),
    (stream_text("chat", ANSWER, "length"), 10, "the answer was cut off at the token limit", "CutShort"),
    (stream_text("chat", " \n"), 10, "has no text", None),
]


@pytest.mark.parametrize(("answer", "code", "words", "name"), FAILED_REQUESTS)
def test_a_request_that_fails_is_a_failed_case(
    answer: bytes, code: int, words: str, name: str | None, server: Loopback, capfd: Capture
) -> None:
    write(TWO_CASES)
    server.answer_with(answer)
    assert run_cases(server, "--json") == code
    results = read_results(capfd)
    assert [(each["result"], each["error"]) for each in results] == [("failed", name)] * 2
    assert all(words in each["failures"][0] for each in results)


@pytest.mark.parametrize("status", ["401 Unauthorized", "402 Payment Required", "403 Forbidden"])
def test_a_refused_key_stops_the_run(
    status: str, server: Loopback, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    write("prompt = 'x'\n" + "[[case]]\nexpect = {contains = 'Ruby'}\n" * 20)
    server.answer_with(stream_text("chat", ANSWER))
    server.answer_with(build_json_error(f"bad {KEY}", status))
    assert run_cases(server, "--json", "-j", "1") == 3
    shown = capfd.readouterr()
    results = [each["result"] for each in json.loads(shown.out)]
    assert results == ["passed", "failed", *["not_asked"] * 18]
    assert (len(server.requests), KEY in shown.out + shown.err) == (2, False)


def test_without_a_key_nothing_is_sent(capfd: Capture) -> None:
    write(TWO_CASES)
    assert main(["config", "templates", "@t.toml", "--test"]) == 3
    assert "there is no key" in capfd.readouterr().err


def test_the_demo_answers_without_a_key(capfd: Capture) -> None:
    write_case('x = "this"', 'contains = "Say this", matches = "no model ran"')
    assert run_cases(None) == 0
    out, err = capfd.readouterr()
    assert (out.splitlines()[1].split("\t")[:3], "1 case passed" in err) == (["1", "demo/echo", "passed"], True)
    assert run_cases(None, "-m", "demo/error", "-q") == 10
    assert capfd.readouterr().err == "aiml: 1 of 1 cases of @t.toml failed\nhint: --json shows the answers\n"


def test_own_and_shared_templates_can_be_tested_by_name(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case('x = "this"', 'contains = "Say this"')
    write(Path("t.toml").read_text(), "xdg_config_home/aiml/templates/mine.toml")
    write(Path("t.toml").read_text(), "team/theirs.toml")
    monkeypatch.setenv("AIML_TEMPLATE_PATH", str(Path("team").absolute()))
    for name in ("mine", "theirs"):
        assert main(["config", "templates", name, "--test", "--demo"]) == 0


def test_max_cost_applies_to_all_cases_together(server: Loopback, capfd: Capture) -> None:
    write("prompt = '" + "word " * 1000 + "'\n" + "[[case]]\nexpect = {contains = 'word'}\n" * 4)
    assert run_cases(None, "--max-cost", "0.004") == 2
    assert "the 4 requests may cost $" in capfd.readouterr().err
    assert run_cases(None, "--max-cost", "0.1") == 0
    capfd.readouterr()
    # The bound of the input leaves room for all, what the answers cost does not.
    write("prompt = 'word'\n" + "[[case]]\nexpect = {contains = 'word'}\n" * 4)
    assert run_cases(None, "--max-cost", "0.00015", "-j", "1", "--json") == 10
    out, err = capfd.readouterr()
    results = [each["result"] for each in json.loads(out)]
    assert (results[0], results[-1]) == ("passed", "not_asked")
    assert "stopped before --max-cost 0.00015 could be exceeded" in err


def test_the_cost_is_stored_but_the_conversation_is_not(server: Loopback, capfd: Capture) -> None:
    write(TWO_CASES)
    server.answer_with(build_answer_with_cost(ANSWER, "stop", 0.25))
    assert run_cases(server, "-m", "a") == 10
    assert main(["history", "list"]) == 0
    assert main(["usage", "--by", "model", "--period", "all", "--json"]) == 0
    out = capfd.readouterr().out
    assert ('"cost_usd": 0.5' in out, "Say 1" in out) == (True, False)


def test_recorded_answers_are_tested_offline(server: Loopback, capfd: Capture) -> None:
    write(TWO_CASES)
    server.answer_with(stream_text("chat", ANSWER))
    assert run_cases(server, "--record", "r.jsonl", "-j", "1") == 10
    assert run_cases(server, "--replay", "r.jsonl") == 10
    lines = capfd.readouterr().out.splitlines()
    assert (lines[:3] == lines[3:], len(server.requests)) == (True, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_results_so_far_are_printed_if_a_signal_stops_the_run(number: int, server: Loopback) -> None:
    write("prompt = 'x'\n" + "[[case]]\nexpect = {contains = 'Ruby'}\n" * 5)
    waits = threading.Event()
    server.answer_with(stream_text("chat", ANSWER))
    server.answer_with(set_when_sent(waits), SILENCE)
    command = build_command("config", "templates", "@t.toml", "--test", "-j", "1", "--base-url", server.url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert waits.wait(60)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    results = [line.split(b"\t")[2] for line in out.splitlines()[1:]]
    assert (process.returncode, results) == (128 + number, [b"passed", *[b"not asked"] * 4])
    assert b"Traceback" not in err


def test_a_terminal_shows_a_table_without_control_characters(server: Loopback) -> None:
    write_case('x = "a"', 'contains = "\\u001b[31mred"', "Say {x}")
    server.answer_with(stream_text("chat", ANSWER))
    leader, follower = pty.openpty()
    command = build_command("config", "templates", "@t.toml", "--test", "--base-url", server.url)
    done = subprocess.run(command, stdout=follower, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
    os.close(follower)
    shown = os.read(leader, 65536)
    assert (done.returncode, shown.split()[:6]) == (10, [b"CASE", b"MODEL", b"RESULT", b"WHY", b"1", b"openai/gpt-5-1"])
    assert b"\x1b[31m" not in shown


MISUSES = [
    (["--test"], "--test needs the name of one template"),
    (["a", "b", "--test"], "--test needs the name of one template"),
    (["@t.toml", "--test", "--import", "x"], "--import cannot be used with --test"),
    (["@t.toml", "-m", "x"], "--model only works with --test"),
    (["--endpoint", "respond"], "--endpoint only works with --test"),
    (["@t.toml", "--demo"], "--demo only works with --test"),
    (["@t.toml", "--test", "--endpoint", "x"], "is not one of chat, respond"),
    (["@t.toml", "--test", "-j", "0"], "is not a whole number"),
    (["@nowhere", "--test"], "no such file"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSES)
def test_invalid_combinations_of_flags_are_refused(arguments: list[str], words: str, capfd: Capture) -> None:
    write(TWO_CASES)
    assert main(["config", "templates", *arguments]) == 2
    assert (words in (shown := capfd.readouterr()).err, shown.out) == (True, "")


def test_every_choice_is_checked(server: Loopback, capfd: Capture) -> None:
    write_case("x = 1", 'contains = "a"')
    choices = [{"index": n, "message": {"content": text}, "finish_reason": "stop"} for n, text in enumerate(["a", "b"])]
    server.answer_with(json_response({"id": "c", "model": "m", "choices": choices}))
    assert run_cases(server, "--json") == 10
    assert read_results(capfd)[0]["failures"] == ["choice 2 does not contain 'a'"]


def test_standard_input_is_not_read(server: Loopback, aiml: Aiml) -> None:
    write(TWO_CASES)
    server.answer_with(stream_text("chat", ANSWER))
    aiml("config", "templates", "@t.toml", "--test", stdin=b"piped")
    assert [read_prompt(request.json)[:4] for request in server.requests] == ["Say "] * 2
