"""What a run may cost."""

import json
import threading

import pytest
from conftest import Aiml

from aiml_cli.batch.purse import Purse

CHEAP = ["chat", "--demo", "--each", "line", "-j", "1", "--max-tokens", "50"]


def test_a_run_stops_before_the_row_that_could_cost_too_much(aiml: Aiml) -> None:
    ended = aiml(*CHEAP, "--max-cost", "0.001", stdin=b"a\n" * 100)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 10
    assert 0 < len(lines) < 100
    assert sum(json.loads(line)["cost_usd"] for line in lines) <= 0.001
    assert b"stopped before --max-cost 0.001 could be exceeded" in ended.stderr


def test_a_price_that_nobody_knows_is_refused_before_anything_is_sent(aiml: Aiml) -> None:
    ended = aiml(*CHEAP, "-m", "unheard/of", "--max-cost", "1", stdin=b"a\n")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"--max-cost: what a row may cost is not known" in ended.stderr


def test_the_most_that_may_be_spent_counts_what_is_on_its_way() -> None:
    purse, came = Purse(1.0), threading.Event()
    assert purse.take(0.6)
    waits = threading.Thread(target=lambda: purse.take(0.6) and came.set())
    waits.start()
    assert not came.is_set()
    purse.pay(0.6, 0.1)
    waits.join(30)
    assert came.is_set()


@pytest.mark.parametrize(("cost", "fits"), [(0.1, True), (None, False)])
def test_a_cost_that_nobody_told_counts_as_the_most(cost: float | None, fits: bool) -> None:
    purse = Purse(1.0)
    assert purse.take(0.6)
    purse.pay(0.6, cost)
    assert purse.take(0.6) is fits
