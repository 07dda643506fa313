"""--max-cost limits what a run over rows may cost."""

import json
import threading

import pytest
from support.history_file import select
from support.loopback import HALF_CLOSE, HELLO, STREAM, Loopback, delta, event, json_response, stream
from support.run_cli import Aiml

from aiml_cli.core.budget import Budget

pytestmark = pytest.mark.in_process

RUN_ARGUMENTS = ["chat", "--demo", "--each", "line", "-j", "1", "--max-tokens", "50"]


def test_a_run_stops_before_a_row_that_could_exceed_max_cost(aiml: Aiml) -> None:
    ended = aiml(*RUN_ARGUMENTS, "--max-cost", "0.001", stdin=b"a\n" * 100)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 10
    assert 0 < len(lines) < 100
    assert sum(json.loads(line)["cost_usd"] for line in lines) <= 0.001
    assert b"stopped before --max-cost 0.001 could be exceeded" in ended.stderr


def test_an_unknown_price_is_refused_before_anything_is_sent(aiml: Aiml) -> None:
    ended = aiml(*RUN_ARGUMENTS, "-m", "unheard/of", "--max-cost", "1", stdin=b"a\n")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"--max-cost: the cost of a row is unknown" in ended.stderr


def test_the_budget_includes_requests_in_progress() -> None:
    budget, is_allowed = Budget(1.0), threading.Event()
    assert budget.wait_for(0.6)
    thread = threading.Thread(target=lambda: budget.wait_for(0.6) and is_allowed.set())
    thread.start()
    assert not is_allowed.is_set()
    budget.settle(0.6, 0.1)
    thread.join(30)
    assert is_allowed.is_set()


@pytest.mark.parametrize(("cost", "is_affordable"), [(0.1, True), (None, False)])
def test_an_unknown_cost_counts_as_the_maximum(cost: float | None, is_affordable: bool) -> None:
    budget = Budget(1.0)
    assert budget.wait_for(0.6)
    budget.settle(0.6, cost)
    assert budget.wait_for(0.6) is is_affordable


@pytest.mark.parametrize(("more", "count"), [([], 1), (["--max-tokens", "9"], 0), (["-q"], 0)])
def test_the_notice_about_unbounded_answers_is_printed_once(aiml: Aiml, more: list[str], count: int) -> None:
    ended = aiml("chat", "--demo", "--each", "line", "-j", "8", "--max-cost", "9", *more, stdin=b"a\n" * 50)
    assert ended.stderr.count(b"the answers in progress may exceed it") == count


def test_an_unknown_cost_is_shown_as_unknown_and_not_as_zero(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(stream(delta("Hi", "stop"), event("[DONE]")))
    server.answer_with(STREAM, HALF_CLOSE)
    ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\n")
    assert b"1 succeeded, 0 failed, 0 skipped; 0 tokens in, 0 out, cost unknown" in ended.stderr
    ended = aiml("chat", "--each", "line", "-j", "1", stdin=b"a\n")
    assert b"0 succeeded, 1 failed, 0 skipped; 0 tokens in, 0 out, cost unknown" in ended.stderr


def test_a_price_in_the_headers_counts_even_without_token_counts(aiml: Aiml, server: Loopback) -> None:
    completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    server.answer_with(json_response(completion, "200 OK", "X-AIMLAPI-USD-Spent: 0.25"))
    assert b"$0.25;" in aiml("chat", "--each", "line", stdin=b"a\n").stderr


def test_the_cost_is_recorded_for_the_model_that_answered(aiml: Aiml, server: Loopback) -> None:
    server.scripts_by_model = {"a": [json_response({"error": "down"}, "503 Service Unavailable")], "b": [HELLO]}
    assert aiml("chat", "--each", "line", "-m", "a,b", stdin=b"1\n2\n").returncode == 0
    assert [(row["model"], row["requests"]) for row in select("SELECT * FROM spent")] == [("b", 2)]
