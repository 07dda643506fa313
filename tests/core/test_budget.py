"""--max-cost: a request that may cost too much is not sent, nor is one whose cost is unknown."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_answer_with_cost
from support.catalogs import PRICES, store_catalog
from support.history_file import select
from support.loopback import HELLO, HELLO_RESPONSE, Loopback, delta, event, json_response, response_object, stream
from support.repl_lines import ReplDriver
from support.run_cli import Aiml

from aiml_cli.__main__ import main
from aiml_cli.catalog.pricing import MAX_IMAGE_TOKENS, bound_tokens
from aiml_cli.errors import RequestRejected

Capture = pytest.CaptureFixture[str]
CATALOG_RESPONSE = json_response({"data": [{"id": "m", "type": "openai/chat-completions", "pricing": PRICES}]})
SCHEMA = ["--schema", "name"]


def run_with_limit(aiml: Aiml, *more: str, command: str = "chat", limit: str = "0.01") -> tuple[int, str]:
    """Ask with a limit; return the exit code and standard error."""
    done = aiml(command, "hi", "-m", "m", "--max-cost", limit, *more)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_a_request_that_may_cost_more_is_refused_before_any_connection(
    command: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    code, told = run_with_limit(aiml, "--max-tokens", "1000", command=command)
    assert (code, server.connections) == (2, 0)
    assert "this may cost $0.1, more than --max-cost 0.01: about " in told
    assert " tokens in and 1,000 out, m\nhint: raise --max-cost" in told
    assert select("SELECT * FROM messages") == []


@pytest.mark.parametrize(("command", "reply"), [("chat", HELLO), ("respond", HELLO_RESPONSE)])
def test_a_request_that_costs_less_is_sent_without_a_notice(
    command: str, reply: bytes, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(reply)
    assert run_with_limit(aiml, "--max-tokens", "90", command=command) == (0, "")
    assert [request.request_line for request in server.requests] == [
        f"POST /v1/{'responses' if command == 'respond' else 'chat/completions'} HTTP/1.1"
    ]


def test_without_max_tokens_only_the_input_is_limited_and_a_notice_says_so(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    code, told = run_with_limit(aiml)
    assert (code, told.count("limits only the input")) == (0, 1)
    assert "--max-tokens limits the answer" in told
    assert run_with_limit(aiml, "-q") == (0, "")
    assert run_with_limit(aiml, "-s", "word " * 1000)[0] == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "flags",
    [["-n", "10"], ["-s", "x" * 9000], ["--max-completion-tokens", "200"], ["-O", "max_tokens=200"], ["-f", "big"]],
)
def test_every_part_of_the_request_counts(flags: list[str], server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    (empty_home / "big").write_text("word " * 1000)
    store_catalog(server, pricing=PRICES)
    assert run_with_limit(aiml, "--max-tokens", "20", *flags)[0] == 2
    assert server.connections == 0


@pytest.mark.parametrize("source", ["variable", "config", "profile"])
def test_the_limit_can_be_set_in_config_profile_and_environment(source: str, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    environ = {"AIML_MAX_COST": "0.01"} if source == "variable" else {}
    if source != "variable":
        assert main(["config", "set", *(["--profile", "p"] if source == "profile" else []), "max_cost", "0.01"]) == 0
    flags = ["--profile", "p"] if source == "profile" else []
    assert aiml("chat", "hi", "-m", "m", "--max-tokens", "1000", *flags, **environ).returncode == 2
    assert server.connections == 0


def test_without_a_stored_catalog_one_is_fetched_without_the_key(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(CATALOG_RESPONSE)
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "-m", "m", "--max-cost", "0.01", "--max-tokens", "5", AIMLAPI_API_KEY="sk-1")
    lines = [(request.request_line.split("?")[0], request.get_header("authorization")) for request in server.requests]
    assert (done.returncode, lines) == (
        0, [("GET /v1/models", None), ("POST /v1/chat/completions HTTP/1.1", "Bearer sk-1")],
    )  # fmt: skip


@pytest.mark.parametrize(
    "catalog", [json_response({"data": []}), json_response({"error": {"message": "?"}}, "404 Not Found")]
)
def test_a_model_without_a_price_is_refused(catalog: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(catalog)
    code, told = run_with_limit(aiml)
    assert (code, "the catalog has no fixed price for m\nhint: " in told) == (2, True)
    assert [request.request_line.split("?")[0] for request in server.requests] == ["GET /v1/models"]


def test_a_price_that_depends_on_the_request_counts_as_unknown(server: Loopback, aiml: Aiml) -> None:
    unit = {"name": "token", "origin": "provided", "price": 1, "per": 1000000}
    store_catalog(server, pricing={"variants": [{**unit, "price": price, "when": {"size": price}} for price in (1, 2)]})
    server.answer_with(json_response({"data": []}))
    assert run_with_limit(aiml)[0] == 2
    assert [request.request_line[:4] for request in server.requests if request.request_line.startswith("POST")] == []


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("respond", ["--web-search", "low"], "the server's tool web_search_preview"),
        ("respond", ["--previous-response-id", "resp_1"], "a conversation stored on the server"),
        ("respond", ["--prompt-id", "p"], "a prompt template stored on the server"),
        ("chat", ["-f", "a.pdf"], "a document"),
        ("chat", ["-O", 'audio={"voice":"v"}'], "spoken output"),
    ],
)
def test_a_request_with_uncountable_parts_is_refused(
    command: str, flags: list[str], words: str, server: Loopback, aiml: Aiml, empty_home: Path
) -> None:
    (empty_home / "a.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    store_catalog(server, pricing=PRICES)
    code, told = run_with_limit(aiml, *flags, command=command)
    assert (code, server.connections) == (2, 0)
    assert f"the cost of this request is unknown: it includes {words}" in told


def test_an_image_counts_as_a_fixed_number_of_tokens() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 999_999}}
    found = bound_tokens({"messages": [{"role": "user", "content": [part]}]})
    assert MAX_IMAGE_TOKENS < found.input_tokens < MAX_IMAGE_TOKENS + 20


def test_numeric_settings_do_not_count_as_input() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    more = {"max_tokens": 50, "n": 2, "temperature": 0.5, "store": True}
    assert bound_tokens(body | more)[:2] == (bound_tokens(body).input_tokens, 100)


def test_a_whole_conversation_counts_even_if_the_server_stores_it(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(json_response(response_object("word " * 1000)))
    assert aiml("respond", "hi", "-m", "m", "--store").returncode == 0
    done = aiml("respond", "more", "-c", "--max-cost", "0.01")
    assert (done.returncode, len(server.requests)) == (2, 1)
    assert aiml("respond", "more", "-c", "--max-cost", "0.1", "--max-tokens", "16").returncode == 0
    assert server.requests[-1].json["previous_response_id"] == "resp_1"


def test_no_missing_usage_is_reported_for_a_request_that_was_not_sent(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    Path("f").write_text("one two")
    for more in ((), ("--chunk", "9", "-f", "f")):
        code, told = run_with_limit(aiml, "-u", *more, limit="0")
        assert (code, "usage" in told) == (2, False)


def test_a_failed_attempt_does_not_count_as_spent(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(json_response({"error": {"message": "busy"}}, "503 Service Unavailable", "Retry-After: 0"))
    server.answer_with(HELLO)
    code, _ = run_with_limit(aiml, "--max-tokens", "60", "--retries", "1")
    assert (code, len(server.requests)) == (0, 2)


def test_auto_continue_stops_when_the_budget_is_spent(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(build_answer_with_cost("Hel", "length", 0.003))
    code, told = run_with_limit(aiml, "--max-tokens", "50", "--auto-continue", "9")
    assert (code, len(server.requests)) == (8, 2)
    assert "aiml: $0.006 is spent, and this may cost $0.005" in told


def test_an_answer_without_a_price_counts_by_its_tokens(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    body = json.loads(build_answer_with_cost("Hel", "length", 0).partition(b"\r\n\r\n")[2])
    server.answer_with(
        json_response({**body, "usage": {"prompt_tokens": 0, "completion_tokens": 20, "total_tokens": 20}})
    )
    code, told = run_with_limit(aiml, "--max-tokens", "50", "--auto-continue", "9")
    assert (code, len(server.requests)) == (8, 3)
    assert "aiml: $0.006 is spent" in told


def test_schema_retries_stop_when_the_budget_is_spent(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(build_answer_with_cost("no JSON", "stop", 0.005))
    done = aiml("chat", "hi", "-m", "m", "--max-cost", "0.02", "--max-tokens", "50", *SCHEMA, "--schema-retries", "9")
    assert (done.returncode, len(server.requests)) == (9, 3)
    assert done.stdout == b"no JSON\n"


def test_with_fallbacks_the_most_expensive_model_counts(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        json_response(
            {
                "data": [
                    {"id": name, "type": "chat-completion", "pricing": {"units": [
                        {"name": "token", "origin": origin, "price": price, "per": 1000}
                        for origin in ("provided", "generated")
                    ]}}
                    for name, price in (("cheap", 0.001), ("dear", 1))
                ]
            }
        )
    )  # fmt: skip
    done = aiml("chat", "hi", "-m", "cheap,dear", "--max-cost", "0.01", "--max-tokens", "20")
    assert (done.returncode, b"out, dear\n" in done.stderr) == (2, True)
    done = aiml("chat", "hi", "-m", "cheap,unknown", "--max-cost", "9", "--max-tokens", "20")
    assert (done.returncode, b"no fixed price for unknown" in done.stderr) == (2, True)
    assert [request.request_line[:4] for request in server.requests if request.request_line.startswith("POST")] == []


def test_a_replay_costs_nothing_and_is_never_refused(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi", "-m", "m", "--record", "r").returncode == 0
    assert run_with_limit(aiml, "--replay", "r", limit="0") == (0, "")
    assert len(server.requests) == 1


def test_a_dry_run_does_not_check_the_cost(server: Loopback, aiml: Aiml) -> None:
    code, told = run_with_limit(aiml, "--dry-run", limit="0")
    assert (code, server.connections, "cost" in told) == (0, 0, False)


def test_the_demo_server_has_prices_too(capfd: Capture) -> None:
    assert main(["chat", "--demo", "--max-cost", "0.0001", "--max-tokens", "1000", "hi"]) == 2
    assert "demo/echo" in capfd.readouterr().err
    assert main(["chat", "--demo", "--max-cost", "0.1", "--max-tokens", "1000", "hi"]) == 0


def test_a_refusal_does_not_end_the_repl(server: Loopback, capsys: Capture) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    lines = ReplDriver(server, model="m", max_tokens="1000")
    lines.type_lines("/set max_cost=0.01", "hi", "/set max_cost=1", "more")
    assert [body["messages"][-1]["content"] for body in lines.request_bodies] == ["more"]
    assert "more than --max-cost 0.01" in capsys.readouterr().err


def test_without_a_limit_the_budget_module_is_not_loaded(server: Loopback) -> None:
    server.answer_with(HELLO)
    program = (
        "import sys; from aiml_cli.__main__ import main\n"
        f"main(['chat', 'hi', '--base-url', {server.url!r}, '--no-log'])\n"
        "print([name for name in sys.modules if name in ('aiml_cli.core.budget', 'aiml_cli.catalog.find_models')])"
    )
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"


PRICED_EVENTS: list[dict[str, Any]] = [{"id": "c", "choices": [], "meta": {"usage": {"usd_spent": 0.25}}}]
TRUNCATED_ANSWER = stream(delta("Hel"), event(PRICED_EVENTS[0]), end=b"")
LAST_PART = json_response({"id": "c", "choices": [{"index": 0, "message": {"content": "lo"}, "finish_reason": "stop"}]})


def test_prices_from_header_and_body_are_added_up(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(TRUNCATED_ANSWER)
    server.answer_with(build_answer_with_cost("lo", "stop", 0.5))
    found = json.loads(aiml("chat", "hi", "-m", "m", "--json", "--auto-continue", "1").stdout)
    assert (found["text"], found["cost_usd"], found["cost_source"]) == ("Hello", 0.75, "gateway")


def test_a_sum_without_the_price_of_a_part_is_an_estimate(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(TRUNCATED_ANSWER)
    server.answer_with(LAST_PART)
    found = json.loads(aiml("chat", "hi", "-m", "m", "--json", "--auto-continue", "1").stdout)
    assert (found["text"], found["cost_usd"], found["cost_source"]) == ("Hello", 0.25, "estimate")


def test_a_refused_continuation_costs_nothing(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer_with_cost("Hel", "length", 0.5))
    server.answer_with(json_response({"error": {"message": "no"}}, "400 Bad Request"))
    done = aiml("chat", "hi", "-m", "m", "--json", "--auto-continue", "1")
    found = json.loads(done.stdout)
    assert (done.returncode, found["cost_usd"], found["cost_source"]) == (RequestRejected.exit_code, 0.5, "gateway")


def test_the_output_has_the_total_price_and_the_history_that_of_each_attempt(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer_with_cost("no JSON", "stop", 0.25))
    server.answer_with(build_answer_with_cost('{"name": "Ada"}', "stop", 0.5))
    done = aiml("chat", "hi", "-m", "m", *SCHEMA, "--schema-retries", "2", "--json", "-u")
    assert (done.returncode, json.loads(done.stdout)["cost_usd"]) == (0, 0.75)
    assert b" $0.75\n" in done.stderr
    costs = select("SELECT cost_usd FROM messages WHERE role = 'assistant' ORDER BY id")
    assert [row["cost_usd"] for row in costs] == [0.25, 0.5]
