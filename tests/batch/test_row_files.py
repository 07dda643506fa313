"""`@{path}` among the words attaches the file that a row names: regular files only, each checked with its row."""

import base64
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.answers import get_last_messages
from support.loopback import HELLO, HELLO_RESPONSE, Loopback
from support.run_cli import IGNORES_PERMISSIONS, Aiml, build_permission_prefix

from aiml_cli.__main__ import main
from aiml_cli.store.model_cache import CachedModels, save_models

PNG, PDF, WAV = b"\x89PNG\r\n\x1a\n\0\0", b"%PDF-1.4\n", b"RIFF\x24\0\0\0WAVEfmt "
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
ANSWERS_BY_COMMAND = {"chat": HELLO, "respond": HELLO_RESPONSE}
FILE_PROMPT = '<file name="{}">\n{}\n</file>\n\n{}'
Run = Callable[..., list[Any]]


@pytest.fixture(params=["chat", "respond"])
def endpoint(request: pytest.FixtureRequest, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    server.answer_with(ANSWERS_BY_COMMAND[request.param])
    return str(request.param)


@pytest.fixture
def run(endpoint: str, empty_home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return a function that sends rows, and returns their results."""

    def send_rows(rows: str | bytes, *arguments: str, row_format: str = "line", code: int = 0) -> list[Any]:
        (empty_home / "rows").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        assert main([endpoint, "--each", row_format, "-f", "rows", "-j", "1", *arguments]) == code
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    return send_rows


def list_parts(server: Loopback) -> list[str]:
    """Return the parts of the last message: texts, and the first bytes of files."""
    messages = get_last_messages(server)
    content = messages if isinstance(messages, str) else messages[-1]["content"]
    return [content] if isinstance(content, str) else [part_to_text(part) for part in content]


def part_to_text(part: dict[str, Any]) -> str:
    if "text" in part:
        return str(part["text"])
    image = part.get("image_url", {})
    data = image["url"] if isinstance(image, dict) and image else image
    data = data or part.get("file_data") or part.get("file", part.get("input_audio", {}))
    data = data if isinstance(data, str) else data.get("file_data", data.get("data"))
    return base64.b64decode(data.rpartition(",")[2]).decode("latin-1")


NAMES = [
    "a.txt", "two words.txt", " blank at its end ", "ü-名.txt", "sub/../a.txt", "./a.txt", "-", "*.txt", "a[1].txt",
    "'quoted'", "{row}", "@at", "http:", "no extension", "-f",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_with_any_characters_attaches_the_file(
    name: str, run: Run, server: Loopback, empty_home: Path
) -> None:
    (empty_home / "sub").mkdir()
    (empty_home / name).write_text("inside")
    result = run(f"{name}\n", "about @{row}: say more")
    assert list_parts(server) == [FILE_PROMPT.format(name, "inside", f"about {name}: say more")]
    assert (result[0]["input"], result[0]["error"]) == (name, None)


@pytest.mark.parametrize("name", ["{tmp}/a.txt", "~/a.txt", "link.txt", "sub/../../{folder}/a.txt", " a.txt"])
def test_a_path_in_a_row_means_the_same_as_one_typed_after_an_at_sign(
    name: str, run: Run, server: Loopback, empty_home: Path
) -> None:
    (empty_home / "sub").mkdir()
    for path in (empty_home / "a.txt", Path.home() / "a.txt"):
        path.write_text("inside")
    (empty_home / "link.txt").symlink_to("a.txt")
    run(f"{name.format(tmp=empty_home, folder=empty_home.name)}\n", "@{row}", "?")
    assert "\ninside\n</file>" in list_parts(server)[0]


UNREADABLE_FILES = {
    "missing": ("none.txt", "none.txt: no such file"),
    "folder": ("folder", "this is a folder"),
    "this folder": (".", "this is a folder"),
    "pipe": ("pipe", "not a regular file"),
    "link to a pipe": ("to-pipe", "not a regular file"),
    "socket": ("socket", "not a regular file"),
    "device": ("/dev/zero", "not a regular file"),
    "terminal": ("/dev/tty", "not a regular file"),
    "dangling link": ("dangling", "no such file"),
    "loop of links": ("loop", "no such file"),
    "URL": ("http://127.0.0.1:9/x.png", "a row cannot name a URL"),
    "image URL": ("HTTPS://127.0.0.1:9/x.png", "a row cannot name a URL"),
    "raw URL": ("raw:http://127.0.0.1:9/x", "a row cannot name a URL"),
    "file URL": ("file:///etc/hostname", "no such file"),
    "glob": ("*.png", "*.png: no such file"),
    "stdin": ("-", "-: no such file"),
    "unknown user": ("~nobody-here/a", "no such file"),
    "below a file": ("good.txt/a", "no such file"),
    "long": ("x" * 5000, "x…: no such file"),
    "archive": ("a.zip", "a zip archive"),
    "binary": ("binary", "binary, not text"),
    "huge": ("huge", "more than 64 MiB"),
    "large image": ("large.png", "at most 32 MiB can be attached"),
    "token": ("token.txt", "not sent: token.txt, line 2"),
}


@pytest.mark.promise("row-files")
@pytest.mark.parametrize("kind", UNREADABLE_FILES)
def test_a_file_that_cannot_be_attached_is_an_error_of_its_row(
    kind: str, run: Run, server: Loopback, empty_home: Path
) -> None:
    name, words = UNREADABLE_FILES[kind]
    (empty_home / "good.txt").write_text("good")
    (empty_home / "folder").mkdir()
    os.mkfifo(empty_home / "pipe")
    (empty_home / "to-pipe").symlink_to("pipe")
    (empty_home / "dangling").symlink_to("nowhere")
    (empty_home / "loop").symlink_to("loop")
    (empty_home / "a.zip").write_bytes(b"PK\x03\x04rest")
    (empty_home / "binary").write_bytes(b"\0\1\2\3" * 9)
    (empty_home / "token.txt").write_text(f"first\ntoken = {TOKEN}\n")
    for large, head, size in (("huge", b"text", 1 << 40), ("large.png", PNG, 33 << 20)):
        (empty_home / large).write_bytes(head)
        os.truncate(empty_home / large, size)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        broken, good = run(f"{name}\ngood.txt\n", "sum up @{row}", code=10)
    assert (words in broken["error"]["message"], len(broken["error"]["message"]) < 400) == (True, True)
    assert (broken["hash"], broken["error"]["exit_code"], broken["row"], good["error"]) == (None, 2, 1, None)
    assert (len(server.requests), TOKEN in json.dumps(broken)) == (1, False)


def test_a_row_without_a_file_name_is_an_error(run: Run, server: Loopback) -> None:
    rows = 'path,id\n,1\n"  ",2\n'
    assert [row["error"]["message"] for row in run(rows, "x @{path}", row_format="csv", code=10)] == [
        "the row does not name a file"
    ] * 2
    Path("null").write_text("for a file named -")
    (row,) = run('{"path": null}\n', "x @{path}", row_format="jsonl", code=10)
    assert row["error"]["message"] == "the row does not name a file"
    assert server.requests == []


def test_a_zero_byte_in_a_name_is_an_error(run: Run, server: Loopback) -> None:
    results = run('{"path": "/etc/hostname\\u0000.png"}\n', "x @{path}", row_format="jsonl", code=10)
    assert "no such file" in results[0]["error"]["message"]
    assert server.requests == []


@pytest.mark.skipif(IGNORES_PERMISSIONS, reason="root reads everything, and there is no setpriv")
def test_a_file_without_read_permission_is_an_error(server: Loopback, aiml: Aiml, empty_home: Path) -> None:
    (empty_home / "closed").write_text("x")
    (empty_home / "closed").chmod(0)
    (empty_home / "rows").write_text("closed\n")
    done = aiml("chat", "--each", "line", "-f", "rows", "x @{row}", before=build_permission_prefix())
    assert (done.returncode, server.requests) == (10, [])
    assert "Permission denied" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("data", [PNG, PDF, WAV], ids=["PNG", "PDF", "WAV"])
@pytest.mark.parametrize("words", ["look: @{row}", "@{row}"])
def test_a_binary_file_is_sent_as_a_part_of_its_type(
    data: bytes, words: str, run: Run, server: Loopback, empty_home: Path
) -> None:
    (empty_home / "file").write_bytes(data)
    run("file\n", words)
    assert list_parts(server) == [data.decode("latin-1"), *(["look: file"] if words != "@{row}" else [])]


def test_files_for_all_rows_come_before_files_of_a_row(run: Run, server: Loopback, empty_home: Path) -> None:
    for name, text in (("rules.txt", "rules"), ("a.txt", "a"), ("b.png", PNG.decode("latin-1"))):
        (empty_home / name).write_text(text, "latin-1")
    run("x,y\na.txt,b.png\n", "by @rules.txt compare @{x} and @{y}, @{x}", row_format="csv")
    first = '<file name="rules.txt">\nrules\n</file>\n\n<file name="a.txt">\na\n</file>'
    assert list_parts(server) == [first, PNG.decode("latin-1"), "by rules.txt compare a.txt and b.png, a.txt"]


PROMPT_CASES = [
    (["@{row}"], True, ""),
    (["see @{row}."], True, "see a.txt."),
    (["see", "@{", "row", "}", "now"], True, "see a.txt now"),
    (["(@{row})"], True, "(a.txt)"),
    (["'@{row}'"], True, "'a.txt'"),
    (['@"{row}" now'], True, "a.txt now"),
    (["one\n@{row}"], True, "one\na.txt"),
    (["@{stdin} now"], True, "a.txt now"),
    (["@./{row} now"], True, "./a.txt now"),
    (["@{row}, {row}"], True, "a.txt, a.txt"),
    (["@@{row} now"], False, "@a.txt now"),
    (["(@@{row})"], False, "(@a.txt)"),
    (["me@{row}"], False, "me@a.txt"),
    (["{row}@{row}.com"], False, "a.txt@a.txt.com"),
    (["@{{row}} {row}"], False, "@{row} a.txt"),
    (["@${row}"], False, "@$a.txt"),
    (['@{"a": 1} {row}'], False, '@{"a": 1} a.txt'),
    (["@app.get('/{row}')"], False, "@app.get('/a.txt')"),
]


@pytest.mark.parametrize(
    ("words", "is_attached", "text"), PROMPT_CASES, ids=[" ".join(words) for words, *_ in PROMPT_CASES]
)
def test_an_at_sign_before_a_column_attaches_a_file_as_it_does_before_a_path(
    words: list[str], is_attached: bool, text: str, run: Run, server: Loopback, empty_home: Path
) -> None:
    (empty_home / "a.txt").write_text("inside")
    run("a.txt\n", *words)
    file, end, rest = list_parts(server)[0].rpartition("</file>")
    assert ("\ninside\n" in file, bool(end), rest.strip()) == (is_attached, is_attached, text)


def test_names_may_contain_columns_with_spaces_and_be_only_partly_from_a_column(
    run: Run, server: Loopback, empty_home: Path
) -> None:
    (empty_home / "img").mkdir()
    (empty_home / "img/7.txt").write_text("seven")
    run("File Name,id\nimg/7.txt,7\n", "see @{File Name}", row_format="csv")
    run("File Name,id\nimg/7.txt,7\n", "see @{ File", "Name }", row_format="csv")
    run("File Name,id\nnone,7\n", "see @img/{id}.txt", row_format="csv")
    expected = FILE_PROMPT.format("img/7.txt", "seven", "see img/7.txt").encode()
    assert [json.dumps(expected.decode())[1:-1].encode() in request.body for request in server.requests] == [True] * 3


@pytest.mark.parametrize("words", ["@{pth}", "see @{Path}, please", "@img/{pth}.png", "@{row}", "@{stdin}"])
def test_an_unknown_column_is_an_error_before_the_first_request(words: str, run: Run, server: Loopback) -> None:
    assert run("path,id\na.txt,7\n", words, row_format="csv", code=2) == []
    assert server.requests == []


def test_json_lines_name_files_in_properties_or_as_plain_strings(run: Run, server: Loopback, empty_home: Path) -> None:
    (empty_home / "a.txt").write_text("inside")
    assert [row["error"] for row in run('"a.txt"\n', "@{row} x", row_format="jsonl")] == [None]
    assert [row["error"] for row in run('{"path": "a.txt"}\n', "@{path} x", row_format="jsonl")] == [None]
    failed = run('{"path": "a.txt"}\n["a.txt"]\n{"pth": 1}\nnull\n', "@{path} @{row}", row_format="jsonl", code=10)
    assert [row["error"]["exit_code"] for row in failed] == [2] * 4
    assert len(server.requests) == 2


@pytest.mark.promise("row-files", "mentions")
def test_the_text_of_a_row_is_never_a_reference_to_a_file(run: Run, server: Loopback, empty_home: Path) -> None:
    (empty_home / "secret").write_text("hidden")
    run("@secret\n@{row}\n@{secret}\n", "{row} and @@{row}")
    run("n,path\n@{path},secret\n", "about {n}", row_format="csv")
    assert [b"hidden" in request.body for request in server.requests] == [False] * 4


def test_a_secret_in_a_file_is_sent_with_allow_secrets(run: Run, server: Loopback, empty_home: Path) -> None:
    (empty_home / "token.txt").write_text(f"token = {TOKEN}\n")
    run("token.txt\n", "see @{row}", "--allow-secrets")
    assert TOKEN.encode() in server.requests[0].body


def test_a_row_is_sent_again_only_if_its_file_changed(run: Run, server: Loopback, empty_home: Path) -> None:
    def resume(*arguments: str, code: int = 0) -> int:
        before = len(server.requests)
        run("a.txt\nb.png\n", "see @{row}", "--resume-from", "out.jsonl", *arguments, code=code)
        return len(server.requests) - before

    (empty_home / "a.txt").write_text("one")
    (empty_home / "b.png").write_bytes(PNG)
    assert (resume(), resume()) == (2, 0)
    (empty_home / "a.txt").write_text("two")
    assert (resume(), resume()) == (1, 0)
    (empty_home / "b.png").write_bytes(PNG + b"more")
    assert (resume(), resume()) == (1, 0)
    (empty_home / "a.txt").unlink()
    assert (resume(code=10), resume(code=10)) == (0, 0)
    (empty_home / "a.txt").write_text("one")
    assert resume() == 0


def test_a_file_is_read_once_and_only_when_its_row_is_sent(
    run: Run, server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = list[tuple[str, int]](), os.open

    def watch(path: Any, *arguments: Any, **keywords: Any) -> int:
        if str(path).endswith(".png"):
            opened.append((Path(path).name, len(server.requests)))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", watch)
    for name in "abc":
        (empty_home / f"{name}.png").write_bytes(PNG)
    opened.clear()
    run("a.png\nb.png\nc.png\n", "see @{row}", "--resume-from", "out.jsonl")
    assert opened == [("a.png", 0), ("b.png", 1), ("c.png", 2)]


def test_the_hash_of_a_row_without_files_is_stable(run: Run, server: Loopback) -> None:
    hashes = [row["hash"] for row in run("a\nb\n", "x {row} @@{row}")]
    assert hashes == [row["hash"] for row in run("a\nb\n", "x {row} @@{row}")]


def test_a_loader_converts_the_file_of_a_row(run: Run, server: Loopback, empty_home: Path) -> None:
    config = empty_home / "xdg_config_home/aiml/config.toml"
    config.parent.mkdir()
    config.write_text('[loaders]\ndocx = ["sed", "s/^/text of /", "{}"]\nodt = ["false", "{}"]\n')
    (empty_home / "a.docx").write_text("it")
    (empty_home / "b.odt").write_text("it")
    os.mkfifo(empty_home / "c.docx")
    results = run("a.docx\nb.odt\nc.docx\n", "see @{row}", code=10)
    assert list_parts(server) == [FILE_PROMPT.format("a.docx", "text of it", "see a.docx")]
    assert [bool(row["error"]) for row in results] == [False, True, True]


@pytest.mark.promise("row-files", "mentions")
@pytest.mark.parametrize(
    ("prompt", "words", "is_attached"),
    [
        ("See @{row}", [], False),
        ("See @{row}: {words}", ["now"], False),
        ("See {words}", ["@{row}"], True),
        ("See {prompt}", ["@./{row}"], True),
        ("See @{words}", ["{row}"], False),
        ("See @{prompt}", [], False),
        ("See {{words}} {x}", ["{row}"], False),
        ("See {x}", ["@@{row}"], False),
        ("See @@{row}", ["@@@{row}"], False),
        ("Sum up.", ["@{row}", "now"], True),
    ],
)
def test_a_template_cannot_name_the_file_of_a_row_but_typed_words_can(
    prompt: str, words: list[str], is_attached: bool, run: Run, server: Loopback, empty_home: Path
) -> None:
    folder = empty_home / "xdg_config_home/aiml/templates"
    folder.mkdir(parents=True)
    (folder / "t.toml").write_text(f'prompt = "{prompt}"\n[defaults]\nx = "@{{row}}"\n')
    (empty_home / "a.txt").write_text("inside")
    run("a.txt\n", "-t", "t", *words, "-P", "x=@@{row}") if "{x}" in prompt else run("a.txt\n", "-t", "t", *words)
    assert (b"inside" in server.requests[0].body) == is_attached


@pytest.mark.parametrize("how", [["-t", "t"], ["--edit"]])
@pytest.mark.parametrize("words", ["@rules.txt", "by @rules.txt", "by @rules.txt and @{row}"])
def test_a_file_given_with_a_template_is_sent_with_every_row(
    how: list[str], words: str, run: Run, server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = empty_home / "xdg_config_home/aiml/templates"
    folder.mkdir(parents=True)
    (folder / "t.toml").write_text('prompt = "Do {prompt} with {row}"\n')
    monkeypatch.setenv("EDITOR", "true")
    for name in ("rules.txt", "a.txt", "b.txt"):
        (empty_home / name).write_text(f"text of {name}")
    results = run("a.txt\nb.txt\n", *how, words)
    assert [result["input"] for result in results] == ["a.txt", "b.txt"]
    assert all(b"text of rules.txt" in request.body for request in server.requests)
    assert all((b"text of b.txt" in request.body) == ("{row}" in words) for request in server.requests[1:])


def test_words_from_the_editor_attach_files_too(
    run: Run, server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_home / "a.txt").write_text("inside")
    monkeypatch.setenv("EDITOR", "true")
    run("a.txt\n", "--edit", "see @{row}")
    assert list_parts(server) == [FILE_PROMPT.format("a.txt", "inside", "see a.txt")]


def test_a_text_only_model_fails_only_the_rows_with_images(run: Run, server: Loopback, empty_home: Path) -> None:
    models = [
        {"id": "a/text", "type": "openai/chat-completions", "modalities": {"input": ["text"], "output": ["text"]}}
    ]
    save_models(CachedModels(server.url, "", 0, json.dumps({"data": models}).encode(), []))
    (empty_home / "a.png").write_bytes(PNG)
    (empty_home / "b.txt").write_text("text")
    image, text = run("a.png\nb.txt\n", "see @{row}", "-m", "a/text", code=10)
    assert ("does not accept image input, and a.png is image/png" in image["error"]["message"], text["error"]) == (
        True,
        None,
    )


def test_detail_applies_to_the_images_of_rows(run: Run, server: Loopback, empty_home: Path) -> None:
    (empty_home / "a.png").write_bytes(PNG)
    hashes = {run("a.png\n", "see @{row}", "--detail", detail)[0]["hash"] for detail in ("low", "high")}
    assert ([b'"low"' in request.body for request in server.requests], len(hashes)) == ([True, False], 2)


def test_a_dry_run_shows_the_file_of_the_first_row(
    endpoint: str, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_home / "rows").write_text("a.txt\nnone\n")
    (empty_home / "a.txt").write_text("inside")
    assert main([endpoint, "--each", "line", "-f", "rows", "--dry-run", "see @{row}"]) == 0
    assert json.dumps(FILE_PROMPT.format("a.txt", "inside", "see a.txt")) in capfd.readouterr().out


@pytest.mark.parametrize("language", ["curl", "python"])
def test_a_generated_program_reads_the_file_of_the_first_row(
    language: str, endpoint: str, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_home / "rows").write_text(" a.png\n")
    (empty_home / "a.png").write_bytes(PNG * 99)
    assert main([endpoint, "--each", "line", "-f", "rows", "--as", language, "see @{row}"]) == 0
    program = capfd.readouterr().out
    assert (base64.b64encode(PNG * 99).decode() in program, "a.png" in program) == (False, True)
