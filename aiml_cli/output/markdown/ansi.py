"""Wrap styled text into lines, each complete with its styles and links."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from aiml_cli.output.markdown.inline import CODE, Span
from aiml_cli.output.markdown.inline_syntax import format_address
from aiml_cli.system.text_width import count_fitting, max_text_width, split_clusters, text_width

OFF = "\x1b[m"
_SGR = re.compile(r"\x1b\[[\d;]*m")
_LINK = re.compile(r"\x1b\]8;[^\x1b\x07]*+\x1b\\")
STYLE = re.compile(rf"{_SGR.pattern}|{_LINK.pattern}")
_COLORS = range(30, 38)
_LINK_SCHEME = re.compile(r"(?i:https?|ftp)://|(?i:mailto):")
MAX_LINK_LENGTH = 2000  # terminals ignore links of more than 2,083 bytes
# Terminals that show links, by the environment variables that they set.
LINKING_TERMINALS = (
    "KITTY_WINDOW_ID", "WEZTERM_PANE", "ITERM_SESSION_ID", "WT_SESSION", "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR", "KONSOLE_VERSION",
)  # fmt: skip
LINKING_PROGRAMS = ("iTerm.app", "vscode", "WezTerm", "ghostty")
FIRST_LINKING_VTE, FIRST_LINKING_TMUX = 5000, (3, 4)

# Chinese and Japanese break lines between any two characters, but no line begins with a closing mark or a small
# letter, or ends with an opening mark.
_IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3042\u3044\u3046\u3048\u304a-\u3062\u3064-\u3082\u3084\u3086\u3088-\u308d\u308f-\u3094\u30a2\u30a4"
    "\u30a6\u30a8\u30aa-\u30c2\u30c4-\u30e2\u30e4\u30e6\u30e8-\u30ed\u30ef-\u30f4\u30f7-\u30fa\u3105-\u312f\u31a0-\u31bf"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U00020000-\U0003fffd"
)
_OPENING, _OPENING_TOO = (
    "\u3008\u300a\u300c\u300e\u3010\u3014\u3016\u3018\u301a\uff08\uff3b\uff5b\uff5f",
    "(\\[{\u2018\u201c",
)
_SMALL = (
    "\u3005\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u308e\u3095\u3096\u3099-\u309e\u30a1\u30a3\u30a5"
    "\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30ee\u30f5\u30f6\u30fc-\u30fe\u31f0-\u31ff"
)
_CLOSING = (
    f"{_SMALL}\u3000-\u3003\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u3019\u301b-\u301f\u30a0\u30fb\uff01\uff05\uff09\uff0c"
    "\uff0e\uff1a\uff1b\uff1f\uff3d\uff5d\uff5e\uff60\uff61\uff63-\uff65"
)
_CLOSING_TOO = "!%),.:;?\\]}\u2014\u2019\u201d\u2026\u200d\u0300-\u036f\u302a-\u302f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_OTHER = f"[^ \\t\\n{_IDEOGRAPHS}{_OPENING}{_CLOSING}]"
_ADDRESS = re.compile(r"://|www\.|mailto:|data:")
_BLANK = r"(?P<line_end>\n)|(?P<blank>[ \t]++)"
_TOKEN = re.compile(rf"{_BLANK}|(?P<word>[^ \t\n]++)")
_HAS_IDEOGRAPHS = re.compile(f"[{_IDEOGRAPHS}]")
_IDEOGRAPHIC_ADDRESS = (
    rf"|(?P<fixed>[{_OPENING}]*+{_OTHER}*?(?:{_ADDRESS.pattern})(?:{_OTHER}|[{_IDEOGRAPHS}{_SMALL}])*+[{_CLOSING}]*+)"
)
_IDEOGRAPHIC_WORD = (
    rf"|(?P<ideographs>(?:[{_IDEOGRAPHS}](?![{_CLOSING}{_CLOSING_TOO}]))++)"
    rf"|(?P<word>[{_OPENING}{_OPENING_TOO}]*+[{_IDEOGRAPHS}][{_CLOSING}{_CLOSING_TOO}]*+"
    rf"|[{_OPENING}]*+{_OTHER}+(?:(?<![{_OPENING_TOO}])|(?![{_IDEOGRAPHS}{_OPENING}]))[{_CLOSING}]*+"
    rf"|[{_OPENING}{_CLOSING}]++|.)"
)
_ODD_BLANKS = re.compile(r"[\n\t]|  |^ | $")
_CODE_PIECE = re.compile(r"( *+[^ ]++(?: *+\Z| *(?= [^ ]))| ++)( ?)")
_CODE_MASK = "\x00"  # replaces each character of code while text is split: it is neither a blank nor an ideograph
Measure = Callable[[str], int]


class LineUnit(NamedTuple):
    """Text that stays on one line if it fits; if `has_gap`, a space precedes it, but not at a line's start.

    `kind`: a word is broken if it is longer than a line, ideographs are broken anywhere, code only at its spaces;
    fixed text is never broken; line_end is a hard line break.
    """

    kind: str
    spans: Sequence[Span]
    width: int
    has_gap: bool


def measure_width(line: str) -> int:
    """Return the width of a line in columns, without its styles."""
    return text_width(STYLE.sub("", line) if "\x1b" in line else line)


def measure_max_width(line: str) -> int:
    """Return the largest width of a line on any terminal in columns, without its styles."""
    return max_text_width(STYLE.sub("", line) if "\x1b" in line else line)


def apply_style(text: str, style: str) -> str:
    """Return the text in a style that ends after it."""
    return f"\x1b[{style}m{text}{OFF}" if style and text else text


def wrap_lines(spans: Sequence[Span], width: int, measure: Measure = max_text_width) -> list[str]:
    """Return lines of at most `width` columns, as `measure` counts them.

    Longer words are broken, but URLs and code without spaces are not.
    """
    text = spans[0].text if len(spans) == 1 else "".join([span.text for span in spans])
    if len(text) <= width and not _ODD_BLANKS.search(text) and (text.isascii() or measure(text) <= width):
        return [join_spans(spans)]  # the fast path, for most lines of lists
    if (words := split_plain(spans)) and len(max(words, key=len)) <= width:
        _, style, link = spans[0]
        lines = [line for part in text.split("\n") for line in _fill_words(part.split(), width)]
        return [join_spans([Span(line, style, link)]) for line in lines] if style or link else list(lines)
    filler = _LineFiller(width, measure)
    for unit in split_units(spans, measure):
        filler.add(unit)
    return filler.finish()


def split_plain(spans: Sequence[Span]) -> list[str]:
    """Return the words of an ASCII text in a single style, or [] if it contains code or URLs."""
    if len(spans) != 1:
        return []
    text, style, _ = spans[0]
    is_plain = text.isascii() and not (CODE in style or _ADDRESS.search(text))
    return text.split() if is_plain else []


def _fill_words(words: Iterable[str], width: int) -> Iterator[str]:
    """Yield lines of words, none of which is longer than a line."""
    line: list[str] = []
    free = width
    for word in words:
        free -= len(word)
        if free < 0:
            yield " ".join(line)
            line, free = [], width - len(word)
        line.append(word)
        free -= 1
    yield " ".join(line)


def split_units(spans: Iterable[Span], measure: Measure = max_text_width) -> Iterator[LineUnit]:
    """Yield the parts that stay on one line: words with their punctuation, code, URLs."""
    used = [_expand_tabs(span) if _is_code(span) else span for span in spans if span.text]
    text = "".join(_mask_code(span) if _is_code(span) else span.text for span in used)
    has_address, has_code = _ADDRESS.search(text) is not None, _CODE_MASK in text
    is_ascii, cutter = all(span.text.isascii() for span in used), _SpanCutter(used)
    has_gap = False
    for token in _choose_tokens(text, has_address=has_address).finditer(text):
        kind, word = token.lastgroup or "", token[0]
        if kind == "blank":
            cutter.skip(len(word))
            has_gap = True
            continue
        if has_code and kind == "word" and _CODE_MASK in word:
            kind = "code"
        elif has_address and kind == "word" and _ADDRESS.search(word):
            kind = "fixed"
        pieces = cutter.take(len(word))
        char_width = 1 if is_ascii else 2 if kind == "ideographs" else 0  # 0: unknown
        yield LineUnit(kind, pieces, char_width * len(word) or _measure_pieces(pieces, measure), has_gap)
        has_gap = False


def split_code(unit: LineUnit, measure: Measure = max_text_width) -> Iterator[LineUnit]:
    """Yield the pieces of a unit with code, which is broken at its spaces; a line break replaces one space."""
    text = "".join(span.text for span in unit.spans)
    cutter, has_gap = _SpanCutter(unit.spans), unit.has_gap
    for match in _CODE_PIECE.finditer(text):
        pieces = cutter.take(len(match[1]))
        cutter.skip(len(match[2]))
        yield LineUnit("fixed", pieces, _measure_pieces(pieces, measure), has_gap)
        has_gap = True


def _measure_pieces(pieces: Sequence[Span], measure: Measure) -> int:
    return measure(pieces[0].text) if len(pieces) == 1 else sum(measure(piece.text) for piece in pieces)


def _is_code(span: Span) -> bool:
    return CODE in span.style and CODE in span.style.split(";")


def _expand_tabs(span: Span) -> Span:
    """Replace tabs, whose width depends on the terminal."""
    return span._replace(text=span.text.replace("\t", "    "))


def _mask_code(span: Span) -> str:
    return "\n".join(_CODE_MASK * len(line) for line in span.text.split("\n"))


def _choose_tokens(text: str, *, has_address: bool) -> re.Pattern[str]:
    """Return the pattern of the parts that stay on one line; unneeded alternatives are left out for speed."""
    if text.isascii() or not _HAS_IDEOGRAPHS.search(text):
        return _TOKEN
    return re.compile(_BLANK + (_IDEOGRAPHIC_ADDRESS if has_address else "") + _IDEOGRAPHIC_WORD)


class _SpanCutter:
    """Cuts spans into parts, from start to end."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = iter(spans)
        self._text = self._style = self._link = ""
        self._start = 0

    def skip(self, length: int) -> None:
        """Skip characters."""
        self._start += length

    def take(self, length: int) -> list[Span]:
        """Return the next characters with their styles."""
        end = self._start + length
        if end <= len(self._text):  # the fast path, for most words
            piece = self._text[self._start : end]
            self._start = end
            return [Span(piece, self._style, self._link)]
        pieces: list[Span] = []
        while length:
            while self._start >= len(self._text):
                self._start -= len(self._text)
                self._text, self._style, self._link = next(self._spans)
            piece = self._text[self._start : self._start + length]
            pieces.append(Span(piece, self._style, self._link))
            self._start += len(piece)
            length -= len(piece)
        return pieces


