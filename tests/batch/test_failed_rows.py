"""Failed rows have an error, and one command sends exactly these and the missing rows again."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.answers import build_json_error, stream_text
from support.loopback import RESET, STREAM, Loopback, chunk, delta, event, http_response, response_object, stream

from aiml_cli.__main__ import main

SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
GOOD_CHAT_ANSWER = stream_text("chat", '{"name": "x"}')
GOOD_RESPONSES_ANSWER = stream_text("responses", '{"name": "x"}')
FAILED_EVENT = {"type": "response.failed", "response": response_object("", "failed", error={"code": "server_error"})}
# What the server does with the second row, and how the run ends.
CHAT_CASES: dict[str, tuple[list[Any], int]] = {
    "rejected": ([build_json_error("bad words")], 10),
    "too large": ([build_json_error("too large", "413 Payload Too Large")], 10),
    "rate limit": ([build_json_error("slow down", "429 Too Many Requests")], 10),
    "server error": ([build_json_error("oh", "500 Internal Server Error")], 10),
    "no answer": ([http_response(b"")], 10),
    "a page": ([http_response(b"<html>log in</html>", "200 OK", "text/html")], 10),
    "reset": ([RESET], 10),
    "closed": ([STREAM + chunk(delta("Half"))], 10),
    "ended early": ([stream(delta("Half"))], 10),
    "error in the stream": ([stream(delta("Half"), event({"error": {"message": "broke"}}))], 10),
    "token limit": ([stream_text("chat", "Half", "length")], 10),
    "content filter": ([stream_text("chat", "Half", "content_filter")], 10),
    "refusal": ([stream(delta(refusal="No."), delta(finish="stop"))], 10),
    "not JSON": ([stream_text("chat", "no JSON")], 10),
    "not the schema": ([stream_text("chat", '{"name": 1}')], 10),
    "refused key": ([build_json_error("who are you", "401 Unauthorized")], 3),
    "no credit": ([build_json_error("pay first", "402 Payment Required")], 3),
}
RESPONSES_CASES: dict[str, tuple[list[Any], int]] = {
    "rejected": ([build_json_error("bad words")], 10),
    "closed": ([STREAM], 10),
    "failed": ([stream(event(FAILED_EVENT))], 10),
    "token limit": ([stream_text("responses", "Half", "length")], 10),
    "refused key": ([build_json_error("who are you", "401 Unauthorized")], 3),
}


@pytest.fixture(autouse=True)
def configure(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BASE_URL": server.url, "RETRIES": "0", "MODEL": "m"}.items():
        monkeypatch.setenv(f"AIML_{name}", value)


def take_prompts(server: Loopback) -> list[str]:
    """Return the text of the last message of each request, and forget the requests."""
    bodies = [request.json for request in server.requests]
    server.requests.clear()
    return [get_text(body.get("messages") or body.get("input")) for body in bodies]


def get_text(messages: Any) -> str:
    content = messages if isinstance(messages, str) else messages[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def find_failed(path: Path) -> list[int]:
    """Return the rows whose last result has an error."""
    last = {result["row"]: result for result in map(json.loads, path.read_text().splitlines())}
    return [row for row, result in last.items() if result["error"]]


@pytest.mark.promise("failed-rows")
@pytest.mark.parametrize("output", ["--resume-from", "-o"])
@pytest.mark.parametrize(
    ("command", "good", "steps", "code"),
    [
        *(pytest.param("chat", GOOD_CHAT_ANSWER, *case, id=f"chat {name}") for name, case in CHAT_CASES.items()),
        *(
            pytest.param("respond", GOOD_RESPONSES_ANSWER, *case, id=f"respond {name}")
            for name, case in RESPONSES_CASES.items()
        ),
    ],
)
def test_rows_that_the_server_failed_to_answer_are_sent_again(
    server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    command: str, good: bytes, steps: list[Any], code: int, output: str,
) -> None:  # fmt: skip
    (tmp_path / "rows").write_text("one\ntwo\nthree\nfour\n")
    call = [command, "--each", "line", "-f", "rows", "-j", "1", "--schema", "name", "{row}"]
    server.answer_with(good)
    server.answer_with(*steps)
    server.answer_with(good)
    assert main([*call, output, "out.jsonl"]) == code
    assert take_prompts(server) == ["one", "two", *(["three", "four"] if code == 10 else [])]
    name = "out.jsonl.part" if code != 10 and output == "-o" else "out.jsonl"
    assert f"--resume-from {name} sends the rows that failed or are missing" in capfd.readouterr().err
    assert find_failed(tmp_path / name) == [2]
    assert main([*call, "--resume-from", name]) == 0
    assert take_prompts(server) == ["two", *([] if code == 10 else ["three", "four"])]
    assert find_failed(tmp_path / name) == []
    assert main([*call, "--resume-from", name]) == 0
    assert take_prompts(server) == []


@pytest.mark.promise("failed-rows")
@pytest.mark.parametrize(
    ("before", "after", "files", "flags", "prompt"),
    [
        pytest.param({"csv": "a,b\n1,x\n2\n3,x\n", "jsonl": '{"a": "1"}\n{"a":\n{"a": "3"}\n'},
                     {"csv": "a,b\n1,x\n2,x\n3,x\n", "jsonl": '{"a": "1"}\n{"a": "2"}\n{"a": "3"}\n'},
                     {}, [], "say {a}", id="broken row"),
        pytest.param({"csv": "a\n1\nSECRET\n3\n", "jsonl": '{"a": "1"}\n{"a": "SECRET"}\n{"a": "3"}\n'},
                     None, {}, ["--allow-secrets"], "say {a}", id="secret"),
        pytest.param({"csv": "a\n1\nnew.txt\n3\n", "jsonl": '{"a": "1"}\n{"a": "new.txt"}\n{"a": "3"}\n'},
                     None, {"new.txt": "2"}, [], "@{a}", id="file"),
        pytest.param({"csv": 'a,b\n1,x\n" ",x\n3,x\n', "jsonl": '{"a": "1"}\n{"a": " "}\n{"a": "3"}\n'},
                     {"csv": "a,b\n1,x\n2,x\n3,x\n", "jsonl": '{"a": "1"}\n{"a": "2"}\n{"a": "3"}\n'},
                     {}, [], "{a}", id="empty prompt"),
        # A column of CSV is never missing.
        pytest.param({"jsonl": '{"a": "1"}\n{"b": "2"}\n{"a": "3"}\n'},
                     {"jsonl": '{"a": "1"}\n{"a": "2"}\n{"a": "3"}\n'},
                     {}, [], "say {a}", id="missing column"),
    ],
)  # fmt: skip
def test_rows_that_could_not_be_sent_are_sent_after_they_are_repaired(
    server: Loopback, tmp_path: Path, before: dict[str, str], after: dict[str, str] | None,
    files: dict[str, str], flags: list[str], prompt: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for row_format, rows in before.items():
        folder = tmp_path / row_format
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name in ("1", "3"):
            (folder / name).write_text(name)
        (folder / "rows").write_text(rows.replace("SECRET", SECRET))
        call = ["chat", "--each", row_format, "-f", "rows", "-j", "1", "--resume-from", "out.jsonl", prompt]
        server.answer_with(stream_text("chat", "Hi"))
        assert main(call) == 10
        assert len(take_prompts(server)) == 2
        assert find_failed(folder / "out.jsonl") == [2]
        (folder / "rows").write_text((after or before)[row_format].replace("SECRET", SECRET))
        for name, text in files.items():
            (folder / name).write_text(text)
        assert main([*call, *flags]) == 0
        assert len(take_prompts(server)) == 1
        assert find_failed(folder / "out.jsonl") == []
        assert main([*call, *flags]) == 0
        assert take_prompts(server) == []
