"""Images of an answer are drawn on terminals that support it, and nothing is sent to others."""

import base64
import json
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.console import Console
from support.loopback import Loopback, delta, json_response, response_object, stream
from support.pty_run import run_on_pty
from support.run_cli import Aiml

from aiml_cli.output.terminal_images import choose_protocol, read_picture

WITHOUT_TERMINAL_VARIABLES = dict.fromkeys(("TMUX", "STY", "ZELLIJ", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "WEZTERM_PANE", "VTE_VERSION", "GHOSTTY_RESOURCES_DIR", "XTERM_VERSION", "ALACRITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION"), "")  # fmt: skip
KITTY_ENVIRON = {**WITHOUT_TERMINAL_VARIABLES, "TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}
ITERM_ENVIRON = {**WITHOUT_TERMINAL_VARIABLES, "TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}


def make_png(width: int = 2, height: int = 1, more: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 7)) + chunk(b"IEND", more)
    )


PNG = make_png()
JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc0\0\x11\x08\0\x03\0\x05\x03" + b"\0" * 9 + b"\xff\xd9"
GIF = b"GIF89a\x07\0\x08\0\0\0\0;"
WEBP = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x0a\0\0"
WEBP_LOSSY = b"RIFF\x1a\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x09\0\x0a\0"
WEBP_LOSSLESS = b"RIFF\x1a\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 8 | 9 << 14)


