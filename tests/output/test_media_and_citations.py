"""Sources, probabilities, audio, images and calls of hosted tools are shown, and saved on request."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from support.loopback import Loopback, delta, event, json_response, response_object, stream
from support.pty_run import run_on_pty
from support.run_cli import Aiml

PNG = b"\x89PNG\r\n\x1a\nrest"
PNG_AS_BASE64 = base64.b64encode(PNG).decode()
PAGE = {"url": "https://a.example", "title": "A  page\n", "start_index": 0, "end_index": 2}
CITATION = {"type": "url_citation", "url_citation": PAGE}
STOP = delta(finish="stop")


def build_response(*items: Any, **more: Any) -> bytes:
    """Make a response of some items."""
    return json_response(response_object(output=list(items), **more))


def build_message(text: str = "Hi", **more: Any) -> dict[str, Any]:
    """Make a message item."""
    return {"type": "message", "id": "m", "content": [{"type": "output_text", "text": text, **more}]}


def build_image(data: str = PNG_AS_BASE64) -> dict[str, Any]:
    """Make the item of an image."""
    return {"type": "image_generation_call", "id": "ig", "status": "completed", "result": data}


# ---- sources


def test_each_source_has_one_number_whatever_cites_it(server: Loopback, aiml: Aiml) -> None:
    file = {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 2}
    pages = [{"type": "url_citation", **PAGE}, {"type": "url_citation", **PAGE, "start_index": 1}]
    server.answer_with(build_response(build_message(annotations=[*pages, file, file])))
    result = aiml("respond", "hi")
    assert result.stdout == b"Hi\n"
    assert result.stderr.decode().splitlines() == ["[1] A page  https://a.example", "[2] a.pdf  file-1"]
    found = json.loads(aiml("respond", "hi", "--json").stdout)
    assert [page["start"] for page in found["citations"]] == [0, 1]
    assert [(file["kind"], file["id"]) for file in found["files"]] == [("file_citation", "file-1")]


def test_sources_are_below_the_answer_on_a_terminal(server: Loopback) -> None:
    top = event({"choices": [], "citations": ["https://b.example", "https://a.example"]})
    server.answer_with(stream(delta("Hi", annotations=[CITATION]), STOP, top, top))
    _, _, screen = run_on_pty(server, "chat", "hi")
    rows = [row.rstrip() for row in screen.display[:5]]
    assert rows == ["Hi", "", "[1] A page  https://a.example", "[2] https://b.example", ""]


def test_results_name_the_pages_that_are_cited_by_address(server: Loopback, aiml: Aiml) -> None:
    results = [{"title": "B", "url": "https://b.example"}]
    choices = [{"message": {"content": "Hi"}, "finish_reason": "stop"}]
    server.answer_with(
        json_response({"choices": choices, "citations": ["https://b.example"], "search_results": results})
    )
    assert aiml("chat", "hi").stderr == b"[1] B  https://b.example\n"
    assert aiml("chat", "hi", "-q").stderr == b""


def test_a_source_that_every_chunk_repeats_is_one_line(server: Loopback, aiml: Aiml) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}}], "citations": ["https://b.example"]}
    server.answer_with(stream(event(chunk), event(chunk), STOP))
    assert aiml("chat", "hi", "--format", "jsonl").stdout.count(b'"citation"') == 1


# ---- choices


def test_choices_are_never_mixed(server: Loopback, aiml: Aiml) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}
    pieces = [delta(reasoning_content=str(n), index=n) for n in (1, 0, 1)]
    ends = [
        delta(refusal="No", index=1),
        delta(tool_calls=[call], index=2),
        *(delta(finish="stop", index=n) for n in range(3)),
    ]
    server.answer_with(stream(*pieces, delta("one"), *ends))
    found = json.loads(aiml("chat", "hi", "--json").stdout)
    facts = [(c["text"], c["reasoning"], c["refusal"], len(c["tool_calls"])) for c in found["choices"]]
    assert facts == [("one", "0", None, 0), ("", "11", "No", 0), ("", None, None, 1)]
    told = aiml("chat", "hi").stderr.decode().splitlines()
    assert told[:4] == ["0", "choice 2: reasoning: 11", "choice 2: refusal: No", "choice 3: tool call: look({}) c"]


# ---- probabilities


def build_token_chunk(text: str, logprob: float, index: int = 0) -> bytes:
    """Make a chunk of one token."""
    found = {"token": text, "logprob": logprob, "top_logprobs": [{"token": "or\x1b", "logprob": -2.3026}]}
    return event({"choices": [{"index": index, "delta": {"content": text}, "logprobs": {"content": [found]}}]})


def test_tokens_have_the_color_of_their_probability(server: Loopback) -> None:
    server.answer_with(stream(build_token_chunk("Sure", -0.01), build_token_chunk(" thing", -3), STOP))
    wrote, _, _ = run_on_pty(server, "chat", "hi", "--logprobs")
    assert b"\x1b[32mSure" in wrote
    assert b"\x1b[31m thing\x1b[0m" in wrote
    assert wrote.count(b"green from 90%") == 1


def test_tokens_have_no_color_without_color(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(build_token_chunk("Sure", -0.01), STOP))
    assert aiml("chat", "hi", "--logprobs").stdout == b"Sure\n"
    wrote, _, _ = run_on_pty(server, "chat", "hi", "--logprobs", NO_COLOR="1")
    assert (b"\x1b" in wrote, b"green" in wrote) == (False, False)


def test_a_text_that_differs_from_its_tokens_stays_plain(server: Loopback, aiml: Aiml) -> None:
    halves = [{"token": half, "logprob": -1, "top_logprobs": []} for half in ("\\xf0\\x9f", "\\x8e\\x89")]
    chunk = {"choices": [{"index": 0, "delta": {"content": "\U0001f389"}, "logprobs": {"content": halves}}]}
    server.answer_with(stream(event(chunk), STOP))
    assert aiml("chat", "hi", "--logprobs", "--color", "always").stdout.decode() == "\U0001f389\n"


def test_alternatives_are_listed_with_verbose(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(build_token_chunk("Sure", 0), STOP))
    assert b"'Sure' 100.0%: 'or\\x1b' 10.0%\n" in aiml("chat", "hi", "--top-logprobs", "1", "-v").stderr
    assert aiml("chat", "hi", "--top-logprobs", "1").stderr == b""


# ---- sound


def test_audio_is_saved_and_its_transcript_is_the_answer(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    pieces = [{"id": "a"}, {"transcript": "Hel"}, {"data": "QUI="}, {"data": "Q0", "transcript": "lo"}, {"data": "RF"}]
    server.answer_with(stream(*(delta(audio=piece) for piece in pieces), STOP))
    result = aiml("chat", "hi", "--audio-out", "out.wav")
    assert (result.stdout, result.stderr) == (b"Hello\n", b"aiml: audio saved: out.wav\n")
    assert (tmp_path / "out.wav").read_bytes() == b"ABCDE"
    found = json.loads(aiml("chat", "hi", "--audio-out", "out.wav", "--json").stdout)
    assert (found["text"], found["files"][0]["kind"], found["files"][0]["path"]) == ("Hello", "audio", "out.wav")


def test_audio_of_responses_is_saved_once(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    deltas = [("audio.delta", "QUJD"), ("audio.transcript.delta", "Hi"), ("audio.delta", "REVG")]
    events = [event({"type": f"response.{kind}", "delta": piece}) for kind, piece in deltas]
    part = {"type": "output_audio", "data": "QUJDREVG", "transcript": "Hi"}
    whole = response_object(output=[{"type": "message", "content": [part]}])
    server.answer_with(stream(*events, event({"type": "response.completed", "response": whole})))
    assert aiml("respond", "hi", "--audio-out", "out.wav").stdout == b"Hi\n"
    assert (tmp_path / "out.wav").read_bytes() == b"ABCDEF"


def test_audio_that_is_not_saved_gives_a_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta(audio={"data": "QUJD", "transcript": "Hi"}), STOP))
    assert aiml("chat", "hi").stderr == b"aiml: the answer has audio; --audio-out FILE saves it\n"
    assert aiml("chat", "hi", "-q").stderr == b""


def test_audio_of_an_incomplete_answer_does_not_replace_a_file(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "out.wav").write_bytes(b"old")
    server.answer_with(stream(delta(audio={"data": "QUJD", "transcript": "Hi"}), end=b""))
    result = aiml("chat", "hi", "--audio-out", "out.wav")
    assert (result.returncode, (tmp_path / "out.wav").read_bytes()) == (8, b"old")
    assert [path.read_bytes() for path in tmp_path.glob("out.wav.part*")] == [b"ABC"]


def test_without_audio_no_file_is_created(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream(delta("Hi"), STOP))
    assert aiml("chat", "hi", "--audio-out", "out.wav").returncode == 9
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize(
    "place",
    [
        ["--audio-out", "absent/out.wav"],
        ["--save-dir", "new", "--audio-out", "absent/out.wav"],
        ["--save-dir", "file"],
        ["--audio-out", "a", "-o", "./a"],
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_sent(
    place: list[str], server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert aiml("chat", "hi", *place).returncode == 2
    assert server.requests == []
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


# ---- pictures


def test_images_are_saved_under_unused_numbers(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    items = [build_image(), build_image(base64.b64encode(b"\xff\xd8\xffrest").decode()), build_message()]
    server.answer_with(build_response(*items))
    assert aiml("respond", "hi", "--save-dir", "new").stdout == b"Hi\n"
    again = aiml("respond", "hi", "--save-dir", "new", "--json")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "image-1.png", "image-2.jpg", "image-2.png", "image-3.jpg"
    ]  # fmt: skip
    assert [file["path"] for file in json.loads(again.stdout)["files"]] == ["new/image-2.png", "new/image-3.jpg"]


def test_a_streamed_image_is_saved_once(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    partial = {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"}
    done = {"type": "response.output_item.done", "output_index": 0, "item": build_image()}
    whole = {"type": "response.completed", "response": response_object(output=[build_image()])}
    server.answer_with(stream(event(partial), event(done), event(whole)))
    result = aiml("respond", "hi", "--save-dir", ".")
    assert result.stderr == b"aiml: image generation: completed\naiml: image saved: image-1.png\n"
    assert [path.read_bytes() for path in tmp_path.glob("image-*")] == [PNG]


@pytest.mark.promise("nothing-fetched")
@pytest.mark.parametrize("url", ["https://a.example/x.png", "file:///etc/passwd", "data:image/png,raw", 7])
def test_an_image_at_another_address_is_not_fetched(url: Any, server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream(delta("Hi", images=[{"type": "image_url", "image_url": {"url": url}}]), STOP))
    aiml("chat", "hi", "--save-dir", "new")
    assert not (tmp_path / "new").exists()


def test_images_of_chat_are_read_from_data_addresses(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{PNG_AS_BASE64}"}}
    server.answer_with(stream(delta("Hi", images=[picture]), STOP))
    assert b"--save-dir" in aiml("chat", "hi").stderr
    aiml("chat", "hi", "--save-dir", ".")
    assert (tmp_path / "image-1.png").read_bytes() == PNG


# ---- the server's own tools

CODE_INTERPRETER_CALL = {
    "type": "code_interpreter_call",
    "id": "ci",
    "status": "completed",
    "code": "print(1)\nprint(2)",
    "outputs": [{"type": "logs", "logs": "1\n2\n"}, {"type": "image", "url": f"data:image/png;base64,{PNG_AS_BASE64}"}],
}
TOOLS = [
    ({"type": "web_search_call", "action": {"type": "search", "query": "rivers"}}, "web search: rivers"),
    ({"type": "web_search_call", "status": "failed"}, "web search: failed"),
    ({"type": "file_search_call", "queries": ["a", "b"], "status": "completed"}, "file search: a, b"),
    ({"type": "mcp_call", "server_label": "docs", "name": "find", "arguments": "{}"}, "docs: find({})"),
    ({"type": "mcp_call", "server_label": "d", "name": "f", "error": {"message": "no"}}, "d: f: failed: no"),
    ({"type": "mcp_approval_request", "server_label": "d", "name": "f"}, "d asks for approval: f"),
    ({"type": "mcp_list_tools", "server_label": "d", "tools": [], "error": "down"}, "d: its tools: failed: down"),
    ({"type": "brand_new_call", "status": "completed"}, None),
]


@pytest.mark.parametrize(("item", "line"), TOOLS)
def test_each_call_of_a_hosted_tool_is_one_line(
    item: dict[str, Any], line: str | None, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(build_response(item, build_message()))
    told = aiml("respond", "hi").stderr.decode()
    assert told == (f"aiml: {line}\n" if line else "")


def test_code_of_hosted_tools_is_one_line_or_complete_with_verbose(
    server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    server.answer_with(build_response(CODE_INTERPRETER_CALL, build_message()))
    lines = aiml("respond", "hi", "--save-dir", ".").stderr.decode().splitlines()
    assert lines[:2] == ["aiml: code interpreter: print(1) print(2)", "aiml: code interpreter wrote: 1 2"]
    assert (tmp_path / "image-1.png").read_bytes() == PNG
    assert b"code interpreter: print(1)\nprint(2)\n" in aiml("respond", "hi", "-v").stderr
    events = [json.loads(line) for line in aiml("respond", "hi", "--format", "jsonl").stdout.splitlines()]
    assert {"type": "notice", "text": "code interpreter: print(1)\nprint(2)"} in events


def test_unknown_items_are_kept_as_the_server_sent_them(server: Loopback, aiml: Aiml) -> None:
    unknown = event({"type": "response.brand_new.delta", "delta": "x"})
    server.answer_with(stream(unknown, event({"type": "response.completed", "response": response_object()})))
    assert unknown in aiml("respond", "hi", "--format", "raw").stdout
    assert aiml("respond", "hi").stderr == b""