class _LineFiller:
    """The lines so far, and the one that is being filled."""

    def __init__(self, width: int, measure: Measure) -> None:
        self._width, self._measure = width, measure
        self._lines: list[str] = []
        self._line: list[Span] = []
        self._used = 0

    def add(self, unit: LineUnit) -> None:
        """Add a unit to the line if it fits, else to the next one."""
        if unit.kind == "line_end":
            self._end_line()
        elif self._used + unit.has_gap + unit.width <= self._width:
            self._append(unit)
        elif unit.kind == "ideographs":
            self._add_ideographs(unit)
        elif unit.kind == "code" and unit.width > self._width:
            for piece in split_code(unit, self._measure):
                self.add(piece)
        else:
            self._begin_line(unit)

    def finish(self) -> list[str]:
        """Return all lines."""
        return [*self._lines, join_spans(self._line)]

    def _begin_line(self, unit: LineUnit) -> None:
        if self._line:
            self._end_line()
        if unit.kind == "word" and unit.width > self._width:
            self._break_word(unit.spans)
        else:
            self._append(unit)

    def _append(self, unit: LineUnit) -> None:
        if unit.has_gap and self._line:
            self._add_gap(unit)
        self._line += unit.spans
        self._used += unit.width

    def _add_gap(self, unit: LineUnit) -> None:
        """Add the space before a unit; it has the style and the link that both sides share."""
        last, first = self._line[-1], unit.spans[0]
        style = last.style if last.style == first.style else ""
        self._line.append(Span(" ", style, last.link if last.link == first.link else ""))
        self._used += 1

    def _add_ideographs(self, unit: LineUnit) -> None:
        """Fill the line, and further lines, with characters that are two columns wide."""
        if self._line and self._used + unit.has_gap + 2 > self._width:
            self._end_line()
        if unit.has_gap and self._line:
            self._add_gap(unit)
        cutter, left = _SpanCutter(unit.spans), unit.width // 2
        while left:
            count = min(left, max((self._width - self._used) // 2, 0 if self._line else 1))
            self._line += cutter.take(count)
            self._used += 2 * count
            left -= count
            if left:
                self._end_line()

    def _break_word(self, spans: Iterable[Span]) -> None:
        """Fill lines with the parts of a word that is longer than a line."""
        measure = lru_cache(maxsize=1024)(self._measure)
        for text, style, link in spans:
            start = end = 0
            for cluster in split_clusters(text):
                size = measure(cluster)
                if self._used and self._used + size > self._width:
                    self._line.append(Span(text[start:end], style, link))
                    self._end_line()
                    start = end
                end += len(cluster)
                self._used += size
            self._line.append(Span(text[start:], style, link))

    def _end_line(self) -> None:
        self._lines.append(join_spans(self._line))
        self._line, self._used = [], 0


def join_spans(line: Sequence[Span]) -> str:
    """Return the spans as one string; neighbors with the same style or link share its escape sequence."""
    if len(line) == 1 and not line[0].link:
        return apply_style(line[0].text, line[0].style)
    pieces: list[str] = []
    current = linked = ""
    for text, style, link in filter(itemgetter(0), line):
        if link != linked and linked:
            pieces.append(_build_link(""))
        if style != current:
            pieces.append((OFF if current else "") + (f"\x1b[{style}m" if style else ""))
            current = style
        if link != linked:
            linked = encode_link(link)
            pieces.append(_build_link(linked) if linked else "")
            linked = link if linked else ""
        pieces.append(text)
    return "".join([*pieces, _build_link("") if linked else "", OFF if current else ""])


def encode_link(address: str) -> str:
    """Return a URL encoded for an escape sequence, or "" if no terminal should open it."""
    if len(address) > MAX_LINK_LENGTH or not _LINK_SCHEME.match(address):
        return ""
    from urllib.parse import quote  # few texts have links

    encoded = quote(format_address(address), safe="!#$%&'()*+,/:;=?@[]~", errors="replace")
    return encoded if len(encoded) <= MAX_LINK_LENGTH else ""


def _build_link(address: str) -> str:
    return f"\x1b]8;;{address}\x1b\\"


def has_hyperlinks(environ: Mapping[str, str]) -> bool:
    """True if the terminal is known to show links: by FORCE_HYPERLINK, then by the variables that terminals set."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb", "linux"):
        return False
    if forced := environ.get("FORCE_HYPERLINK"):
        return forced != "0"
    if program == "tmux" or environ.get("TMUX"):  # the other variables are those of the terminal that started tmux
        return program == "tmux" and _read_version(environ.get("TERM_PROGRAM_VERSION", "")) >= FIRST_LINKING_TMUX
    if environ.get("STY") or term.startswith("screen"):
        return False
    vte = environ.get("VTE_VERSION", "")
    is_linking_vte = vte.isdecimal() and int(vte) >= FIRST_LINKING_VTE
    return is_linking_vte or program in LINKING_PROGRAMS or any(environ.get(name) for name in LINKING_TERMINALS)


def _read_version(text: str) -> tuple[int, ...]:
    return tuple(int(number[:9]) for number in re.findall(r"[0-9]+", text)[:2])


def strip_styles(text: str) -> str:
    """Remove colors, bold, underline and links."""
    return STYLE.sub("", text)


def strip_colors(text: str) -> str:
    """Remove colors only."""
    return _SGR.sub(_remove_colors, text)


def strip_links(text: str) -> str:
    """Remove links only; their text stays."""
    return _LINK.sub("", text)


def keep_styles(text: str) -> str:
    """Return the text unchanged."""
    return text


def _remove_colors(match: re.Match[str]) -> str:
    numbers = match[0][2:-1].split(";")
    others = [number for number in numbers if not (number.isdigit() and int(number) in _COLORS)]
    return f"\x1b[{';'.join(others)}m" if others else ""


def drop_start(spans: list[Span], hidden: int) -> list[Span]:
    """Return the spans without the first `hidden` characters."""
    kept: list[Span] = []
    for span in spans:
        if len(span.text) > hidden:
            kept.append(Span(span.text[hidden:], span.style))
        hidden = max(0, hidden - len(span.text))
    return kept


def cut_rows(spans: list[Span], width: int) -> list[list[Span]]:
    """Return the spans in rows of at most this width."""
    rows: list[list[Span]] = []
    free = 0
    for text, style, *_ in spans:
        while text:
            count = count_fitting(text, free) if free else 0
            if not count:
                rows.append([])
                count = count_fitting(text, width, minimum=1)
                free = width
            rows[-1].append(Span(text[:count], style))
            free -= max_text_width(text[:count])
            text = text[count:]  # noqa: PLW2901
    return rows
