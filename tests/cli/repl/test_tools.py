"""Tools in the REPL: turns that carry their calls, /tools, questions on the terminal, and Ctrl-C."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, queue_answers
from support.console import Console
from support.history_file import select
from support.loopback import Loopback, delta, stream, text_events
from support.processes import is_running
from support.repl_lines import ReplDriver
from support.tool_answers import Call, build_answer, read_tool_results, write_tool_file

from aiml_cli.cli.repl.line_editor import render_toolbar
from aiml_cli.cli.repl.load_conversation import load_conversation
from aiml_cli.cli.repl.tab_completion import list_words
from aiml_cli.cli.repl.turns import Turn
from aiml_cli.settings.resolve import RawValue

ENDPOINTS = {"chat": "chat", "responses": "respond"}
PARIS, ROME = Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"}, "call_2")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def prepare_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the terminal, and write a tool file."""
    monkeypatch.setenv("AIML_SESSION", "here")
    write_tool_file("weather", "printf", "%s: 21 degrees", "{city}", params="city")


@pytest.fixture(params=ENDPOINTS)
def repl(request: pytest.FixtureRequest, server: Loopback) -> Iterator[ReplDriver]:
    """Yield a session with a tool that may run, on each endpoint."""
    driver = start_repl(server, request.param)
    yield driver
    driver.session.tools.close()


def start_repl(server: Loopback, endpoint: str, **flags: str) -> ReplDriver:
    driver = ReplDriver(server, endpoint, run_tool="weather", allow="*", **flags)
    driver.session.tools.open(driver.session.resolve_settings())
    return driver


def queue_tool_answers(repl: ReplDriver, *answers: tuple[str, list[Call]]) -> None:
    queue_answers(
        repl.server, *(build_answer(ENDPOINTS[repl.session.endpoint], text, calls) for text, calls in answers)
    )


def get_last_messages(repl: ReplDriver) -> Any:
    body = repl.request_bodies[-1]
    return body.get("messages") or body["input"]


def test_the_next_message_includes_the_calls_and_their_results(repl: ReplDriver) -> None:
    queue_tool_answers(repl, ("Wait.", [PARIS]), ("", [ROME]), ("Mild.", []), ("Yes.", []))
    repl.type_lines("a", "b")
    assert read_tool_results(repl.server) == [("call_1", "Paris: 21 degrees"), ("call_2", "Rome: 21 degrees")]
    assert [turn.text for turn in repl.session.turns] == ["Mild.", "Yes."]


CONNECTION_ENDS = "cut"
# What is answered to the message, and to /continue after it.
ENDINGS: dict[str, list[tuple[str, list[Call]] | bytes | str]] = {
    "answered": [("Wait.", [PARIS]), ("Again.", [ROME]), ("Mild.", [])],
    "parallel": [("", [PARIS, ROME]), ("Mild.", [])],
    "failed": [("Wait.", [PARIS]), build_json_error("no")],
    "failed later": [("Wait.", [PARIS]), ("Again.", [ROME]), build_json_error("no")],
    "too many rounds": [("Wait.", [PARIS]), ("Again.", [ROME]), ("More.", [PARIS])],
    "cut": [("Wait.", [PARIS]), CONNECTION_ENDS],
    "cut and continued": [("Wait.", [PARIS]), CONNECTION_ENDS, ("the rest", [])],
    "cut and continued with a tool": [CONNECTION_ENDS, ("Wait.", [PARIS]), ("the rest", [])],
    "both": [("Wait.", [PARIS]), CONNECTION_ENDS, ("Again.", [ROME]), ("the rest", [])],
}


def queue_replies(repl: ReplDriver, *answers: tuple[str, list[Call]] | bytes | str) -> None:
    """Queue answers; a text is one that ends with the connection."""
    for each in answers:
        if isinstance(each, tuple):
            queue_tool_answers(repl, each)
        elif isinstance(each, bytes):
            repl.server.answer_with(each)
        elif repl.session.endpoint == "chat":
            repl.server.answer_with(stream(delta(each), end=b""))
        else:
            repl.server.answer_with(stream(*text_events(each), end=b""))


