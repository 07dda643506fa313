"""The balance and the spend of the demo, in the shape that the vendor documents."""

from datetime import datetime, timedelta

import pytest
from support.demo_client import DemoClient


def test_the_totals_are_the_sums_over_the_models(demo: DemoClient) -> None:
    found = demo.get("/v2/usage/detail?period=7d").json
    assert found["spend"] == sum(model["spend"] for model in found["models"])
    assert found["requests"] == sum(model["requests"] for model in found["models"])
    assert (found["currency"], found["api_key_prefix"]) == ("USD", None)


def test_the_summary_lists_no_models(demo: DemoClient) -> None:
    detail = demo.get("/v2/usage/detail?period=24h").json
    assert demo.get("/v2/usage?period=24h").json.keys() == detail.keys() - {"models"}


@pytest.mark.parametrize(("period", "length"), [("1h", timedelta(hours=1)), ("92d", timedelta(days=92))])
def test_the_window_has_the_length_of_the_period(period: str, length: timedelta, demo: DemoClient) -> None:
    found = demo.get(f"/v2/usage?period={period}").json
    assert datetime.fromisoformat(found["end"]) - datetime.fromisoformat(found["start"]) == length


@pytest.mark.parametrize("query", ["", "?period=", "?period=93d", "?period=0h", "?period=7", "?period=99999d"])
def test_a_missing_or_invalid_period_is_refused(query: str, demo: DemoClient) -> None:
    assert demo.get(f"/v2/usage{query}").status == 400
