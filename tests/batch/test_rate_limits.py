"""The pace of a run: what the user sets, what the server's headers allow, and the rate it accepted before a refusal."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import HELLO, Loopback
from support.row_runs import parse_results
from support.run_cli import Aiml

from aiml_cli.api.rate_limit_headers import parse_allowances
from aiml_cli.api.stream_events import Usage
from aiml_cli.batch.rate_limit import MAX_WINDOWS, Pace, RateLimiter, RunStopped, TokenForecast

pytestmark = pytest.mark.in_process

START_TIME = datetime(2026, 11, 27, 12, tzinfo=UTC)
START_TIME_PLUS_30_S = START_TIME + timedelta(seconds=30)


@pytest.mark.promise("rate-limits")
@pytest.mark.parametrize("flag", ["--requests-per-minute", "--tokens-per-minute"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1.5", "1e3", "nan", "inf", "9" * 400, "10k", "1/2"])
def test_an_invalid_limit_is_refused(aiml: Aiml, server: Loopback, flag: str, value: str) -> None:
    ended = aiml("chat", "--each", "line", f"{flag}={value}", stdin=b"a\n")
    assert (ended.returncode, server.requests, flag.encode() in ended.stderr) == (2, [], True)


@pytest.mark.promise("rate-limits")
def test_limits_are_refused_for_single_calls_and_read_from_the_environment(aiml: Aiml, server: Loopback) -> None:
    assert aiml("chat", "--requests-per-minute", "5", "hi").returncode == 2
    server.answer_with(HELLO)
    assert aiml("chat", "hi", AIML_REQUESTS_PER_MINUTE="5").returncode == 0
    assert aiml("chat", "--each", "line", stdin=b"a\n", AIML_TOKENS_PER_MINUTE="0").returncode == 2


@pytest.mark.parametrize("flags", [("--requests-per-minute", "60000"), ("--tokens-per-minute", "100000000"), ()])
def test_all_rows_are_sent_within_the_limits(aiml: Aiml, server: Loopback, flags: tuple[str, ...]) -> None:
    server.answer_with(HELLO)
    rows = b"".join(b"%d\n" % number for number in range(60))
    ended = aiml("chat", "--each", "line", "-j", "8", *flags, stdin=rows)
    assert (ended.returncode, len(parse_results(ended.stdout)), len(server.requests)) == (0, 60, 60)


def test_finished_rows_and_rows_of_other_shards_do_not_count_toward_the_limit(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    flags = ["chat", "--each", "line", "--resume-from", "out.jsonl", "{row}"]
    rows = b"".join(b"%d\n" % number for number in range(20))
    assert aiml(*flags, stdin=rows).returncode == 0
    assert aiml(*flags, "--requests-per-minute", "1", stdin=rows + b"new\n").returncode == 0
    shard = ("chat", "--each", "line", "--shard", "1/20", "--requests-per-minute", "1")
    assert (aiml(*shard, stdin=rows).returncode, len(server.requests)) == (0, 22)


@pytest.mark.promise("rate-limits")
@pytest.mark.parametrize(
    ("headers", "unit", "limit", "remaining", "reset_s"),
    [
        *(
            ({"limit-requests": "60", "remaining-requests": "59", "reset-requests": reset}, "requests", 60, 59, seconds)
            for reset, seconds in [
                ("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3s", 3723), ("2m59.56s", 179.56), ("1d", 86400),
                ("17.5", 17.5), ("0", 0), ("0s", 0), (str(int(START_TIME_PLUS_30_S.timestamp())), 30),
                (str(int(START_TIME_PLUS_30_S.timestamp() * 1000)), 30), (START_TIME_PLUS_30_S.isoformat(), 30),
                ("2026-11-27T12:00:30Z", 30), (format_datetime(START_TIME_PLUS_30_S, usegmt=True), 30),
                ("2026-11-27T11:00:00Z", 0), ("5, 5", 5),
            ]
        ),
        ({"limit-tokens": "9000", "remaining-tokens": "0", "reset-tokens": "50ms"}, "tokens", 9000, 0, 0.05),
        ({"limit": "100", "remaining": "7", "reset": "30"}, "requests", 100, 7, 30),
        ({"limit": "100, 100;w=60", "remaining": "7", "reset": "30"}, "requests", 100, 7, 30),
        ({"limit-short": "5", "remaining-short": "4", "reset-short": "1"}, "requests", 5, 4, 1),
        ({"remaining-requests": "3", "reset-requests": "1s"}, "requests", None, 3, 1),
        ({"limit-requests": "many", "remaining-requests": "3", "reset-requests": "1s"}, "requests", None, 3, 1),
    ],
)  # fmt: skip
def test_limits_are_read_in_every_format(
    headers: dict[str, str], unit: str, limit: float | None, remaining: float, reset_s: float
) -> None:
    for prefix in ("x-ratelimit-", "ratelimit-", "x-rate-limit-"):
        (found,) = parse_allowances({prefix + name: value for name, value in headers.items()}, START_TIME)
        assert (found.unit, found.limit, found.remaining) == (unit, limit, remaining)
        assert found.reset_s == pytest.approx(reset_s, abs=0.01)


@pytest.mark.promise("rate-limits")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-11-27T12:00:01Z",
                "anthropic-ratelimit-input-tokens-limit": "50000",
                "anthropic-ratelimit-input-tokens-remaining": "40000",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-27T12:00:12Z",
            },
            [("requests", 50, 49, 1), ("tokens", 50000, 40000, 12)],
        ),
        ({"ratelimit": '"default";r=50;t=30'}, [("requests", None, 50, 30)]),
        (
            {"ratelimit": '"a";r=5;t=3, "tokens";r=99;t=9', "ratelimit-policy": '"a";q=10;w=60, "tokens";q=100;w=60'},
            [("requests", 10, 5, 3), ("tokens", 100, 99, 9)],
        ),
        ({"ratelimit": "limit=100, remaining=50, reset=5"}, [("requests", 100, 50, 5)]),
        ({"ratelimit-policy": "100;w=60"}, []),
        ({"x-ratelimit-remaining-requests": "3"}, []),
        ({"x-ratelimit-remaining": "-3", "x-ratelimit-reset": "1s"}, []),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "soon"}, []),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "-1s"}, []),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "9" * 500}, []),
        ({"content-type": "text/event-stream"}, []),
    ],
)
def test_limits_of_every_vendor_are_read(headers: dict[str, str], expected: list[tuple[str, int, int, int]]) -> None:
    assert [tuple(found)[1:] for found in parse_allowances(headers, START_TIME)] == expected


@given(
    st.dictionaries(
        st.sampled_from(["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"]),
        st.one_of(st.text(), st.from_regex(r"[0-9.,;=rtqw\"msdh -]{0,300}")),
    )
)  # fmt: skip
def test_invalid_headers_do_not_stop_a_run(headers: dict[str, str]) -> None:
    for found in parse_allowances(headers, START_TIME):
        assert found.remaining >= 0
        assert found.reset_s >= 0


def send_all(pace: Pace, count: int, tokens: float = 0.0, now: float = 1000.0) -> list[float]:
    """Return the times at which requests are sent if each is sent as soon as it may be."""
    times = []
    for _ in range(count):
        now = max(now, pace.next_time(tokens))
        pace.take(tokens, now)
        times.append(now)
    return times


@pytest.mark.promise("rate-limits")
@pytest.mark.parametrize(("per_minute", "distance"), [(60, 1), (1, 60), (600, 0.1), (60000, 0.001)])
def test_requests_are_evenly_spaced_and_do_not_start_with_a_burst(per_minute: int, distance: float) -> None:
    times = send_all(Pace(per_minute, None), 200)
    assert [after - before for before, after in pairwise(times)] == pytest.approx([distance] * 199, rel=0.01)


def test_no_burst_follows_a_pause() -> None:
    pace = Pace(60, None)
    send_all(pace, 3)
    assert [round(time - 5000, 1) for time in send_all(pace, 3, now=5000)] == [0, 0.9, 1.9]


def test_the_next_request_waits_until_the_used_tokens_are_available_again() -> None:
    pace = Pace(None, 6000)
    first, second, third = send_all(pace, 3, tokens=500)
    assert (second - first, third - second) == pytest.approx((5, 5))
    pace.correct_tokens(-400)  # the last one took 100
    assert pace.next_time(500) - third == pytest.approx(1)
    pace.correct_tokens(900)
    assert pace.next_time(500) - third == pytest.approx(10)
    assert send_all(Pace(None, 10), 2, tokens=50)[1] == pytest.approx(1300)  # more than a minute has


def test_the_stricter_limit_counts() -> None:
    assert send_all(Pace(60, 60), 2, tokens=3)[1] == pytest.approx(1003)
    assert send_all(Pace(10, 60), 2, tokens=3)[1] == pytest.approx(1006)


def learn(pace: Pace, now: float, **headers: str) -> None:
    """Let a pace learn from headers of a server."""
    named = {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in headers.items()}
    pace.learn(parse_allowances(named, START_TIME), now)


@pytest.mark.promise("rate-limits")
def test_the_second_half_of_the_servers_allowance_is_spread_until_its_reset() -> None:
    pace = Pace(None, None)
    learn(pace, 1000, limit_requests="100", remaining_requests="99", reset_requests="60s")
    assert send_all(pace, 40) == [1000.0] * 40
    learn(pace, 1000, limit_requests="100", remaining_requests="20", reset_requests="40s")
    assert send_all(pace, 4) == pytest.approx([1000, 1002, 1004, 1006])


@pytest.mark.promise("rate-limits")
@pytest.mark.parametrize(("limit", "distance"), [("10", 3), (None, 0)])
def test_nothing_is_sent_before_the_reset_and_no_burst_follows_it(limit: str | None, distance: float) -> None:
    pace = Pace(None, None)
    limits = {"limit_requests": limit} if limit else {}
    learn(pace, 1000, remaining_requests="0", reset_requests="30s", **limits)
    assert send_all(pace, 3) == pytest.approx([1030, 1030 + distance, 1030 + 2 * distance])


def test_a_request_for_more_tokens_than_are_left_waits_for_the_reset() -> None:
    pace = Pace(None, None)
    learn(pace, 1000, limit_tokens="9000", remaining_tokens="500", reset_tokens="20s")
    assert pace.counts_tokens
    assert pace.next_time(501) == pytest.approx(1020)
    assert pace.next_time(499) <= 1000


def test_a_daily_limit_is_not_waited_for() -> None:
    pace = Pace(None, None)
    learn(pace, 1000, remaining_requests="0", reset_requests="8h")
    assert pace.next_time(0) <= 1000


@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_a_long_wait_for_the_servers_limit_is_reported_once(unit: str) -> None:
    notices: Queue[str] = Queue()
    limiter = RateLimiter(2, notices.put)
    limiter.report_response(200, {f"x-ratelimit-remaining-{unit}": "0", f"x-ratelimit-reset-{unit}": "90s"})
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(limiter.start_request, b'{"messages": "Hi"}') for _ in range(2)]
        notice = notices.get(timeout=60)
        limiter.report_response(200, {})  # those that wait look again
        limiter.close()
        assert [isinstance(each.exception(), RunStopped) for each in asked] == [True, True]
    assert re.fullmatch(
        f"the server's limit on {unit} is reached: all workers wait (89|90) s; --{unit}-per-minute sets another rate",
        notice,
    )
    assert notices.empty()


@pytest.mark.parametrize(
    ("limits", "unit", "other"), [((600, None), "requests", "tokens"), ((None, 600), "tokens", "requests")]
)
def test_a_limit_of_the_user_replaces_that_of_the_server(
    limits: tuple[float | None, float | None], unit: str, other: str
) -> None:
    pace = Pace(*limits)
    learn(pace, 1000, **{f"remaining_{unit}": "0", f"reset_{unit}": "60s"})
    assert pace.next_time(1) <= 1000
    learn(pace, 1000, **{f"remaining_{other}": "0", f"reset_{other}": "60s"})
    assert pace.next_time(1) == pytest.approx(1060)


def test_the_number_of_remembered_limits_is_bounded() -> None:
    pace = Pace(None, None)
    for number in range(MAX_WINDOWS + 1):
        learn(pace, 1000, **{f"remaining_{number}": "0", f"reset_{number}": f"{60 + number}s"})
    assert pace.next_time(0) == pytest.approx(1060 + MAX_WINDOWS - 1)


@pytest.mark.parametrize("count", [10**7 + 1, 10**15, 10**300])
def test_an_absurd_token_count_does_not_stop_a_run(count: int) -> None:
    limiter = RateLimiter(1, lambda _: None, tokens_per_minute=10**9)
    for _ in range(3):
        limiter.end_request(limiter.start_request(b'{"messages": "Hi"}'), Usage(count, 3))


@pytest.mark.promise("rate-limits")
def test_after_a_refusal_requests_follow_the_accepted_rate_and_slowly_speed_up() -> None:
    pace = Pace(None, None)
    for _ in range(50):
        send_all(pace, 1)
        pace.note_accepted()
    pace.slow_down(1001, 1001)  # 50 in a second
    times = send_all(pace, 5, now=1002)
    assert [after - before for before, after in pairwise(times)][1:] == pytest.approx([0.02] * 3)
    for _ in range(100):
        pace.note_accepted()
    assert send_all(pace, 3, now=1010) == [1010] * 3


def test_the_distance_grows_up_to_ten_seconds_if_the_server_accepts_nothing() -> None:
    pace, distances = Pace(None, None), []
    for _ in range(12):
        pace.slow_down(1000, 1000)
        first, second = send_all(pace, 2, now=pace.next_time(0) + 1000)
        distances.append(second - first)
    assert distances == sorted(distances)
    assert distances[-1] <= 10


def test_the_tokens_of_a_request_are_forecast_from_earlier_ones() -> None:
    forecast, body = TokenForecast(), b'{"messages": [{"role": "user", "content": "Hello, how are you?"}]}'
    estimate, first = forecast.estimate(body)
    assert first > 1000
    assert forecast.estimate(body[:-1] + b', "max_tokens": 20}')[1] < 60
    for _ in range(40):
        forecast.learn(estimate, Usage(8, 4))
    assert forecast.estimate(body)[1] == pytest.approx(12, rel=0.1)
    forecast.learn(0.0, Usage())
    assert forecast.estimate(body)[1] == pytest.approx(12, rel=0.1)
