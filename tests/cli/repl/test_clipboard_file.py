"""/file --clipboard: the picture or the text of the clipboard goes along with the next message, like a file."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.clipboards import Clipboard
from support.loopback import Loopback
from support.repl_lines import ReplDriver, build_text_answer

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\xff\x1b]" * 300
JPEG, GIF, WEBP = b"\xff\xd8\xff\xe0rest", b"GIF89a\x07\0\x08\0\0\0\0;", b"RIFF\x10\0\0\0WEBPVP8 rest"
WAYLAND, X11 = {"WAYLAND_DISPLAY": "w"}, {"DISPLAY": ":9"}
LIST_ARGUMENTS = {"wl-paste": "--list-types", "xclip": "TARGETS"}
Capture = pytest.CaptureFixture[str]

# Prints the types that it has, or the file of the type that is asked for.
CLIPBOARD_SCRIPT = """#!/bin/sh
for last do :; done
echo "{name} $*" >> "{folder}/calls"
if [ "$last" = "LIST_WORD" ]; then /bin/cat "{folder}/types"; exit 0; fi
exec /bin/cat "{folder}/$(echo "$last" | /usr/bin/tr / _)"
"""


@pytest.fixture
def clipboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clipboard:
    """Return a clipboard without any program."""
    return Clipboard(tmp_path / "bin", monkeypatch)


@pytest.fixture
def repl(server: Loopback) -> ReplDriver:
    server.answer_with(build_text_answer("Hello"))
    return ReplDriver(server)


def add_clipboard_program(clipboard: Clipboard, program: str, contents: dict[str, bytes]) -> None:
    """Add a program whose clipboard has these types."""
    clipboard.add(program, CLIPBOARD_SCRIPT.replace("LIST_WORD", LIST_ARGUMENTS[program]))
    (clipboard.folder / "types").write_text("".join(f"{name}\n" for name in contents))
    for name, data in contents.items():
        (clipboard.folder / name.replace("/", "_")).write_bytes(data)


def set_environ(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def get_parts(repl: ReplDriver) -> Any:
    body = repl.request_bodies[-1]
    return (body.get("messages") or body["input"])[-1]["content"]


@pytest.mark.parametrize(("program", "environ"), [("wl-paste", WAYLAND), ("xclip", X11)])
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize(
    ("contents", "media_type", "name"),
    [
        ({"image/png": PNG}, "image/png", "clipboard.png"),
        ({"image/jpeg": JPEG}, "image/jpeg", "clipboard.jpeg"),
        ({"image/gif": GIF}, "image/gif", "clipboard.gif"),
        ({"image/webp": WEBP}, "image/webp", "clipboard.webp"),
        ({"text/html": b"<img>", "image/bmp": b"BM", "image/png": PNG}, "image/png", "clipboard.png"),
        ({"image/jpeg": JPEG, "image/png": PNG}, "image/png", "clipboard.png"),
        ({"text/plain": b"cells", "image/png": PNG}, "image/png", "clipboard.png"),
        ({"image/png": JPEG}, "image/jpeg", "clipboard.jpeg"),
    ],
)
def test_a_picture_is_sent_with_the_type_of_its_first_bytes(
    server: Loopback,
    clipboard: Clipboard,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    program: str,
    environ: dict[str, str],
    endpoint: str,
    contents: dict[str, bytes],
    media_type: str,
    name: str,
) -> None:
    set_environ(monkeypatch, environ)
    add_clipboard_program(clipboard, program, contents)
    server.answer_with(build_text_answer("Hello"))
    repl = ReplDriver(server, endpoint)
    repl.type_lines("/file --clipboard", "/file", "what is it?")
    told = capsys.readouterr().err
    sent = contents.get("image/png") or contents[media_type]
    url = f"data:{media_type};base64,{base64.b64encode(sent).decode()}"
    assert url in str(get_parts(repl))
    assert f"{name}: {media_type}" in told
    assert told.count(f"sent with the next message: {name}") == 2
    repl.type_lines("/file", "more")
    assert "no file is queued" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ({"text/plain;charset=utf-8": "grüße 😀".encode()}, "grüße 😀"),
        ({"TARGETS": b"", "UTF8_STRING": b"one\ntwo", "STRING": b"x"}, "one\ntwo"),
        ({"text/plain": b"plain"}, "plain"),
        ({"STRING": b"old"}, "old"),
    ],
)
def test_a_text_is_sent_in_a_file_tag(
    repl: ReplDriver,
    clipboard: Clipboard,
    monkeypatch: pytest.MonkeyPatch,
    contents: dict[str, bytes],
    text: str,
    capsys: Capture,
) -> None:
    set_environ(monkeypatch, X11)
    add_clipboard_program(clipboard, "xclip", contents)
    repl.type_lines("/file --clipboard", "hi")
    assert f'<file name="clipboard.txt">\n{text}\n</file>' in str(get_parts(repl))
    assert f"clipboard.txt: text, {len(text.encode())} bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("programs", "environ", "calls"),
    [
        (["wl-paste", "xclip", "pngpaste"], {**WAYLAND, **X11}, ["wl-paste --list-types", "wl-paste --no-newline --type image/png"]),
        (["wl-paste", "xclip", "pngpaste"], X11, ["xclip -selection clipboard -o -t TARGETS", "xclip -selection clipboard -o -t image/png"]),
    ],
)  # fmt: skip
def test_the_environment_chooses_the_program(
    repl: ReplDriver,
    clipboard: Clipboard,
    monkeypatch: pytest.MonkeyPatch,
    programs: Sequence[str],
    environ: dict[str, str],
    calls: list[str],
) -> None:
    set_environ(monkeypatch, environ)
    for program in programs[:2]:
        add_clipboard_program(clipboard, program, {"image/png": PNG})
    clipboard.add("pngpaste", '#!/bin/sh\necho pngpaste >> "{folder}/calls"\n')
    repl.type_lines("/file --clipboard")
    assert (clipboard.folder / "calls").read_text().splitlines() == calls
    assert repl.session.queued == ["clipboard.png"]


@pytest.mark.parametrize(
    ("scripts", "name"),
    [
        ({"pngpaste": '#!/bin/sh\n[ "$1" = - ] && exec /bin/cat "{folder}/picture"\n'}, "clipboard.png"),
        ({"osascript": f"#!/bin/sh\necho '«data PNGf{PNG.hex().upper()}»'\n"}, "clipboard.png"),
        ({"pngpaste": "#!/bin/sh\nexit 1\n", "osascript": "#!/bin/sh\nexit 1\n", "pbpaste": "#!/bin/sh\necho hi\n"}, "clipboard.txt"),
    ],
)  # fmt: skip
def test_programs_of_macos_are_used(repl: ReplDriver, clipboard: Clipboard, scripts: dict[str, str], name: str) -> None:
    (clipboard.folder / "picture").write_bytes(PNG)
    for program, script in scripts.items():
        clipboard.add(program, script)
    repl.type_lines("/file --clipboard")
    assert repl.session.queued == [name]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "no installed program can read the clipboard"),
        ("#!/bin/sh\necho Error: no display >&2; exit 1\n", "xclip ended with 1: Error: no display"),
        ("#!/bin/sh\nexit 0\n", "the clipboard contains neither an image nor text"),
        ("#!/bin/sh\necho application/x-thing\n", "the clipboard contains neither an image nor text"),
        ("#!/bin/sh\necho STRING; printf 'PK\\003\\004\\000\\000'\n", "neither an image nor text"),
        ("#!/bin/sh\ncase $6$5 in *TARGETS*) echo STRING;; *) printf '  \\n';; esac\n", "the clipboard is empty"),
        ("#!/bin/sh\nwhile :; do echo STRING STRING STRING STRING STRING STRING STRING; done\n", "more than 16 MiB"),
    ],
)
def test_a_clipboard_that_cannot_be_read_is_an_error_and_queues_nothing(
    repl: ReplDriver,
    clipboard: Clipboard,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    message: str,
    capsys: Capture,
) -> None:
    set_environ(monkeypatch, X11)
    if script:
        clipboard.add("xclip", script)
    repl.type_lines("/file --clipboard", "hi")
    assert message in capsys.readouterr().err
    assert (repl.session.queued, get_parts(repl)) == ([], "hi")


@pytest.mark.parametrize(
    ("data", "kind"), [(b"%PDF-1.7 x", "application/pdf"), (b"PK\x03\x04\0\0", "zip"), (b"\0\1\2", "binary")]
)
def test_other_data_is_recognized_by_its_first_bytes_and_refused(
    repl: ReplDriver, clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch, data: bytes, kind: str, capsys: Capture
) -> None:
    set_environ(monkeypatch, X11)
    add_clipboard_program(clipboard, "xclip", {"image/png": data})
    repl.type_lines("/file --clipboard")
    assert (kind in capsys.readouterr().err, repl.session.queued) == (True, [])


def test_several_clipboard_files_are_queued_and_removed_together_with_other_files(
    repl: ReplDriver, clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environ(monkeypatch, X11)
    add_clipboard_program(clipboard, "xclip", {"image/png": PNG})
    Path("a.txt").write_text("a\n")
    repl.type_lines("/file --clipboard", "/file a.txt --clipboard")
    assert repl.session.queued == ["a.txt", "clipboard.png", "clipboard-2.png"]
    repl.type_lines("/file -")
    assert repl.session.queued == []


def test_a_secret_in_the_clipboard_is_not_sent_without_confirmation(
    repl: ReplDriver, clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    set_environ(monkeypatch, X11)
    add_clipboard_program(
        clipboard, "xclip", {"STRING": b"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz1234abcd"}
    )
    repl.type_lines("/file --clipboard", "hi")
    assert (repl.request_bodies, "clipboard.txt" in capsys.readouterr().err) == ([], True)