@pytest.mark.parametrize("store", ["on", "off"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_loaded_conversation_equals_the_one_in_memory(repl: ReplDriver, ending: str, store: str) -> None:
    if repl.session.endpoint == "responses":
        repl.session.flags["store"] = RawValue((store,), "--store")
    repl.session.flags["max_rounds"] = RawValue(("2",), "--max-rounds")
    queue_replies(repl, ("Hello.", []), *ENDINGS[ending], ("Yes.", []))
    repl.type_lines("first", "a", *(["/continue"] if "continued" in ending or ending == "both" else []))
    turns = repl.session.turns
    repl.type_lines("b", "/undo")
    in_memory = repl.request_bodies[-1]
    assert get_unanswered_calls(in_memory) == set()
    for _ in range(2):  # the second finds what the first took back
        loaded = reload_conversation(repl, store=store)
        assert remove_ids(loaded.session.turns) == remove_ids(turns)
        queue_replies(repl, ("Yes.", []))
        loaded.type_lines("b", "/undo")
        assert get_last_messages(loaded) == (in_memory.get("messages") or in_memory["input"])


def reload_conversation(repl: ReplDriver, **flags: str) -> ReplDriver:
    """Return another session with the last conversation."""
    loaded = start_repl(repl.server, repl.session.endpoint, **flags)
    load_conversation(loaded.session, None)
    loaded.session.tools.close()
    return loaded


def remove_ids(turns: list[Turn]) -> list[Turn]:
    return [turn._replace(answer_id=0) for turn in turns]


@pytest.mark.parametrize("allow", ["*", "nothing"])
@pytest.mark.parametrize("is_set_later", [False, True])
def test_a_server_asks_before_it_runs_its_own_tools(server: Loopback, allow: str, is_set_later: bool) -> None:
    flags = {} if is_set_later else {"mcp_server": "docs=https://example.com/mcp"}
    repl = ReplDriver(server, "responses", allow=allow, **flags)
    repl.session.tools.open(repl.session.resolve_settings())
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "docs", "name": "x", "arguments": "{}"}
    server.answer_with(build_answer("respond", "", before=[asked]))
    queue_replies(repl, ("Done.", []), ("Yes.", []))
    repl.type_lines(*(["/set mcp_server=docs=https://example.com/mcp"] if is_set_later else []), "a", "b", "/undo")
    body = repl.request_bodies[0]
    assert body["tools"][0]["require_approval"] == "always"
    in_memory, turns = get_last_messages(repl), repl.session.turns
    assert {"approve": allow == "*"}.items() <= repl.request_bodies[1]["input"][-1].items()
    loaded = ReplDriver(server, "responses")
    load_conversation(loaded.session, None)
    assert remove_ids(loaded.session.turns) == remove_ids(turns)
    queue_replies(repl, ("Yes.", []))
    loaded.type_lines("b", "/undo", "/undo")
    assert get_last_messages(loaded) == in_memory
    assert loaded.session.turns == []
    repl.session.tools.close()


def get_unanswered_calls(body: Any) -> set[str]:
    """Return the calls of a request without a result, which the API would reject."""
    items = body.get("messages") or body["input"]
    items = items if isinstance(items, list) else []
    calls = {call["id"] for item in items for call in item.get("tool_calls", [])}
    calls |= {item["call_id"] for item in items if item.get("type") == "function_call"}
    return calls - {item.get("tool_call_id") or item.get("call_id") for item in items if is_result(item)}


def is_result(item: Any) -> bool:
    return item.get("role") == "tool" or item.get("type") == "function_call_output"


def test_undo_removes_the_whole_turn_with_its_calls(repl: ReplDriver) -> None:
    queue_tool_answers(repl, ("First.", []), ("Wait.", [PARIS]), ("Mild.", []), ("Yes.", []))
    repl.type_lines("a", "b", "/undo", "c")
    assert read_tool_results(repl.server) == []
    assert "Wait." not in str(get_last_messages(repl))
    undone = [row["text"] for row in select("SELECT text, facts FROM messages") if "undone" in row["facts"]]
    assert undone == ["b", "Wait.", "Paris: 21 degrees", "Mild."]


def test_retry_sends_the_question_again_and_runs_the_tools_again(repl: ReplDriver) -> None:
    queue_tool_answers(repl, ("Wait.", [PARIS]), ("Mild.", []), ("Wait.", [ROME]), ("Warm.", []), ("Yes.", []))
    repl.type_lines("a", "/retry", "b")
    assert read_tool_results(repl.server) == [("call_2", "Rome: 21 degrees")]
    assert [turn.text for turn in repl.session.turns] == ["Warm.", "Yes."]


def test_tools_are_listed_switched_and_added(repl: ReplDriver, capfd: Capture) -> None:
    write_tool_file("date", "date")
    queue_tool_answers(repl, ("Yes.", []))
    repl.type_lines("/tools", "/tools off weather", "a", "/tools on date", "/tools on weather", "b", "/tools weather")
    told = capfd.readouterr().err
    assert "weather  on     command  About weather." in told
    assert "aiml: use /tools on NAME to turn one on: date" in told
    assert "aiml: weather: off" in told
    assert '"city"' in told
    names = [
        [tool.get("name") or tool["function"]["name"] for tool in body.get("tools", [])] for body in repl.request_bodies
    ]
    assert names == [[], ["weather", "date"]]
    assert [word.text for word in list_words(repl.session, "tools")] == ["weather", "date", "off weather", "off date"]


@pytest.mark.parametrize(
    "line", ["/tools off wether", "/tools on nothing", "/tools nothing", "/tools on", "/tools a b"]
)
def test_wrong_arguments_of_tools_are_an_error(line: str, repl: ReplDriver, capfd: Capture) -> None:
    repl.type_lines(line)
    assert capfd.readouterr().err.startswith("aiml: ")
    assert repl.session.tools.describe() == "weather"


def test_the_toolbar_names_the_active_tools(repl: ReplDriver) -> None:
    assert "tools: weather" in render_toolbar(repl.session, 80)[0][1]
    repl.type_lines("/tools off weather")
    assert "tools:" not in render_toolbar(repl.session, 80)[0][1]
    assert len(render_toolbar(repl.session, 40)[0][1]) <= 40


def test_tools_can_be_added_to_a_repl_that_started_without_any(server: Loopback, capfd: Capture) -> None:
    driver = ReplDriver(server)
    driver.session.tools.open(driver.session.resolve_settings())
    driver.type_lines("/tools", "/tools on weather")
    assert driver.session.tools.describe() == "weather"
    driver.session.tools.close()
    assert driver.session.tools.describe() == ""
    assert "aiml: the model has no local tools" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("keys", "results"),
    [("y\r", ["Paris: 21 degrees"]), ("a\r", ["Paris: 21 degrees"]), ("n\r", ["The user did not allow this call."])],
)
@pytest.mark.parametrize("endpoint", ["chat", "respond"])
def test_the_user_is_asked_before_a_call_runs(keys: str, results: list[str], endpoint: str, server: Loopback) -> None:
    queue_answers(server, build_answer(endpoint, "Wait.", [PARIS]), build_answer(endpoint, "Done."))
    with Console(endpoint, "-T", "weather", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("go")
        console.wait_until("[q]uit:")
        console.press(keys)
        console.wait_until("Done.")
        console.wait_for_prompt()
        assert "not allowed:" not in console.read_text()
        assert console.leave() == 0
    assert [text for _, text in read_tool_results(server)] == results


def test_quit_at_the_question_ends_the_turn_and_later_calls_can_run(server: Loopback) -> None:
    queue_answers(server, build_answer("chat", "Wait.", [PARIS]), build_answer("chat", "Well.", []))
    with Console("chat", "-T", "weather", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("go")
        console.wait_until("[q]uit:")
        console.press("q\r")
        console.wait_until("stopped while asking whether weather may run")
        console.wait_for_prompt()
        console.type_line("go on")
        console.wait_until("Well.")
        console.wait_for_prompt()
        assert console.leave() == 0
    assert read_tool_results(server)[0][1].startswith("There is no result of this call")


def test_ctrl_c_ends_a_tool_and_the_next_call_runs(server: Loopback, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    write_tool_file("slow", "sh", "-c", f"echo $$ > {started}; exec sleep 600")
    calls = [Call("slow")], [PARIS]
    queue_answers(server, *(build_answer("chat", "Wait.", each) for each in calls), build_answer("chat", "Done."))
    with Console("chat", "-T", "slow", "-T", "weather", "--allow", "*", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("go")
        pid = int(started.read_text(encoding="utf-8"))
        console.press("\x03")
        console.wait_until("interrupted")  # before that the screen may still show the first prompt
        assert not is_running(pid)
        console.wait_for_prompt()
        console.type_line("again")
        console.wait_until("Done.")
        console.wait_for_prompt()
        assert console.leave() == 0


def test_text_typed_while_a_tool_runs_does_not_answer_the_next_question(server: Loopback, tmp_path: Path) -> None:
    for name in ("started", "go"):
        os.mkfifo(tmp_path / name)
    write_tool_file("slow", "sh", "-c", f"echo x > {tmp_path}/started; cat {tmp_path}/go")
    queue_answers(
        server,
        build_answer("chat", "", [Call("slow")]),
        build_answer("chat", "", [PARIS]),
        build_answer("chat", "Done."),
    )
    with Console("chat", "-T", "slow", "-T", "weather", "--allow", "slow", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("start")
        (tmp_path / "started").read_text(encoding="utf-8")
        console.press("y")
        (tmp_path / "go").write_text("ok", encoding="utf-8")
        console.wait_until("[q]uit:")
        console.press("n\r")
        console.wait_until("Done.")
        console.wait_until(lambda: console.read_cursor_line().startswith(">"))
    assert read_tool_results(server)[-1][1] == "The user did not allow this call."


def test_an_unknown_tool_is_an_error_before_the_first_prompt(server: Loopback) -> None:
    with Console("chat", "-T", "nothing", AIML_BASE_URL=server.url) as console:
        assert console.wait_for_exit() == 2
        assert "there is no tool 'nothing'" in console.read_text()