def build_answer(endpoint: str, *images: bytes, streamed: bool = False) -> bytes:
    """Return an answer with a text and images."""
    texts = [base64.b64encode(image).decode() for image in images]
    if endpoint == "chat":
        urls = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}} for text in texts]
        if streamed:
            return stream(delta("Here."), delta(images=urls), delta(finish="stop"))
        message = {"role": "assistant", "content": "Here.", "images": urls}
        return json_response({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    items: list[dict[str, Any]] = [
        {"type": "image_generation_call", "id": f"i{number}", "status": "completed", "result": text}
        for number, text in enumerate(texts)
    ]
    said = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Here."}]}
    return json_response(response_object(output=[said, *items]))


def build_kitty_sequence(image: bytes, size: str = "") -> bytes:
    return f"\x1b_Ga=T,f=100,q=2{size},m=0;".encode() + base64.b64encode(image) + b"\x1b\\"


def build_iterm_sequence(image: bytes, size: str = "width=auto;height=auto") -> bytes:
    head = f"\x1b]1337;File=inline=1;size={len(image)};{size};preserveAspectRatio=1:"
    return head.encode() + base64.b64encode(image) + b"\x07"


@pytest.mark.parametrize("color", [{}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize(
    ("environ", "encode"), [(KITTY_ENVIRON, build_kitty_sequence), (ITERM_ENVIRON, build_iterm_sequence)]
)
@pytest.mark.parametrize(
    ("command", "flags", "streamed"), [("chat", [], True), ("chat", ["-S"], False), ("respond", ["-S"], False)]
)
def test_an_image_is_drawn_after_the_answer(
    server: Loopback,
    command: str,
    flags: list[str],
    streamed: bool,
    environ: dict[str, str],
    encode: Any,
    color: dict[str, str],
) -> None:
    server.answer_with(build_answer(command, PNG, streamed=streamed))
    wrote, code, _ = run_on_pty(server, command, *flags, "hi", **color, **environ)
    assert (code, wrote.count(encode(PNG) + b"\r\n")) == (0, 1)
    assert wrote.index(b"Here.") < wrote.index(encode(PNG))
    assert b"--save-dir FOLDER saves them" in wrote


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize(
    ("environ", "expected_sequences"),
    [
        (KITTY_ENVIRON, [build_kitty_sequence(PNG)]),
        (ITERM_ENVIRON, [build_iterm_sequence(image) for image in (PNG, JPEG, GIF, WEBP)]),
    ],
)
def test_only_the_formats_that_a_protocol_knows_are_drawn_and_all_are_saved(
    server: Loopback, environ: dict[str, str], expected_sequences: list[bytes], tmp_path: Path
) -> None:
    server.answer_with(build_answer("respond", PNG, JPEG, GIF, WEBP, b"<svg>\x1b[2J</svg>", b"\x1b]52;c;ZXZpbA==\x07"))
    wrote, code, _ = run_on_pty(server, "respond", "-S", "--save-dir", "pictures", "hi", **environ)
    sequences = re.findall(rb"\x1b_G.*?\x1b\\|\x1b\]1337.*?\x07", wrote, re.DOTALL)
    assert (code, sequences, b"\x1b]52" in wrote) == (0, expected_sequences, False)
    assert len(list((tmp_path / "pictures").iterdir())) == 6
    assert wrote.count(b"image saved: pictures/image-") == 6


def test_a_large_image_is_sent_to_kitty_in_pieces(server: Loopback) -> None:
    image = make_png(more=os.urandom(20_000))
    server.answer_with(build_answer("chat", image))
    wrote, _, _ = run_on_pty(server, "chat", "-S", "hi", **KITTY_ENVIRON)
    pieces = re.findall(rb"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", wrote)
    assert base64.b64decode(b"".join(data for _, data in pieces)) == image
    assert [keys for keys, _ in pieces] == [b"a=T,f=100,q=2,m=1", *[b"q=2,m=1"] * (len(pieces) - 2), b"q=2,m=0"]
    assert {len(data) for _, data in pieces[:-1]} == {4096}


@pytest.mark.parametrize(
    ("width", "height", "kitty_size", "iterm_size"),
    [
        (600, 200, "", "width=auto;height=auto"),
        (4000, 100, ",c=79", "width=79;height=auto"),
        (100, 4000, ",r=16", "width=auto;height=16"),
        (4000, 4000, ",r=16", "width=auto;height=16"),
    ],
)
def test_an_image_is_never_larger_than_the_screen(
    server: Loopback, width: int, height: int, kitty_size: str, iterm_size: str
) -> None:
    image = make_png(width, height)
    for environ, expected in (
        (KITTY_ENVIRON, build_kitty_sequence(image, kitty_size)),
        (ITERM_ENVIRON, build_iterm_sequence(image, iterm_size)),
    ):
        server.answer_with(build_answer("chat", image))
        wrote, _, _ = run_on_pty(server, "chat", "-S", "hi", **environ)
        assert expected in wrote


@pytest.mark.parametrize(
    "image",
    [
        b"", b"\x89PNG", PNG[:20], make_png(0, 5), make_png(2**31, 2**31), make_png(30_000, 1), make_png(10_000, 9_000),
        make_png(more=bytes(11 * 1024 * 1024)), b"RIFF\0\0\0\0WAVE", JPEG[:12], b"\xff\xd8\xff" + b"\xff" * 99, b"GIF8",
    ],
    ids=lambda image: f"{len(image)}-{image[:8]!r}",
)  # fmt: skip
def test_invalid_and_oversized_images_are_not_drawn(server: Loopback, image: bytes) -> None:
    server.answer_with(build_answer("chat", image, PNG))
    wrote, code, _ = run_on_pty(server, "chat", "-S", "hi", **ITERM_ENVIRON)
    assert (code, wrote.count(b"\x1b]1337"), build_iterm_sequence(PNG) in wrote) == (0, 1, True)


def test_only_the_first_of_many_images_are_drawn(server: Loopback) -> None:
    server.answer_with(build_answer("respond", *[make_png(n, n) for n in range(1, 21)]))
    wrote, _, _ = run_on_pty(server, "respond", "-S", "hi", **KITTY_ENVIRON)
    assert wrote.count(b"\x1b_Ga=T") == 8


@pytest.mark.parametrize(
    ("environ", "flags"),
    [
        ({"TERM": "xterm"}, []), ({**KITTY_ENVIRON, "TERM": "dumb"}, []), ({**KITTY_ENVIRON, "TMUX": "x"}, []),
        (KITTY_ENVIRON, ["--format", "text"]), (KITTY_ENVIRON, ["--json"]), (KITTY_ENVIRON, ["--format", "jsonl"]), (KITTY_ENVIRON, ["-x"]),
    ],
)  # fmt: skip
def test_other_terminals_and_formats_draw_no_images(
    server: Loopback, environ: dict[str, str], flags: list[str]
) -> None:
    server.answer_with(build_answer("chat", PNG))
    wrote, _, _ = run_on_pty(server, "chat", "-S", *flags, "hi", **{**WITHOUT_TERMINAL_VARIABLES, **environ})
    assert (b"\x1b_G" in wrote, b"\x1b]1337" in wrote) == (False, False)


def test_a_pipe_and_a_file_get_no_image(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(build_answer("chat", PNG))
    assert aiml("chat", "-S", "hi", **KITTY_ENVIRON).stdout == b"Here.\n"
    wrote, _, _ = run_on_pty(server, "chat", "-S", "-o", "f.md", "hi", **KITTY_ENVIRON)
    assert ((tmp_path / "f.md").read_bytes(), b"\x1b_G" in wrote) == (b"Here.\n", False)


def test_the_repl_draws_images_and_continues(server: Loopback) -> None:
    server.answer_with(build_answer("chat", PNG))
    with Console("chat", "-S", AIML_BASE_URL=server.url, **KITTY_ENVIRON) as console:
        console.wait_for_prompt()
        for count in (1, 2):
            console.type_line("draw")
            console.wait_until(lambda count=count: console.output.count(build_kitty_sequence(PNG)) == count)  # type: ignore[misc]
            console.wait_for_prompt()
        assert console.leave() == 0


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"), ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-kitty", "VTE_VERSION": "7600"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "VTE_VERSION": "7600"}, ""),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "TERM_PROGRAM": "vscode"}, ""),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, ""), ({"TERM": "xterm-256color"}, ""), ({}, ""),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, ""), ({"KITTY_WINDOW_ID": "1"}, ""), ({"TERM": "linux"}, ""),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, ""), ({"TERM": "screen", "LC_TERMINAL": "iTerm2"}, ""),
        ({"TERM": "xterm-kitty", "TMUX": "t,1,0"}, ""), ({"TERM": "xterm-kitty", "STY": "1.pts"}, ""),
        ({"TERM": "xterm-kitty", "TERM_PROGRAM": "tmux", "TMUX": "x"}, ""), ({"TERM": "xterm-kitty", "ZELLIJ": "0"}, ""),
    ],
)  # fmt: skip
def test_the_environment_alone_decides_which_protocol_is_used(environ: dict[str, str], protocol: str) -> None:
    assert choose_protocol(environ) == protocol


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PNG, ("png", 2, 1)), (JPEG, ("jpeg", 5, 3)), (GIF, ("gif", 7, 8)), (WEBP, ("webp", 10, 11)),
        (WEBP_LOSSY, ("webp", 9, 10)), (WEBP_LOSSLESS, ("webp", 9, 10)),
    ],
)  # fmt: skip
def test_the_size_is_read_from_the_first_bytes(data: bytes, expected: tuple[str, int, int]) -> None:
    picture = read_picture(data)
    assert picture is not None
    assert (picture.format, picture.width, picture.height) == expected


@given(st.sampled_from([b"", PNG[:8], PNG[:16], b"\xff\xd8\xff", b"GIF89a", WEBP[:12], WEBP[:16]]), st.binary())
def test_any_bytes_after_the_start_of_an_image_are_read_without_an_error(start: bytes, rest: bytes) -> None:
    picture = read_picture(start + rest)
    assert picture is None or (picture.width > 0 and picture.height > 0)


def test_json_output_does_not_change_on_such_a_terminal(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_answer("chat", PNG))
    assert json.loads(aiml("chat", "-S", "--json", "hi", **KITTY_ENVIRON).stdout)["text"] == "Here."
