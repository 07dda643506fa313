"""Draw the images of an answer in a terminal that supports the graphics protocol of kitty or iTerm2."""

import fcntl
import re
import struct
import termios
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from aiml_cli.system.terminal import get_terminal_size

KITTY, ITERM = "kitty", "iterm"
# Environment variables that identify terminals; the terminal itself is not queried. Each terminal sets TERM_PROGRAM;
# the other variables may be inherited from the terminal that started it.
PROGRAMS = {
    "kitty": KITTY, "ghostty": KITTY, "iTerm.app": ITERM, "WezTerm": ITERM, "mintty": ITERM, "rio": ITERM,
}  # fmt: skip
TERMS = {"xterm-kitty": KITTY, "xterm-ghostty": KITTY}
VARIABLES = {"KITTY_WINDOW_ID": KITTY, "GHOSTTY_RESOURCES_DIR": KITTY, "WEZTERM_PANE": ITERM}
OTHER_TERMINALS = ("VTE_VERSION", "XTERM_VERSION", "ALACRITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION")
MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")  # they show no images, or only with certain settings
FORMATS = {KITTY: ("png",), ITERM: ("png", "jpeg", "gif", "webp")}
# Images beyond these limits are not drawn.
MAX_IMAGES, MAX_BYTES, MAX_PIXELS, MAX_SIDE = 8, 10 * 1024 * 1024, 50_000_000, 20_000
CHUNK = 4096  # characters of base64: kitty's limit
CELL = (8, 16)  # pixels of a character, if the terminal does not report it
_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xfe])")
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the segments that begin with the size


class Picture(NamedTuple):
    """An image, its format, and its size in pixels."""

    data: bytes
    format: str
    width: int
    height: int


def choose_protocol(environ: Mapping[str, str]) -> str:
    """Return the protocol of the terminal, or "" if it is not known to draw images."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb", "linux") or term.startswith(("screen", "tmux")) or any(map(environ.get, MULTIPLEXERS)):
        return ""
    if program or term in TERMS:
        return TERMS.get(term) or PROGRAMS.get(program, "")
    if environ.get("LC_TERMINAL") == "iTerm2":  # the only variable that ssh passes on
        return ITERM
    if any(map(environ.get, OTHER_TERMINALS)):
        return ""
    return next((protocol for name, protocol in VARIABLES.items() if environ.get(name)), "")


def draw_images(images: Iterable[bytes], protocol: str, fd: int, write: Callable[[bytes], None]) -> None:
    """Draw the images that the protocol supports; each fits into the columns and two thirds of the rows of `fd`."""
    pictures = [picture for data in images if (picture := read_picture(data)) and _is_drawable(picture, protocol)]
    for picture in pictures[:MAX_IMAGES]:
        columns, rows = _limit_cells(picture, fd)
        encode = _encode_kitty if protocol == KITTY else _encode_iterm
        write(b"".join(encode(picture, columns, rows)) + b"\n")


def _is_drawable(picture: Picture, protocol: str) -> bool:
    is_small = len(picture.data) <= MAX_BYTES and picture.width * picture.height <= MAX_PIXELS
    return is_small and max(picture.width, picture.height) <= MAX_SIDE and picture.format in FORMATS[protocol]


def _limit_cells(picture: Picture, fd: int) -> tuple[int, int]:
    """Return the columns or rows to which an image is scaled; a 0 follows from the image's own size."""
    columns, rows = get_terminal_size(fd)
    cell_width, cell_height = _get_cell_size(fd, columns, rows)
    most_columns, most_rows = max(columns - 1, 1), max(rows * 2 // 3, 1)
    wide, high = picture.width / (cell_width * most_columns), picture.height / (cell_height * most_rows)
    if max(wide, high) <= 1:
        return 0, 0
    return (most_columns, 0) if wide >= high else (0, most_rows)


def _get_cell_size(fd: int, columns: int, rows: int) -> tuple[int, int]:
    """Return the size of a character in pixels, as reported by the kernel."""
    with suppress(OSError):
        _, _, width, height = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
        if width >= columns and height >= rows:
            return width // columns, height // rows
    return CELL


def _encode_kitty(picture: Picture, columns: int, rows: int) -> Iterator[bytes]:
    """Yield the commands that draw a PNG file; `q=2` suppresses the terminal's response."""
    data = b64encode(picture.data)
    size = f",c={columns}" if columns else f",r={rows}" if rows else ""
    keys = f"a=T,f=100,q=2{size},"
    for start in range(0, len(data), CHUNK):
        has_more = start + CHUNK < len(data)
        yield f"\x1b_G{keys}m={int(has_more)};".encode() + data[start : start + CHUNK] + b"\x1b\\"
        keys = "q=2,"


def _encode_iterm(picture: Picture, columns: int, rows: int) -> Iterator[bytes]:
    size = f"width={columns or 'auto'};height={rows or 'auto'};preserveAspectRatio=1"
    yield f"\x1b]1337;File=inline=1;size={len(picture.data)};{size}:".encode() + b64encode(picture.data) + b"\x07"


def read_picture(data: bytes) -> Picture | None:
    """Return an image with its format and size from its first bytes; None if the format is unknown."""
    with suppress(struct.error):
        for read in (_read_png, _read_jpeg, _read_gif, _read_webp):
            if (picture := read(data)) and picture.width and picture.height:
                return picture
    return None


def _read_png(data: bytes) -> Picture | None:
    if not (data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR"):
        return None
    return Picture(data, "png", *struct.unpack_from(">II", data, 16))


def _read_gif(data: bytes) -> Picture | None:
    if not data.startswith((b"GIF87a", b"GIF89a")):
        return None
    return Picture(data, "gif", *struct.unpack_from("<HH", data, 6))


def _read_jpeg(data: bytes) -> Picture | None:
    """Return a JPEG image with the size from its frame header, which follows other segments."""
    position = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while marker := _JPEG_MARKER.match(data, position):
        position = marker.end()
        (length,) = struct.unpack_from(">H", data, position)
        if marker[1][0] in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return Picture(data, "jpeg", width, height)
        position += max(length, 2)
    return None


def _read_webp(data: bytes) -> Picture | None:
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return None
    match data[12:16]:
        case b"VP8 ":
            width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
            width, height = (high_w << 16 | low_w) + 1, (high_h << 16 | low_h) + 1
        case _:
            return None
    return Picture(data, "webp", width, height)
