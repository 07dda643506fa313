"""The cost of answers, where it is written, and `aiml usage`, tested through the command line."""

import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import EXPECTED_COST, PRICES, store_catalog
from support.loopback import HELLO, STREAM, USAGE, Loopback, chunk, delta, event, http_response, json_response, stream
from support.run_cli import Aiml, build_command

from aiml_cli.__main__ import main

Capture = pytest.CaptureFixture[str]

# 2 input tokens at $10 a million, 1 cached at $1, 5 output at $100.
META_NAMES = {
    "endpoint", "model", "id", "finish_reason", "complete", "usage", "cost_usd", "cost_source", "cached", "timing",
    "request_id",
    "status", "attempts", "error",
}  # fmt: skip


def build_chat_answer(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more}


def run_chat_json(aiml: Aiml, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aiml("chat", "hi", "-m", "m", "--json", *arguments).stdout)
    return found


def test_without_a_price_from_the_gateway_the_cost_is_estimated_from_the_stored_catalog(
    server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    found = run_chat_json(aiml)
    assert (found["cost_usd"], found["cost_source"]) == (EXPECTED_COST, "estimate")
    assert len(server.requests) == 1


def test_usage_marks_an_estimate(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    assert " · ≈ $0.00052 (estimate)" in aiml("chat", "hi", "-m", "m", "-u").stderr.decode()


@pytest.mark.parametrize("entry", [{}, {"id": "another", "pricing": PRICES}, {"pricing": {"units": []}}])
def test_a_catalog_without_the_price_gives_no_estimate(entry: dict[str, Any], server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, **entry)
    server.answer_with(HELLO)
    found = run_chat_json(aiml)
    assert (found["cost_usd"], found["cost_source"]) == (None, None)


@pytest.mark.parametrize(("header", "cost"), [("5e-7", 5e-7), ("0", 0.0), (" .25 ", 0.25), ("1E-3", 0.001)])
def test_the_price_header_may_have_any_number_format(header: str, cost: float, server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(json_response(build_chat_answer(usage=USAGE), "200 OK", f"x-aimlapi-usd-spent: {header}"))
    found = run_chat_json(aiml, "-S")
    assert (found["cost_usd"], found["cost_source"]) == (cost, "gateway")


@pytest.mark.parametrize("header", ["nan", "inf", "-1", "1_0", "1e999", "", "free", "0x1", "1,5", "٣"])
def test_an_invalid_price_header_is_ignored(header: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(
        http_response(json.dumps(build_chat_answer(usage=USAGE)).encode(), "200 OK", "application/json").replace(
            b"\r\n\r\n", f"\r\nx-aimlapi-usd-spent: {header}\r\n\r\n".encode(), 1
        )
    )
    found = run_chat_json(aiml, "-S")
    assert (found["text"], found["cost_usd"], found["cost_source"]) == ("Hi", None, None)


def test_a_negative_price_in_the_body_is_ignored_in_favor_of_the_header(server: Loopback, aiml: Aiml) -> None:
    body = build_chat_answer(usage=USAGE, meta={"usage": {"usd_spent": -1}})
    server.answer_with(json_response(body, "200 OK", "x-aimlapi-usd-spent: 0.5"))
    assert run_chat_json(aiml, "-S")["cost_usd"] == 0.5


def test_the_price_in_the_body_takes_precedence_over_an_estimate(server: Loopback, aiml: Aiml) -> None:
    store_catalog(server, pricing=PRICES)
    last = event({"id": "c", "choices": [], "usage": USAGE, "meta": {"usage": {"usd_spent": 0.75}}})
    server.answer_with(stream(delta("Hi"), delta(finish="stop"), last, event("[DONE]")))
    found = run_chat_json(aiml)
    assert (found["cost_usd"], found["cost_source"]) == (0.75, "gateway")


def test_the_meta_file_holds_everything_except_the_text(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    store_catalog(server, pricing=PRICES)
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "-m", "m", "--meta", "meta.json")
    found = json.loads((empty_home / "meta.json").read_bytes())
    assert (done.stdout, done.returncode, found.keys()) == (b"Hello\n", 0, META_NAMES)
    assert (found["complete"], found["error"], found["cost_usd"]) == (True, None, EXPECTED_COST)
    assert (found["usage"]["total_tokens"], found["status"], found["attempts"]) == (8, 200, 1)
    assert [path.name for path in empty_home.iterdir() if path.is_file()] == ["meta.json"]


def test_the_meta_file_has_the_usual_permissions(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    server.answer_with(HELLO)
    old = os.umask(0o027)
    try:
        aiml("chat", "hi", "--meta", "meta.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((empty_home / "meta.json").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("reply", "code", "status"),
    [
        (json_response({"error": {"message": "no such thing"}}, "400 Bad Request"), 4, 400),
        (stream(delta("Hel"), end=b""), 8, 200),
        (b"", 7, None),
    ],
)
def test_the_meta_file_reports_a_failure(
    reply: bytes, code: int, status: int | None, server: Loopback, aiml: Aiml, empty_home: Path
) -> None:
    (empty_home / "meta.json").write_text("old")
    server.answer_with(reply)
    assert aiml("chat", "hi", "--meta", "meta.json").returncode == code
    found = json.loads((empty_home / "meta.json").read_bytes())
    assert (found["complete"], found["error"]["exit_code"], found["status"]) == (False, code, status)


@pytest.mark.parametrize("flags", [["--meta", "none/meta.json"], ["-o", "one", "--meta", "./one"]])
def test_a_meta_file_that_cannot_be_written_is_refused_before_the_request(
    flags: list[str], server: Loopback, aiml: Aiml, empty_home: Path
) -> None:
    done = aiml("chat", "hi", *flags)
    assert (done.returncode, done.stdout, server.requests) == (2, b"", [])
    assert [path for path in empty_home.iterdir() if path.is_file()] == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_meta_file_reports_that_the_answer_could_not_be_written(
    form: str, server: Loopback, aiml: Aiml, empty_home: Path
) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi", "--format", form, "-o", "/dev/full", "--meta", "meta.json").returncode == 1
    found = json.loads((empty_home / "meta.json").read_bytes())
    assert (found["complete"], found["error"]["exit_code"]) == (False, 1)


BILLING_RESPONSE = json_response({"current_balance": 3.5, "currency": "USD"})
SPENDING_RESPONSE = json_response(
    {
        "api_key_prefix": None,
        "spend": 0.00012,
        "currency": "USD",
        "requests": 1042,
        "models": [{"model": "a/b", "spend": 0.0001, "requests": 1000}, {"spend": 1}, None],
        "later": True,
    }
)


def test_usage_asks_for_balance_and_spend_with_the_key(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(BILLING_RESPONSE)
    server.answer_with(SPENDING_RESPONSE)
    done = aiml("usage", "--period", "30d", AIMLAPI_API_KEY="sk-test")
    assert [request.request_line for request in server.requests] == [
        "GET /v2/billing HTTP/1.1",
        "GET /v2/usage/detail?period=30d HTTP/1.1",
    ]
    assert {request.get_header("Authorization") for request in server.requests} == {"Bearer sk-test"}
    assert done.stdout.decode().splitlines() == [
        "what\tmodel\tamount\tcurrency\trequests",
        "balance\t\t3.5\tUSD\t",
        "spent\t\t0.00012\tUSD\t1042",
        "model\ta/b\t0.0001\tUSD\t1000",
    ]


def test_json_of_usage_is_the_answer_of_the_gateway(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(BILLING_RESPONSE)
    server.answer_with(SPENDING_RESPONSE)
    found = json.loads(aiml("usage", "--json").stdout)
    assert found["balance"] == {"current_balance": 3.5, "currency": "USD"}
    assert (found["usage"]["later"], len(found["usage"]["models"])) == (True, 3)


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (http_response(b"Cannot GET /v2/billing", "404 Not Found"), 4, "does not report balance and spending"),
        (json_response({"message": "bad key sk-test-only"}, "401 Unauthorized"), 3, "bad key ***"),
        (http_response(b"<html>log in</html>"), 6, "not a JSON object"),
        (json_response([1]), 6, "not a JSON object"),
        (http_response(b"[" * 100_000), 6, "not a JSON object"),
    ],
)
def test_usage_explains_a_failure(reply: bytes, code: int, words: str, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(reply)
    done = aiml("usage", AIMLAPI_API_KEY="sk-test-only")
    assert (done.returncode, done.stdout, len(server.requests)) == (code, b"", 1)
    assert words in done.stderr.decode()
    assert b"sk-test-only" not in done.stderr


def test_odd_values_are_left_out(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(json_response({"current_balance": "much", "currency": 5}))
    server.answer_with(json_response({"spend": None, "models": {"a": 1}, "requests": True}))
    done = aiml("usage")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[1:] == ["balance\t\t\t\t", "spent\t\t\t\t"]


def test_usage_needs_a_key(capfd: Capture) -> None:
    assert main(["usage"]) == 3
    assert "there is no key" in capfd.readouterr().err


def test_usage_of_the_demo_server_requires_no_key(capfd: Capture) -> None:
    assert main(["usage", "--demo", "-q"]) == 0
    assert capfd.readouterr().out.splitlines()[1] == "balance\t\t12.5\tUSD\t"


def test_an_unknown_period_is_refused(capfd: Capture) -> None:
    assert main(["usage", "--demo", "--period", "1y"]) == 2
    assert "--period: '1y' is not one of 24h, 7d, 30d, all" in capfd.readouterr().err


CATALOG_ENTRY = {"supported_parameters": ["temperature", "top_k"]}
DROP_WARNING = "the gateway silently ignores unknown names"


@pytest.mark.parametrize(
    ("entry", "option", "warning"),
    [
        (
            {},
            "temperatur=1",
            f"-O temperatur: this is not a documented property, and {DROP_WARNING}: did you mean temperature?",
        ),
        (
            {},
            "max-tokens=5",
            f"-O max-tokens: this is not a documented property, and {DROP_WARNING}: did you mean max_tokens?",
        ),
        (CATALOG_ENTRY, "min_p=1", f"-O min_p: the catalog does not list it for m, and {DROP_WARNING}"),
        (
            CATALOG_ENTRY,
            "top-k.x=1",
            f"-O top-k: the catalog does not list it for m, and {DROP_WARNING}: did you mean top_k?",
        ),
        ({"parameters": ["min_p"]}, "top_k=1", f"-O top_k: the catalog does not list it for m, and {DROP_WARNING}"),
    ],
)
def test_a_property_that_the_gateway_may_drop_gives_a_warning(
    entry: dict[str, Any], option: str, warning: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, **entry)
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "-m", "m", "-O", option)
    assert (done.stdout, done.returncode) == (b"Hello\n", 0)
    assert done.stderr.decode() == f"aiml: {warning}\n"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("entry", "option"),
    [
        ({}, "top_k=5"),
        ({}, "stop=x"),
        ({}, "something_new=1"),
        ({}, "reasoning.effort=low"),
        ({"parameters": "temperature"}, "something_new=1"),
        (CATALOG_ENTRY, "top_k=5"),
        (CATALOG_ENTRY, "stream=true"),
    ],
)
def test_a_property_that_may_be_valid_gives_no_warning(
    entry: dict[str, Any], option: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, **entry)
    server.answer_with(HELLO)
    assert aiml("chat", "hi", "-m", "m", "-O", option).stderr == b""


def test_quiet_hides_the_warning(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "hi", "-q", "-O", "temperatur=1").stderr == b""


def test_a_server_without_a_model_list_suggests_checking_the_base_url(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"no such path", "404 Not Found"))
    done = aiml("models")
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (4, "hint: check --base-url")


def test_the_meta_file_of_an_interrupted_answer_is_written(server: Loopback, empty_home: Path) -> None:
    never = threading.Event()
    server.answer_with(STREAM, chunk(delta("Hel")), never)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    asking = build_command("chat", "hi", "--meta", "meta.json")
    with subprocess.Popen(asking, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.read(3) == b"Hel"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    never.set()
    found = json.loads((empty_home / "meta.json").read_bytes())
    assert (found["complete"], found["error"]["exit_code"], found["status"]) == (False, 130, 200)


def test_a_refusal_says_if_no_key_was_sent(aiml: Aiml, server: Loopback) -> None:
    for _ in range(2):
        server.answer_with(json_response({"message": "Invalid API Key"}, "401 Unauthorized"))
    done = aiml("usage")
    assert (done.returncode, b"hint: no key was sent: aiml config key stores one" in done.stderr) == (3, True)
    done = aiml("usage", AIMLAPI_API_KEY="k-0123456789")
    assert (done.returncode, b"hint: is the key right?" in done.stderr) == (3, True)
