"""Tools in the REPL: what the toolbar and Tab say of them, what is shown without a history, and Ctrl-C."""

from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from support.answers import queue_answers
from support.console import Console
from support.loopback import Loopback
from support.repl_lines import ReplDriver
from support.tool_answers import Call, build_answer, write_tool_file

from aiml_cli.cli.repl.line_editor import render_toolbar
from aiml_cli.cli.repl.tab_completion import SessionCompleter

CALL_COUNT = 60  # more than run at once


def start_repl(server: Loopback, endpoint: str = "chat", **flags: str) -> ReplDriver:
    write_tool_file("weather", "printf", "%s: 21 degrees", "{city}", params="city")
    driver = ReplDriver(server, endpoint, run_tool="weather", allow="*", **flags)
    driver.session.tools.open(driver.session.resolve_settings())
    return driver


@pytest.mark.parametrize(
    ("width", "expected"),
    [(80, "m · tools: weather, date"), (40, "m · 2 tools"), (36, "m"), (20, "… · 0 tokens")],
)
def test_the_toolbar_shows_as_much_about_tools_as_fits(width: int, expected: str, server: Loopback) -> None:
    write_tool_file("date", "date")
    repl = start_repl(server, model="m")
    repl.type_lines("/tools on date")
    text = render_toolbar(repl.session, width)[0][1].strip()
    assert text.startswith(f"{expected} ·" if width > 20 else expected)
    assert len(text) <= width


def test_tab_offers_tools_according_to_their_current_state(server: Loopback) -> None:
    repl = start_repl(server)
    completer = SessionCompleter(repl.session)

    def complete(text: str) -> list[str]:
        return [found.text for found in completer.get_completions(Document(text), CompleteEvent())]

    assert complete("/tools o") == ["off weather"]
    repl.type_lines("/tools off weather")
    assert complete("/tools o") == ["on weather"]


@pytest.mark.parametrize(("endpoint", "command"), [("chat", "chat"), ("responses", "respond")])
def test_an_unsaved_conversation_is_exported_like_a_saved_one(
    endpoint: str, command: str, server: Loopback, tmp_path: Path
) -> None:
    texts = []
    for flags in ({}, {"no_log": "on"}):
        calls = [Call("weather", {"city": "Rome"})]
        queue_answers(server, build_answer(command, "Wait.", calls), build_answer(command, "Mild."))
        path = tmp_path / f"{len(flags)}.md"
        start_repl(server, endpoint, **flags).type_lines("a", f"/export {path}")
        texts.append(path.read_text(encoding="utf-8").partition("## You")[2])
    assert texts[0] == texts[1]
    assert "Wait." in texts[0]
    assert "Rome: 21 degrees" in texts[0]


def test_ctrl_c_ends_all_running_calls_and_starts_no_other(server: Loopback, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_tool_file("slow", "sh", "-c", f"echo $$ >> {log}; exec sleep 600")
    calls = [Call("slow", "", f"call_{number}") for number in range(CALL_COUNT)]
    queue_answers(server, build_answer("chat", "", calls), build_answer("chat", "Well."))
    with Console("chat", "-T", "slow", "--allow", "*", AIML_BASE_URL=server.url) as console:
        console.wait_for_prompt()
        console.type_line("go")
        console.wait_until(lambda: log.exists() and log.read_text(encoding="utf-8").count("\n") > 1)
        console.press("\x03")
        console.wait_for_prompt()
        begun = [int(line) for line in log.read_text(encoding="utf-8").split()]
        console.type_line("go on")
        console.wait_until("Well.")
        console.wait_for_prompt()
        assert len(begun) < CALL_COUNT
        assert [int(line) for line in log.read_text(encoding="utf-8").split()] == begun
        assert not [pid for pid in begun if Path(f"/proc/{pid}").exists()]
        assert console.leave() == 0
