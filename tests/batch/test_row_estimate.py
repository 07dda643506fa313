"""--estimate shows the rows, tokens and price of a run, and sends nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, queue_answers, stream_text
from support.catalogs import PRICES, store_catalog
from support.loopback import Loopback
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.batch.row_estimate import _format_usd
from aiml_cli.catalog.pricing import bound_tokens

ENDPOINTS = {"chat": "chat", "respond": "responses"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d4944415478da63fcffff3f030005fe02fe"
    "dccc59e70000000049454e44ae426082".replace(" ", "")
)
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
Estimate = Callable[..., Any]


@pytest.fixture(autouse=True)
def configure(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BASE_URL": server.url, "RETRIES": "0", "MODEL": "m"}.items():
        monkeypatch.setenv(f"AIML_{name}", value)


@pytest.fixture
def estimate(server: Loopback, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Estimate:
    """Return a function that estimates a run over rows in a file, and returns the object; nothing may be sent."""

    def estimate(rows: str, *arguments: str, row_format: str = "line", command: str = "chat", code: int = 0) -> Any:
        (tmp_path / "rows").write_text(rows)
        before = len(server.requests)
        assert main([command, "--each", row_format, "-f", "rows", "--estimate", "--json", *arguments]) == code
        assert len(server.requests) == before
        return json.loads(capfd.readouterr().out)

    return estimate


@pytest.mark.promise("estimate")
@pytest.mark.parametrize("command", ENDPOINTS)
@pytest.mark.parametrize(
    ("row_format", "rows", "arguments"),
    [
        ("line", "a\n\nbb\n", ["Classify {row}"]),
        ("line", "a\nüü 名字\n", []),
        ("csv", "a,b\n1,2\n3,4\n", ["On {a} and {b}", "--max-tokens", "20"]),
        ("jsonl", '{"a": "long text, really"}\n[1]\n', ["x {row}", "--system", "Be brief.", "--temperature", "0"]),
        ("line", "a\nb\n", ["{row}", "--schema", "name, tags list of str"]),
        ("line", "a\nb\n", ["{row}", "--schema", "name, tags list of str", "-O", "x.y=[1,2]"]),
        ("line", "a\nb\nc\n", ["about {row}", "@notes.txt"]),
        ("line", "a\nb\nc\n", ["about {row}", "@notes.txt", "@dot.png"]),
        ("line", "dot.png\nnotes.txt\n", ["what is @{row}"]),
        ("line", "a\n", ["{row}", "--messages", "before.json"]),
        ("nul", "a\nb\0c", ["-t", "@greet.toml"]),
    ],
)
def test_an_estimate_counts_the_tokens_of_the_requests_that_the_run_sends(
    estimate: Estimate, server: Loopback, tmp_path: Path, command: str, row_format: str, rows: str, arguments: list[str]
) -> None:
    (tmp_path / "notes.txt").write_text("Notes.\n" * 9)
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "before.json").write_text('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]')
    (tmp_path / "greet.toml").write_text('prompt = "Greet {who}, {row}"\n[defaults]\nwho = "X"\n')
    queue_answers(server, stream_text(ENDPOINTS[command], '{"name": "x", "tags": []}'))
    found = estimate(rows, *arguments, row_format=row_format, command=command)
    assert main([command, "--each", row_format, "-f", "rows", "-o", "out", *arguments]) == 0
    counts = [bound_tokens(request.json) for request in server.requests]
    assert (found["rows"], found["to_ask"], found["failed"]) == (len(counts), len(counts), 0)
    assert abs(found["input_tokens"] - sum(count.input_tokens for count in counts)) <= 2 * len(counts)
    assert found["output_tokens_at_most"] == (40 if "--max-tokens" in arguments else None)


@pytest.mark.promise("estimate")
def test_no_server_is_contacted_and_no_key_is_needed(
    server: Loopback, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows").write_text("a\nb\n")
    command = ["chat", "--each", "line", "-f", "rows", "--estimate", "--max-tokens", "9"]
    assert main(command) == 0
    monkeypatch.delenv("AIML_BASE_URL")  # the vendor's server, which needs a key
    assert main(command) == 0
    assert server.connections == 0
    assert "unknown: no catalog of api.aimlapi.com is stored; aiml models fetches it" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "entry", "expected"),
    [
        ([], {"pricing": PRICES}, {"input_cost_usd": 0.00026, "cost_usd_at_most": None, "output_tokens_at_most": None}),
        (["--max-tokens", "100"], {"pricing": PRICES},
         {"input_cost_usd": 0.00026, "cost_usd_at_most": 0.02026, "output_limited_by": "request"}),
        ([], {"pricing": PRICES, "info": {"outputMax": 1000}},
         {"cost_usd_at_most": 0.20026, "output_tokens_at_most": 2000, "output_limited_by": "model"}),
        (["-n", "3"], {"pricing": PRICES, "info": {"outputMax": 1000}}, {"output_tokens_at_most": 6000}),
        (["-n", "3", "--max-tokens", "10"], {"pricing": PRICES}, {"output_tokens_at_most": 60}),
        (["--schema-retries", "1", "--auto-continue", "2", "--max-tokens", "10"], {"pricing": PRICES},
         {"requests_per_row": 4, "input_cost_usd": 0.00026, "output_tokens_at_most": 80, "cost_usd_at_most": 0.00904}),
        (["--max-tokens", "100"], {}, {"input_cost_usd": None, "cost_usd_at_most": None,
                                       "cost_unknown": "the catalog has no fixed price for m"}),
        (["-m", "other"], {"pricing": PRICES}, {"cost_unknown": "the catalog has no fixed price for other"}),
        (["-m", "m,other"], {"pricing": PRICES}, {"model": "other", "input_cost_usd": None}),
        (["@paper.pdf"], {"pricing": PRICES}, {"uncounted": "a document", "cost_unknown": "it includes a document"}),
    ],
)  # fmt: skip
def test_the_price_follows_from_the_tokens_and_the_stored_catalog(
    estimate: Estimate, server: Loopback, tmp_path: Path, arguments: list[str], entry: Any, expected: dict[str, Any]
) -> None:
    store_catalog(server, **entry)
    (tmp_path / "paper.pdf").write_bytes(PDF)
    found = estimate("aaaaaaaaa\nbbbbbbbbb\n", *arguments)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("command", ENDPOINTS)
def test_rows_that_cannot_be_sent_are_counted_and_give_exit_code_10(
    estimate: Estimate, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    rows = "a,b\n1,2\nshort\n" + f'3,"{SECRET}"\n' + '"open,4\n'
    found = estimate(rows, "{a}", row_format="csv", command=command, code=10)
    assert (found["rows"], found["failed"], found["to_ask"]) == (4, 3, 1)
    assert [error["row"] for error in found["errors"]] == [2, 3, 4]
    assert "not sent: " in found["errors"][1]["message"]
    assert "--allow-secrets" in found["errors"][1]["hint"]
    assert SECRET not in str(found)


def test_only_the_first_of_many_errors_are_shown(estimate: Estimate, capfd: pytest.CaptureFixture[str]) -> None:
    found = estimate("{\n" * 1000 + "1\n", row_format="jsonl", code=10)
    assert (found["failed"], found["to_ask"], len(found["errors"])) == (1000, 1, 5)
    assert main(["chat", "--each", "jsonl", "-f", "rows", "--estimate"]) == 10
    out, err = capfd.readouterr()
    assert "cannot be sent\t1,000\nto send\t1\n" in out
    assert (err.count("cannot be sent: the row is not JSON"), err.count("\n")) == (5, 6)
    assert err.endswith("aiml: 1,000 of 1,001 rows cannot be sent\n")


@pytest.mark.parametrize(
    ("rows", "arguments", "row_format"),
    [
        ("a\n", ["{nme}"], "csv"),
        ("a,a\n", ["x"], "csv"),
        ("x\n", ["--shard", "3/2"], "line"),
        ("x\n", ["--schema", "{"], "line"),
        ("x\n", ["--resume-from", "rows"], "line"),
        ("x\n", ["@none.txt"], "line"),
        ("x\n", ["--dry-run"], "line"),
        ("x\n", ["--as", "curl"], "line"),
    ],
)
def test_an_input_that_a_run_would_refuse_is_refused(
    server: Loopback,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    rows: str,
    arguments: list[str],
    row_format: str,
) -> None:
    (tmp_path / "rows").write_text(rows)
    assert main(["chat", "--each", row_format, "-f", "rows", "--estimate", *arguments]) == 2
    assert (capfd.readouterr().out, server.connections) == ("", 0)


@pytest.mark.parametrize(("limit", "code", "rows_within"), [("1", 0, None), ("0.0306", 0, None), ("0.0303", 10, 2),
                                                       ("0.001", 10, 0)])  # fmt: skip
def test_an_estimate_says_after_how_many_rows_max_cost_may_end_the_run(
    estimate: Estimate, server: Loopback, limit: str, code: int, rows_within: int | None
) -> None:
    store_catalog(server, pricing=PRICES)
    arguments = ["--max-tokens", "100", "--max-cost", limit]
    found = estimate("aaaaaaaaa\n" * 3, *arguments, code=code)
    assert found["rows_within_max_cost"] == rows_within
    queue_answers(server, stream_text("chat", "Hi"))  # an answer of unknown cost counts as the most
    assert main(["chat", "--each", "line", "-f", "rows", "-j", "1", "-o", "out", *arguments]) == code
    assert len(server.requests) == (3 if rows_within is None else rows_within)


def test_max_cost_without_a_price_is_refused_as_in_a_run(estimate: Estimate, server: Loopback) -> None:
    store_catalog(server)
    found = estimate("a\n", "--max-cost", "1", code=2)
    assert (found["max_cost"], found["rows_within_max_cost"], found["rows"]) == (1, None, 1)


@pytest.mark.promise("estimate")
def test_only_remaining_rows_are_counted_and_the_result_file_is_not_changed(
    estimate: Estimate, server: Loopback, tmp_path: Path
) -> None:
    queue_answers(server, stream_text("chat", "Hi"), build_json_error("no"), stream_text("chat", "Hi"))
    (tmp_path / "rows").write_text("a\nb\nc\n")
    out = tmp_path / "out.jsonl"
    go_on = ["--resume-from", "out.jsonl"]
    assert (estimate("a\nb\nc\n", *go_on)["to_ask"], out.exists()) == (3, False)
    assert main(["chat", "--each", "line", "-f", "rows", "-j", "1", *go_on]) == 10
    out.write_bytes(out.read_bytes() + b'{"row": 4, "ha')
    before = out.read_bytes()
    found = estimate("a\nb\nc\nd\n", *go_on)
    assert (found["rows"], found["done"], found["to_ask"], out.read_bytes()) == (4, 2, 2, before)
    assert estimate("a\nb\nc\nd\n", *go_on, "--temperature", "1")["done"] == 0


def test_results_in_csv_are_read_too(estimate: Estimate, server: Loopback, tmp_path: Path) -> None:
    queue_answers(server, stream_text("chat", "Hi"))
    (tmp_path / "rows").write_text("a\nb\n")
    go_on = ["--format", "csv", "--resume-from", "out.csv"]
    assert main(["chat", "--each", "line", "-f", "rows", *go_on]) == 0
    before = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "rows").write_text("a\nb\nc\n")
    assert main(["chat", "--each", "line", "-f", "rows", "--estimate", "-q", *go_on]) == 0
    assert (tmp_path / "out.csv").read_bytes() == before


def test_the_estimates_of_all_shards_add_up(estimate: Estimate) -> None:
    rows = "".join(f"row {number}\n" for number in range(50))
    whole, parts = estimate(rows), [estimate(rows, "--shard", f"{part}/3") for part in (1, 2, 3)]
    for name in ("rows", "to_ask", "input_tokens"):
        assert whole[name] == sum(part[name] for part in parts)


def test_no_output_file_is_created_or_changed(estimate: Estimate, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\n")
    (tmp_path / "out.jsonl").write_text("mine")
    assert main(["chat", "--each", "line", "-f", "rows", "--estimate", "-o", "out.jsonl"]) == 0
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_a_pipe_gets_tabs_and_the_demo_has_its_own_prices(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, server: Loopback
) -> None:
    (tmp_path / "rows").write_text("abc\nabc\n")
    assert main(["chat", "--demo", "--each", "line", "-f", "rows", "--estimate", "--max-tokens", "10"]) == 0
    out, err = capfd.readouterr()
    lines = dict(line.split("\t") for line in out.splitlines())
    assert (lines["rows"], lines["tokens out"], lines["model"], err) == ("2", "at most 20", "demo/echo", "")
    assert lines["price"].startswith("about $0.0000")
    assert server.connections == 0


def test_no_rows_cost_nothing(estimate: Estimate) -> None:
    found = estimate("\n", "--max-tokens", "10", "--max-cost", "1")
    assert (found["rows"], found["input_tokens"], found["output_tokens_at_most"]) == (0, 0, 0)


def test_a_signal_prints_the_estimate_of_the_rows_so_far(server: Loopback) -> None:
    command = build_command("chat", "--each", "line", "--estimate", "--json", "{row}")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env={**os.environ}, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        process.stdin.write(b"a\n" * 75_000)  # more than pipe and program hold unread
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    found = json.loads(out)
    assert (process.returncode, found["complete"], err) == (130, False, b"aiml: interrupted\n")
    assert 0 < found["to_ask"] == found["rows"] <= 75_000


@pytest.mark.parametrize("row", ["The product works.", "{"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, row: str) -> None:
    (tmp_path / "rows").write_text(f"{row}\n" * 30_000)
    script = (
        "import gc, sys; gc.disable(); from aiml_cli.__main__ import main; code = main(sys.argv[1:])\n"
        "print(code, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    arguments = ["chat", "--each", "jsonl" if row == "{" else "line", "-f", "rows", "--estimate", "{row}"]
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=True)
    code, kilobytes = map(int, ended.stdout.splitlines()[-1].split())
    assert code == (10 if row == "{" else 0)
    assert kilobytes < 60_000


@pytest.mark.parametrize(
    ("amount", "is_rounded_up", "text"),
    [
        (0.0, True, "$0"), (0.0, False, "$0"), (0.0123, False, "$0.012"), (0.0121, True, "$0.013"),
        (0.012, True, "$0.012"), (0.099999, True, "$0.1"), (1.001, True, "$1.01"), (1234.5, False, "$1,234.50"),
        (0.00000012, True, "$0.00000012"), (0.999, True, "$1"),
    ],
)  # fmt: skip
def test_an_upper_limit_of_the_price_is_rounded_up(amount: float, is_rounded_up: bool, text: str) -> None:
    assert _format_usd(amount, up=is_rounded_up) == text
