"""--prompt-cache marks requests to Claude models, and --usage shows what that saved."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import store_catalog
from support.loopback import HELLO, Loopback, json_response

from aiml_cli.__main__ import main
from aiml_cli.api.prompt_cache import MAX_MARKS, mark_prompt

Run = Callable[..., tuple[int, str, str]]
CLAUDE = "anthropic/claude-sonnet-4.6"
CACHE_MARK = {"type": "ephemeral", "ttl": "5m"}
FILE_TEXT = '<file name="a.txt">\nlong\n</file>'
IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}}


@pytest.fixture
def run(server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the program in this process, against the loopback server."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)

    def run(*arguments: str) -> tuple[int, str, str]:
        code, shown = main(arguments), capfd.readouterr()
        return code, shown.out, shown.err

    return run


def list_marked(messages: list[Any]) -> list[str]:
    """Return the marked parts: their role, and the end of their text or their type."""
    return [
        f"{message['role']}: {part.get('text', part['type'])[-8:].strip()}"
        for message in messages
        for part in (message["content"] if isinstance(message["content"], list) else [])
        if part.get("cache_control") == CACHE_MARK
    ]


def join_texts(messages: list[Any]) -> list[str]:
    """Return the text of each message, whatever its parts are."""
    contents = (message["content"] for message in messages)
    return [
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        for content in contents
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([("user", "hi")], ["user: hi"]),
        ([("system", "Be kind."), ("user", "hi")], ["system: Be kind.", "user: hi"]),
        ([("developer", "Be kind."), ("user", "hi")], ["developer: Be kind.", "user: hi"]),
        ([("user", f"{FILE_TEXT}\n\nwhat is it")], ["user: </file>", "user: at is it"]),
        ([("user", FILE_TEXT)], ["user: </file>"]),
        ([("user", f"{FILE_TEXT}\n\n<stdin>\nx\n</stdin>\n\nwhy")], ["user: </stdin>", "user: why"]),
        ([("user", [IMAGE, {"type": "text", "text": "what"}])], ["user: mage_url", "user: what"]),
        ([("user", [IMAGE])], ["user: mage_url"]),
        ([("user", [{"type": "text", "text": "a"}, {"type": "text", "text": " "}])], ["user: a"]),
        (
            [("system", "S"), ("user", f"{FILE_TEXT}\n\nq1"), ("assistant", "a1"), ("user", "q2")],
            ["system: S", "user: </file>", "user: q2"],
        ),
        ([("user", "q1"), ("assistant", "a1"), ("tool", "result")], ["user: q1"]),
        ([("assistant", "a1")], []),
        ([("user", "")], []),
        ([("user", "the tag </file> in a sentence")], ["user: sentence"]),
    ],
)
def test_the_last_messages_are_marked_and_their_text_is_unchanged(
    messages: list[tuple[str, Any]], expected: list[str]
) -> None:
    plain = [{"role": role, "content": content} for role, content in messages]
    before = json.dumps(plain)
    body = mark_prompt({"model": CLAUDE, "messages": plain, "n": 1}, "5m")
    assert (list_marked(body["messages"]), body["n"], json.dumps(plain)) == (expected, 1, before)
    assert join_texts(body["messages"]) == join_texts(plain)


@pytest.mark.parametrize("own_mark_count", range(6))
def test_a_request_never_gets_more_than_four_marks(own_mark_count: int) -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "system", "content": "S"},
        *({"role": "user", "content": [part]} for _ in range(max(0, own_mark_count - 1))),
        {"role": "user", "content": f"{FILE_TEXT}\n\nlast"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}, "cache_control": CACHE_MARK}] if own_mark_count else []
    body = mark_prompt({"model": CLAUDE, "messages": messages, "tools": tools}, "5m")
    assert json.dumps(body).count("cache_control") == max(own_mark_count, min(MAX_MARKS, own_mark_count + 3))
    assert any(part.endswith("last") for part in list_marked(body["messages"])) == (own_mark_count < MAX_MARKS)


@pytest.mark.parametrize(
    "unusual", [None, "text", 3, [], {}, {"role": "user"}, {"role": "user", "content": [1, None, "x"]}]
)
def test_unusual_messages_of_the_user_are_unchanged(unusual: Any) -> None:
    assert mark_prompt({"model": CLAUDE, "messages": [unusual]}, "5m")["messages"] == [unusual]
    assert mark_prompt({"model": CLAUDE, "messages": unusual}, "5m")["messages"] == unusual


@pytest.mark.parametrize("flags", [[], ["-S"]])
@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_a_request_with_files_and_system_text_is_marked(
    flags: list[str], ttl: str, server: Loopback, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("long\n")
    server.answer_with(HELLO)
    assert run("chat", "-m", CLAUDE, "-s", "Sys", "-f", "a.txt", "--prompt-cache", ttl, "what is it", *flags)[0] == 0
    system, user = server.requests[0].json["messages"]
    mark = {"type": "ephemeral", "ttl": ttl}
    assert system["content"] == [{"type": "text", "text": "Sys", "cache_control": mark}]
    assert [part["cache_control"] for part in user["content"]] == [mark, mark]
    assert join_texts([user]) == [f"{FILE_TEXT}\n\nwhat is it"]


def test_the_mark_moves_to_the_end_of_the_conversation(server: Loopback, run: Run) -> None:
    server.answer_with(HELLO)
    flags = ("-m", CLAUDE, "--prompt-cache", "5m")
    run("chat", *flags, "one")
    run("chat", "-c", *flags, "two")
    run("chat", "-c", *flags, "three")
    marked = [list_marked(request.json["messages"]) for request in server.requests]
    assert marked == [["user: one"], ["user: two"], ["user: three"]]
    assert join_texts(server.requests[2].json["messages"]) == ["one", "Hello", "two", "Hello", "three"]


def test_each_row_has_the_marks(server: Loopback, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\nb\n")
    server.answer_with(HELLO)
    run("chat", "-m", CLAUDE, "-s", "Sys", "--prompt-cache", "5m", "--each", "line", "-f", "rows", "say {row}")
    assert {tuple(list_marked(request.json["messages"])) for request in server.requests} == {
        ("system: Sys", "user: say a"),
        ("system: Sys", "user: say b"),
    }


@pytest.mark.parametrize("is_flag", [True, False])
def test_requests_to_other_models_are_unchanged_and_a_notice_says_so(
    is_flag: bool, server: Loopback, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer_with(HELLO)
    if not is_flag:
        monkeypatch.setenv("AIML_PROMPT_CACHE", "5m")
    model = f"openai/gpt-{is_flag}"
    code, out, err = run("chat", "-m", model, *(["--prompt-cache", "5m"] if is_flag else []), "hi")
    notice = f"aiml: --prompt-cache has no effect: only Claude models support it, and {model} is not one\n"
    assert (code, out, err) == (0, "Hello\n", notice if is_flag else "")
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "hi"}]


def test_a_fallback_model_gets_the_marks_even_if_the_first_model_does_not(server: Loopback, run: Run) -> None:
    server.scripts_by_model = {"gpt": [json_response({}, "503 Down")], CLAUDE: [HELLO]}
    assert run("chat", "-m", f"gpt,{CLAUDE}", "--prompt-cache", "5m", "--retries", "0", "hi")[0] == 0
    assert [list_marked(request.json["messages"]) for request in server.requests] == [[], ["user: hi"]]


@pytest.mark.parametrize("value", ["", "2h", "5", "off", "5M"])
def test_an_unsupported_lifetime_is_refused(value: str, run: Run) -> None:
    code, out, err = run("chat", f"--prompt-cache={value}", "hi")
    assert (code, out, "is not one of 5m, 1h" in err) == (2, "", True)


def test_respond_refuses_the_flag_and_names_chat(run: Run) -> None:
    code, out, err = run("respond", "--prompt-cache=5m", "hi")
    assert (code, out, "--prompt-cache belongs to aiml chat" in err) == (2, "", True)


def build_answer(**usage: Any) -> bytes:
    counts = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return json_response({"id": "c", "model": CLAUDE, "choices": [choice], "usage": counts})


def list_prices() -> Iterator[dict[str, Any]]:
    for origin, price in (("provided", 10), ("generated", 100), ("cached", 1), ("cache_write", 12.5)):
        yield {"name": "token", "content": "text", "origin": origin, "price": price, "per": 1000000}


@pytest.mark.parametrize(
    ("usage", "tokens", "savings"),
    [
        ({}, "1000 in ·", ""),
        ({"prompt_tokens_details": {"cached_tokens": 900}}, "1000 in (900 cached) ·", "saved ≈ $0.0081"),
        (
            {"prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 800}},
            "1000 in (800 written to the cache) ·",
            "cost ≈ $0.002",
        ),
        (
            {"cache_read_input_tokens": 500, "cache_creation_input_tokens": 100},
            "1000 in (500 cached, 100 written to the cache) ·",
            "saved ≈ $0.0043",
        ),
        ({"prompt_tokens_details": {"cache_write_tokens": "many", "cached_tokens": -5}}, "1000 in", ""),
    ],
)
def test_usage_shows_what_the_prompt_cache_saved(
    usage: dict[str, Any], tokens: str, savings: str, server: Loopback, run: Run
) -> None:
    store_catalog(server, id=CLAUDE, pricing={"units": list(list_prices())})
    server.answer_with(build_answer(**usage))
    code, _, err = run("chat", "-S", "-u", "-m", CLAUDE, "--prompt-cache", "5m", "hi")
    assert (code, tokens in err) == (0, True), err
    assert (f"the prompt cache {savings}" if savings else "\n") in err
    assert ("prompt cache" in err) == bool(savings)


@pytest.mark.parametrize(("ttl", "factor"), [("", 1), ("5m", 1.25), ("1h", 2)])
def test_max_cost_includes_the_price_of_writing_to_the_cache(
    ttl: str, factor: float, server: Loopback, run: Run
) -> None:
    store_catalog(server, id=CLAUDE, pricing={"units": list(list_prices())})
    server.answer_with(HELLO)
    words, flags = "word " * 3000, [f"--prompt-cache={ttl}"] if ttl else []
    least = 5000 * 10 / 1e6 * factor
    assert run("chat", "-m", CLAUDE, "--max-cost", str(least * 0.95), *flags, words)[0] == 2
    assert run("chat", "-m", CLAUDE, "--max-cost", str(least * 1.05), *flags, words)[0] == 0


def test_a_run_of_rows_says_once_that_nothing_is_marked(server: Loopback, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\nb\n")
    server.answer_with(HELLO)
    _, _, err = run("chat", "-m", "rows-model", "--prompt-cache", "5m", "--each", "line", "-f", "rows")
    assert err.count("--prompt-cache has no effect") == 1
