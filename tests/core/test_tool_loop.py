"""The tools of an answer run and their results go back, on both endpoints, streamed and not."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, queue_answers
from support.catalogs import PRICES, store_catalog
from support.history_file import read_answer_states
from support.loopback import Loopback
from support.processes import is_running
from support.run_cli import build_command
from support.tool_answers import Call, build_answer, read_tool_results, write_tool_file

from aiml_cli.__main__ import main

ON_BOTH_ENDPOINTS = pytest.mark.parametrize("endpoint", ["chat", "respond"])
Run = Callable[..., "subprocess.CompletedProcess[str]"]
PARIS = Call("weather", {"city": "Paris"})


@pytest.fixture
def run(server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the program in this process, with a tool `weather`, against the loopback server."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    write_tool_file("weather", "printf", "%s: 21 degrees", "{city}", params="city")

    def run_main(*arguments: str) -> "subprocess.CompletedProcess[str]":
        code, shown = main(arguments), capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out, shown.err)

    return run_main


def get_last_messages(server: Loopback) -> list[dict[str, Any]]:
    """Return the messages or the input items of the last request."""
    body = server.requests[-1].json
    items: list[dict[str, Any]] = body.get("messages") or body["input"]
    return items


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
def test_the_result_of_a_call_goes_back_and_the_next_answer_is_shown(
    endpoint: str, is_streamed: bool, server: Loopback, run: Run
) -> None:
    calls = [
        build_answer(endpoint, "", [PARIS], streamed=is_streamed),
        build_answer(endpoint, "It is mild.", streamed=is_streamed),
    ]
    queue_answers(server, *calls)
    done = run(endpoint, "-T", "weather", "--allow", "weather", *([] if is_streamed else ["-S"]), "weather in Paris?")
    assert (done.returncode, done.stdout) == (0, "It is mild.\n")
    assert done.stderr.splitlines()[:1] == ['aiml: weather(city="Paris")']
    assert "aiml: weather: Paris: 21 degrees" in done.stderr
    first, second = (request.json for request in server.requests)
    assert first["tools"] == second["tools"]
    assert read_tool_results(server) == [("call_1", "Paris: 21 degrees")]
    texts = json.dumps(get_last_messages(server))
    assert texts.index("weather in Paris?") < texts.index("call_1") < texts.index("21 degrees")


@ON_BOTH_ENDPOINTS
def test_a_tool_is_sent_in_the_form_of_each_endpoint(endpoint: str, server: Loopback, run: Run) -> None:
    server.answer_with(build_answer(endpoint, "Hi"))
    assert run(endpoint, "-T", "weather", "hi").returncode == 0
    (tool,) = server.requests[0].json["tools"]
    function = tool["function"] if endpoint == "chat" else tool
    assert (tool["type"], function["name"], function["description"]) == ("function", "weather", "About weather.")
    assert function["parameters"]["properties"] == {"city": {"type": "string"}}


@ON_BOTH_ENDPOINTS
def test_parallel_calls_run_at_the_same_time_and_their_results_keep_the_order(
    endpoint: str, server: Loopback, run: Run, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    write_tool_file("reader", "cat", str(fifo))  # ends only once the writer runs
    write_tool_file("writer", "sh", "-c", f"echo from the writer > {fifo}; echo written")
    calls = [Call("reader", "{}", "a"), Call("writer", "{}", "b")]
    queue_answers(server, build_answer(endpoint, "", calls), build_answer(endpoint, "Done"))
    assert run(endpoint, "-T", "reader", "-T", "writer", "--allow", "*", "go").stdout == "Done\n"
    assert read_tool_results(server) == [("a", "from the writer\n"), ("b", "written\n")]


@ON_BOTH_ENDPOINTS
def test_a_call_that_is_not_allowed_is_reported_to_the_model_and_exits_with_9(
    endpoint: str, server: Loopback, run: Run, tmp_path: Path
) -> None:
    write_tool_file("touch", "touch", str(tmp_path / "ran"))
    queue_answers(
        server, build_answer(endpoint, "", [Call("touch"), PARIS._replace(id="b")]), build_answer(endpoint, "Sorry")
    )
    done = run(endpoint, "-T", "touch", "-T", "weather", "--allow", "weather", "go")
    assert (done.returncode, done.stdout) == (9, "Sorry\n")
    assert "aiml: a tool call was not allowed: touch" in done.stderr
    assert read_tool_results(server) == [("call_1", "The user did not allow this call."), ("b", "Paris: 21 degrees")]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (Call("wether", "{}"), "There is no tool wether. Did you mean weather?"),
        (Call("rm", "{}"), "There is no tool rm. Available: weather."),
        (Call("weather", '{"city": '), "the arguments cannot be read"),
        (Call("weather", "[1]"), "the arguments cannot be read: they are not a JSON object"),
        (Call("weather", "{}"), "city"),
        (Call("weather", {"city": 7}), "city"),
        (Call("weather", {"city": "a\0b"}), "zero byte"),
        (Call("weather", "[" * 5000), "the arguments cannot be read"),
    ],
)
@ON_BOTH_ENDPOINTS
def test_a_call_that_cannot_run_is_reported_to_the_model(
    endpoint: str, call: Call, result: str, server: Loopback, run: Run
) -> None:
    queue_answers(server, build_answer(endpoint, "", [call]), build_answer(endpoint, "I see."))
    done = run(endpoint, "-T", "weather", "--allow", "*", "go")
    assert (done.returncode, done.stdout) == (0, "I see.\n")
    assert result in read_tool_results(server)[0][1]


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize(("limit", "rounds"), [("1", 1), ("3", 3)])
def test_max_rounds_limits_the_rounds(endpoint: str, limit: str, rounds: int, server: Loopback, run: Run) -> None:
    server.answer_with(build_answer(endpoint, "Again.", [PARIS]))
    done = run(endpoint, "-T", "weather", "--allow", "*", "--max-rounds", limit, "go")
    assert done.returncode == 8
    assert len(server.requests) == rounds + 1
    assert done.stdout == "\n".join(["Again.\n"] * (rounds + 1))
    assert f"stopped after {'one round' if rounds == 1 else f'{rounds} rounds'} of tool calls" in done.stderr


@ON_BOTH_ENDPOINTS
def test_tokens_are_added_up_and_the_history_has_each_round(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer(endpoint, "Wait.", [PARIS]), build_answer(endpoint, "Mild."))
    found = json.loads(run(endpoint, "-T", "weather", "--allow", "*", "--json", "go").stdout)
    assert found["text"] == "Mild."
    assert found["usage"]["total_tokens"] == 24
    (tool_round,) = found["rounds"]
    assert (tool_round["text"], tool_round["usage"]["total_tokens"]) == ("Wait.", 12)
    assert tool_round["tool_calls"] == [
        {
            "id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}', "result": "Paris: 21 degrees",
            "is_error": False, "allowed_by": "--allow",
        }
    ]  # fmt: skip
    stored = json.loads(run("history", "show", "--json").stdout)["messages"]
    assert [message["role"] for message in stored] == ["user", "assistant", "tool", "assistant"]
    assert [message["usage"]["total_tokens"] for message in stored if message["usage"]] == [12, 12]


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize(
    ("arguments", "stdout"),
    [
        ([], "Wait.\n\nMild.\n"),
        (["-o", "out.txt"], ""),
        (["--schema", "a"], '{"a": "b"}\n'),
        (["--json-object"], '{"a": "b"}\n'),
        (["-x", "1"], "code\n"),
    ],
)
def test_plain_output_shows_every_round_and_structured_output_only_the_last(
    endpoint: str, arguments: list[str], stdout: str, server: Loopback, run: Run
) -> None:
    last = {"-x": "See:\n```\ncode\n```\n", "--schema": '{"a": "b"}', "--json-object": '{"a": "b"}'}
    text = last.get(arguments[0] if arguments else "", "Mild.")
    queue_answers(server, build_answer(endpoint, "Wait.", [PARIS]), build_answer(endpoint, text))
    done = run(endpoint, "-T", "weather", "--allow", "*", *arguments, "go")
    assert (done.returncode, done.stdout) == (0, stdout)
    if arguments:
        assert "Wait." in done.stderr
    if "-o" in arguments:
        assert Path("out.txt").read_text(encoding="utf-8") == "Mild.\n"


@ON_BOTH_ENDPOINTS
def test_items_are_those_of_the_last_round(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(
        server, build_answer(endpoint, "Wait.", [PARIS]), build_answer(endpoint, '{"items":[{"a":1},{"a":2}]}')
    )
    done = run(endpoint, "-T", "weather", "--allow", "*", "--items", "--schema", "a int", "go")
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n{"a":2}\n')


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("words", ["", "I will look.", '{"a": 1}'])
def test_only_the_last_answer_is_checked_and_requested_again(
    endpoint: str, words: str, server: Loopback, run: Run
) -> None:
    last = [build_answer(endpoint, "not JSON"), build_answer(endpoint, '{"a": "mild"}')]
    queue_answers(server, build_answer(endpoint, words, [PARIS]), *last)
    done = run(endpoint, "-T", "weather", "--allow", "*", "--schema", "a", "--schema-retries", "2", "go")
    assert (done.returncode, done.stdout) == (0, '{"a": "mild"}\n')
    assert read_tool_results(server, 1) == read_tool_results(server, 2) == [("call_1", "Paris: 21 degrees")]
    assert "asking again (1 of 2)" in done.stderr


@ON_BOTH_ENDPOINTS
def test_json_lines_have_a_line_for_each_result(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer(endpoint, "Wait.", [PARIS]), build_answer(endpoint, "Mild."))
    shown = run(endpoint, "-T", "weather", "--allow", "*", "--format", "jsonl", "go").stdout
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["result"] for line in lines if line["type"] == "tool_result"] == ["Paris: 21 degrees"]
    assert (lines[-1]["type"], lines[-1]["text"]) == ("done", "Mild.")


def test_a_stored_response_is_continued_by_its_id(server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer("respond", "", [PARIS]), build_answer("respond", "Mild."))
    assert run("respond", "--store", "-T", "weather", "--allow", "*", "go").returncode == 0
    body = server.requests[1].json
    assert body["previous_response_id"] == "resp_1"
    assert body["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "Paris: 21 degrees"}]


def test_reasoning_items_go_back_with_the_calls(server: Loopback, run: Run) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    queue_answers(server, build_answer("respond", "", [PARIS], before=[reasoning]), build_answer("respond", "Mild."))
    assert run("respond", "-T", "weather", "--allow", "*", "go").returncode == 0
    types = [item.get("type", "message") for item in server.requests[1].json["input"]]
    assert types == ["message", "reasoning", "function_call", "function_call_output"]
    assert reasoning in server.requests[1].json["input"]


def test_previous_response_id_applies_to_every_round(server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer("respond", "", [PARIS]), build_answer("respond", "Mild."))
    arguments = ("--previous-response-id", "resp_0", "-T", "weather", "--allow", "*")
    assert run("respond", *arguments, "go").returncode == 0
    assert [request.json["previous_response_id"] for request in server.requests] == ["resp_0", "resp_0"]


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("choice", ["required", "weather"])
def test_a_forced_call_is_forced_only_in_the_first_round(
    endpoint: str, choice: str, server: Loopback, run: Run
) -> None:
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_answer(endpoint, "Mild."))
    assert run(endpoint, "-T", "weather", "--allow", "*", "--tool-choice", choice, "go").returncode == 0
    assert [request.json["tool_choice"] == "auto" for request in server.requests] == [False, True]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_calls_without_ids_get_one(is_streamed: bool, server: Loopback, run: Run) -> None:
    calls = [PARIS._replace(id=""), Call("weather", {"city": "Rome"}, "")]
    queue_answers(server, build_answer("chat", "", calls, streamed=is_streamed), build_answer("chat", "Mild."))
    assert run("chat", "-T", "weather", "--allow", "*", "go").returncode == 0
    (asked,) = [message for message in get_last_messages(server) if message.get("tool_calls")]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert read_tool_results(server) == list(zip(ids, ["Paris: 21 degrees", "Rome: 21 degrees"], strict=True))
    assert len(set(ids)) == 2
    assert all(ids)


@ON_BOTH_ENDPOINTS
def test_a_continued_conversation_includes_calls_and_results(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(
        server,
        build_answer(endpoint, "Wait.", [PARIS]),
        build_answer(endpoint, "Mild."),
        build_answer(endpoint, "Yes."),
    )
    assert run(endpoint, "-T", "weather", "--allow", "*", "go").returncode == 0
    assert run(endpoint, "-c", "sure?").returncode == 0
    assert read_tool_results(server) == [("call_1", "Paris: 21 degrees")]
    texts = json.dumps(get_last_messages(server))
    assert texts.index("Wait.") < texts.index("21 degrees") < texts.index("Mild.") < texts.index("sure?")


@ON_BOTH_ENDPOINTS
def test_calls_that_never_ran_get_a_placeholder_result_when_the_conversation_continues(
    endpoint: str, server: Loopback, run: Run
) -> None:
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_answer(endpoint, "", [PARIS._replace(id="b")]))
    assert run(endpoint, "-T", "weather", "--allow", "*", "--max-rounds", "1", "go").returncode == 8
    server.scripts[-1] = (build_answer(endpoint, "Yes."),)
    assert run(endpoint, "-c", "and now?").returncode == 0
    assert read_tool_results(server) == [
        ("call_1", "Paris: 21 degrees"),
        ("b", "There is no result of this call: it was stopped, or never run."),
    ]


@pytest.mark.parametrize("ids", [("", ""), ("a", "a"), ("a", ""), ("a", "b")])
def test_calls_of_one_answer_have_different_ids(ids: tuple[str, str], server: Loopback, run: Run) -> None:
    cities = ("Paris", "Rome")
    calls = [Call("weather", {"city": city}, call_id) for city, call_id in zip(cities, ids, strict=True)]
    queue_answers(server, build_answer("chat", "", calls, streamed=False), build_answer("chat", "Done", streamed=False))
    assert run("chat", "-S", "-T", "weather", "--allow", "*", "go").returncode == 0
    results = read_tool_results(server)
    assert [text for _, text in results] == ["Paris: 21 degrees", "Rome: 21 degrees"]
    asked = next(item for item in get_last_messages(server) if item.get("tool_calls"))
    assert [call["id"] for call in asked["tool_calls"]] == [call_id for call_id, _ in results]
    assert len({call_id for call_id, _ in results if call_id}) == 2


@ON_BOTH_ENDPOINTS
def test_calls_of_several_answers_with_the_same_id_each_have_a_result(
    endpoint: str, server: Loopback, run: Run
) -> None:
    cities = ("Paris", "Rome", "Oslo")
    queue_answers(server, *(build_answer(endpoint, "", [Call("weather", {"city": city})]) for city in cities))
    assert run(endpoint, "-T", "weather", "--allow", "*", "--max-rounds", "2", "go").returncode == 8
    results = [("call_1", f"{city}: 21 degrees") for city in cities[:2]]
    assert read_tool_results(server) == results
    queue_answers(server, build_answer(endpoint, "Yes."))
    assert run(endpoint, "-c", "and now?").returncode == 0
    assert read_tool_results(server) == [
        *results,
        ("call_1", "There is no result of this call: it was stopped, or never run."),
    ]
    called = [json.dumps(item) for item in get_last_messages(server)]
    places = [index for index, item in enumerate(called) if '"call_1"' in item]
    assert places == list(range(1, 7))


@ON_BOTH_ENDPOINTS
def test_results_are_kept_if_the_request_that_sends_them_fails(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_json_error("no"), build_answer(endpoint, "Yes."))
    assert run(endpoint, "-T", "weather", "--allow", "*", "go").returncode == 4
    assert run(endpoint, "-c", "and now?").returncode == 0
    assert read_tool_results(server) == [("call_1", "Paris: 21 degrees")]


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("arguments", [["--each", "line", "-f", "rows", "{row}"], ["-m", "a", "-m", "b", "go"]])
def test_several_requests_at_once_require_allow(
    endpoint: str, arguments: list[str], server: Loopback, run: Run
) -> None:
    Path("rows").write_text("x\n", encoding="utf-8")
    refused = run(endpoint, "-T", "weather", *arguments)
    assert (refused.returncode, server.requests) == (2, [])
    assert "--allow" in refused.stderr
    model = {name: (build_answer(endpoint, "Mild."),) for name in ("a", "b")}
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_answer(endpoint, "Mild."))
    if "-m" in arguments:
        server.scripts_by_model = model
    done = run(endpoint, "-T", "weather", "--allow", "weather", *arguments)
    assert done.returncode == 0
    assert "Mild." in done.stdout


@ON_BOTH_ENDPOINTS
def test_a_row_whose_call_is_not_allowed_fails(endpoint: str, server: Loopback, run: Run) -> None:
    Path("rows").write_text("x\n", encoding="utf-8")
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_answer(endpoint, "Sorry."))
    done = run(endpoint, "-T", "weather", "--allow", "other", "--each", "line", "-f", "rows", "{row}")
    result = json.loads(done.stdout)
    assert (result["text"], result["error"]["exit_code"]) == ("Sorry.", 9)
    assert result["rounds"][0]["tool_calls"][0]["allowed_by"] is None


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("allow", [["--allow", "*"], []])
def test_a_replay_runs_no_tool_and_has_the_same_output(
    endpoint: str, allow: list[str], server: Loopback, run: Run, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    path = write_tool_file("note", "sh", "-c", f"echo x >> {ran}; echo noted", params="text?")
    calls = [Call("note", "{}", "a"), Call("note", {"text": "b"}, "b")]
    queue_answers(server, build_answer(endpoint, "Wait.", calls), build_answer(endpoint, "Done."))
    first = run(endpoint, "-T", "note", *allow, "go", "--record", "rec.jsonl")
    path.unlink()
    count = ran.read_text(encoding="utf-8") if allow else ""
    second = run(endpoint, "-T", "note", *allow, "go", "--replay", "rec.jsonl")
    assert (second.returncode, second.stdout) == (first.returncode, first.stdout) == (0 if allow else 9, first.stdout)
    assert (ran.read_text(encoding="utf-8") if allow else "") == count
    assert len(server.requests) == 2


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("flags", [[], ["-S"]], ids=["streamed", "whole"])
def test_a_recording_can_hold_several_runs_with_different_tools_and_the_same_ids(
    endpoint: str, flags: list[str], server: Loopback, run: Run
) -> None:
    write_tool_file("note", "printf", "noted %s", "{text}", params="text")
    runs = {
        "one": (["-T", "weather"], Call("weather", {"city": "Paris"})),
        "two": (["-T", "weather"], Call("weather", {"city": "Rome"})),
        "three": (["-T", "note", "-T", "weather"], Call("note", {"text": "it"})),
        "four": (["-T", "note"], Call("note", {"text": "that"})),
    }
    for word, (_, call) in runs.items():
        queue_answers(server, build_answer(endpoint, "", [call], streamed=not flags))
        queue_answers(server, build_answer(endpoint, f"Done {word}.", streamed=not flags))
    shown: dict[str, tuple[int, str, str]] = {}
    for flag in ("--record", "--replay"):
        for word, (tools, _) in runs.items():
            done = run(endpoint, *tools, *flags, "--allow", "*", "--json", word, flag, "rec.jsonl")
            data = json.loads(done.stdout)
            seen = (done.returncode, data["text"], data["rounds"][0]["tool_calls"][0]["result"])
            assert shown.setdefault(word, seen) == seen
    results = ["Paris: 21 degrees", "Rome: 21 degrees", "noted it", "noted that"]
    assert list(shown.values()) == [(0, f"Done {word}.", result) for word, result in zip(runs, results, strict=True)]


def test_calls_without_ids_get_a_new_id_in_each_round_and_in_a_replay(server: Loopback, run: Run) -> None:
    calls = [[call._replace(id="")] for call in (PARIS, Call("weather", {"city": "Rome"}))]
    queue_answers(server, *(build_answer("chat", "Wait.", each) for each in calls), build_answer("chat", "Mild."))
    arguments = ("chat", "-T", "weather", "--allow", "*", "--json", "go")
    rounds = [json.loads(run(*arguments, *more, "rec.jsonl").stdout)["rounds"] for more in (["--record"], ["--replay"])]
    called = [[call for each in one for call in each["tool_calls"]] for one in rounds]
    assert len({call["id"] for call in called[0]}) == 2
    for replayed in called:
        assert [call["result"] for call in replayed] == ["Paris: 21 degrees", "Rome: 21 degrees"]


@ON_BOTH_ENDPOINTS
def test_a_call_to_a_function_of_the_caller_ends_the_loop(endpoint: str, server: Loopback, run: Run) -> None:
    mine = json.dumps([{"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}}])
    server.answer_with(build_answer(endpoint, "", [Call("mine", "{}"), PARIS._replace(id="b")]))
    done = run(endpoint, "--tools", mine, "-T", "weather", "--allow", "*", "--json", "go")
    assert done.returncode == 0
    assert [call["name"] for call in json.loads(done.stdout)["tool_calls"]] == ["mine", "weather"]
    assert len(server.requests) == 1


@ON_BOTH_ENDPOINTS
def test_two_definitions_of_one_name_are_refused(endpoint: str, server: Loopback, run: Run) -> None:
    mine = json.dumps([{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}])
    done = run(endpoint, "--tools", mine, "-T", "weather", "go")
    assert (done.returncode, server.requests) == (2, [])
    assert "--tools and -T both define weather" in done.stderr


@ON_BOTH_ENDPOINTS
def test_a_request_with_results_is_retried(endpoint: str, server: Loopback, run: Run) -> None:
    busy = build_json_error("slow down", "503 Service Unavailable\r\nRetry-After: 0")
    queue_answers(server, build_answer(endpoint, "", [PARIS]), busy, build_answer(endpoint, "Mild."))
    done = run(endpoint, "-T", "weather", "--allow", "*", "go")
    assert (done.returncode, done.stdout, len(server.requests)) == (0, "Mild.\n", 3)


@ON_BOTH_ENDPOINTS
def test_no_other_model_is_asked_after_a_tool_ran(endpoint: str, server: Loopback, run: Run) -> None:
    queue_answers(server, build_answer(endpoint, "", [PARIS]), build_json_error("no such model", "404 Not Found"))
    done = run(endpoint, "-m", "a,b", "-T", "weather", "--allow", "*", "go")
    assert done.returncode == 4
    assert [request.json["model"] for request in server.requests] == ["a", "a"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--chunk", "100"], ["--in-place", "f"], ["-n", "2"], ["--wait", "resp_1"], ["--background"],
    ],
)  # fmt: skip
def test_options_that_do_not_work_with_tools_are_refused(arguments: list[str], server: Loopback, run: Run) -> None:
    Path("f").write_text("x", encoding="utf-8")
    endpoint = "respond" if arguments[0] in ("--wait", "--background") else "chat"
    done = run(endpoint, "-T", "weather", *arguments, "go")
    assert (done.returncode, server.requests) == (2, [])
    assert "cannot be used with" in done.stderr


@pytest.mark.parametrize("name", ["nothing", "nothing.py", "mcp:nothing", "../weather", "a b"])
def test_an_unknown_tool_is_refused_before_anything_is_sent(name: str, server: Loopback, run: Run) -> None:
    done = run("chat", "-T", name, "hi")
    assert (done.returncode, server.requests) == (2, [])


def test_a_missing_mcp_prefix_gives_a_suggestion(server: Loopback, run: Run) -> None:
    assert run("tools", "add", "fs", "--url", "https://fs.example/mcp").returncode == 0
    done = run("chat", "-T", "fs", "hi")
    assert (done.returncode, server.requests) == (2, [])
    assert "hint: did you mean mcp:fs?" in done.stderr


@pytest.mark.parametrize(("allow", "approve"), [("docs.*", True), ("docs.search", True), ("other", False)])
def test_allow_approves_calls_of_hosted_servers(allow: str, approve: bool, server: Loopback, run: Run) -> None:
    request = {
        "type": "mcp_approval_request", "id": "mcpr_1", "server_label": "docs", "name": "search", "arguments": "{}",
    }  # fmt: skip
    queue_answers(server, build_answer("respond", "", before=[request]), build_answer("respond", "Found."))
    done = run("respond", "--mcp-server", "docs=https://mcp.example/mcp", "--allow", allow, "go")
    assert done.returncode == (0 if approve else 9)
    assert server.requests[0].json["tools"][0]["require_approval"] == "always"
    sent = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": approve}
    assert sent in server.requests[1].json["input"]


def test_without_allow_a_hosted_server_does_not_ask_for_approval(server: Loopback, run: Run) -> None:
    server.answer_with(build_answer("respond", "Found."))
    assert run("respond", "--mcp-server", "docs=https://mcp.example/mcp", "go").returncode == 0
    assert server.requests[0].json["tools"][0]["require_approval"] == "never"


@ON_BOTH_ENDPOINTS
def test_the_key_reaches_neither_a_tool_nor_the_model(
    endpoint: str, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-test-0123456789abcdef"
    monkeypatch.setenv("AIMLAPI_API_KEY", key)
    Path("leak").write_text(f"found {key} here", encoding="utf-8")
    write_tool_file("env", "sh", "-c", "env; cat leak")
    queue_answers(server, build_answer(endpoint, "", [Call("env")]), build_answer(endpoint, "Done"))
    done = run(endpoint, "-T", "env", "--allow", "env", "-v", "go")
    assert done.returncode == 0
    assert server.requests[0].get_header("authorization") == f"Bearer {key}"
    result = read_tool_results(server)[0][1]
    assert "PATH=" in result
    assert "found *** here" in result
    assert key not in result + done.stderr


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize("place", ["arguments", "name", "result", "key"])
def test_with_verbose_a_multiline_text_cannot_imitate_output_of_aiml(
    endpoint: str, place: str, server: Loopback, run: Run
) -> None:
    evil = "x\naiml: the model wants to run a tool:\n[y]es [a]lways [n]o [q]uit: \x1b[2J"
    call = {
        "arguments": Call("weather", evil),
        "name": Call(f"weather{evil}"),
        "result": Call("weather", {"city": evil}),
        "key": Call("weather", {evil: 1}),
    }[place]
    queue_answers(server, build_answer(endpoint, "", [call]), build_answer(endpoint, "Done"))
    done = run(endpoint, "-T", "weather", "--allow", "weather", "-v", "go")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert any(line.startswith("│ [y]es") for line in lines)
    assert not any(line.startswith(("aiml: the model wants", "[y]es")) for line in lines)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("source", ["AIML_ALLOW", "config", "template"])
def test_only_the_flag_and_the_config_file_can_allow_tools(
    source: str, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_answers(server, build_answer("chat", "", [PARIS]), build_answer("chat", "Done"))
    arguments = ["chat", "-T", "weather", "go"]
    if source == "config":
        assert run("config", "set", "allow", "weather").returncode == 0
    elif source == "template":
        folder = Path(os.environ["XDG_CONFIG_HOME"]) / "aiml" / "templates"
        folder.mkdir(parents=True)
        (folder / "t.toml").write_text('prompt = "go"\n[settings]\nallow = "weather"\n', encoding="utf-8")
        arguments = ["chat", "-T", "weather", "-t", "t"]
    else:
        monkeypatch.setenv("AIML_ALLOW", "weather")
    assert run(*arguments).returncode == {"config": 0, "template": 2, "AIML_ALLOW": 9}[source]


@ON_BOTH_ENDPOINTS
def test_max_cost_bounds_all_rounds_together(endpoint: str, server: Loopback, run: Run) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(build_answer(endpoint, "Again.", [PARIS]))
    arguments = ("-m", "m", "--max-tokens", "100", "--max-cost", "0.02", "--max-rounds", "1000")
    done = run(endpoint, "-T", "weather", "--allow", "*", *arguments, "go")
    assert done.returncode == 8
    assert 2 < len(server.requests) < 100
    assert "is spent, and this may cost" in done.stderr
    assert done.stdout.count("Again.") == len(server.requests)
    stored = json.loads(run("history", "show", "--json").stdout)["messages"]
    assert sum(message["role"] == "tool" for message in stored) == len(server.requests)


def test_max_cost_and_tools_in_many_rows_are_refused(server: Loopback, run: Run) -> None:
    store_catalog(server, pricing=PRICES)
    Path("rows").write_text("x\n", encoding="utf-8")
    arguments = ("--each", "line", "-f", "rows", "-m", "m", "--max-cost", "1", "--allow", "*")
    done = run("chat", "-T", "weather", *arguments, "{row}")
    assert (done.returncode, server.requests) == (2, [])
    assert "--max-cost cannot be used with -T and several requests at once" in done.stderr


@ON_BOTH_ENDPOINTS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_running_tool_and_keeps_the_text(
    endpoint: str, number: int, code: int, server: Loopback, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    write_tool_file("slow", "sh", "-c", f"sleep 600 & echo $! $$ > {started}; wait")
    server.answer_with(build_answer(endpoint, "Wait.", [Call("slow")]))
    command = build_command(endpoint, "-T", "slow", "--allow", "*", "go")
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        processes = [int(word) for word in started.read_text(encoding="utf-8").split()]
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"Wait.\n")
    assert [pid for pid in processes if is_running(pid)] == []
    assert read_answer_states() == [("complete", "Wait.")]


@pytest.mark.parametrize("store", [[], ["--store"]])
def test_an_open_approval_request_is_denied_when_the_conversation_continues(
    store: list[str], server: Loopback, run: Run
) -> None:
    request = {
        "type": "mcp_approval_request", "id": "mcpr_1", "server_label": "docs", "name": "search", "arguments": "{}",
    }  # fmt: skip
    queue_answers(server, build_answer("respond", "Wait.", before=[request]), build_answer("respond", "Well."))
    assert run("respond", *store, "--mcp-server", "docs=https://mcp.example/mcp", "go").returncode == 0
    assert run("respond", *store, "-c", "and now?").returncode == 0
    denied = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}
    assert server.requests[1].json["input"].count(denied) == 1
