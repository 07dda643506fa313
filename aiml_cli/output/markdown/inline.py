"""Parse the inline Markdown of a block into pieces of text, each with its style."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from aiml_cli.output.markdown.block_syntax import HTML_TAG
from aiml_cli.output.markdown.inline_syntax import (
    BOLD,
    ENTITY,
    ITALIC,
    MAX_LABEL_LENGTH,
    Delimiter,
    InlineNode,
    Target,
    can_emphasize,
    decode_entity,
    format_address,
    match_delimiters,
    normalize_label,
    parse_inline_target,
    parse_label,
)
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.terminal import GREEN

CODE, DIM, UNDERLINE = GREEN, "2", "4"
MAX_MARKS = 1000  # in one text; text after them is shown unchanged
# Where plain text may end. After a letter or digit, an address is part of a word.
_MARK = re.compile(r"\\|`+|\*+|_+|~+|!?\[|\]|<|&|\$|(?<![A-Za-z0-9])(?:[hH][tT][tT][pP][sS]?://|[wW]{3}\.)")
_TAG_MARK = re.compile("<")
_BACKTICKS = re.compile("`+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_LONE_BRACKET = re.compile(r"\\[\[\]]\s*+(?:\n|\Z)")
_ENTITY = re.compile(ENTITY)
_NOTE = re.compile(r"\[\^([^\[\]\s^]++)\^?\]")
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*+|[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w.-]{1,255})>")
_ADDRESS = re.compile('[^\\s<>\\[\\]`"\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\u2018-\u201d\u2026]++')
_ADDRESS_END = "?!.,:;*_~'\""
_TAG = re.compile(HTML_TAG)
_DECLARATION = re.compile(r"<!--|<\?|<!\[CDATA\[|<![A-Za-z]")
_DECLARATION_ENDS = {"<!--": "-->", "<?": "?>", "<![CDATA[": "]]>"}
_LINE_BREAK = re.compile(r"<br\s*+/?>[ \t]*+\n?", re.IGNORECASE)
_SCRIPT = re.compile(r"<(sub|sup)>([^<>\n]{1,60})</\1>", re.IGNORECASE)
_DRAWN_TAG = re.compile(r"<(/?)(sub|sup|details|summary|pre)(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_FORMULA_START = re.compile(r"\$\$(?!\$)|\$(?![\s$])|\\{1,2}[(\[]|\\begin\{([A-Za-z]{1,20}\*?)\}")
_FORMULA_CHAR = re.compile(r"[\\^_=+*/<>{}|\d]")
_LONG_WORD = re.compile(r"[A-Za-z]{4}")
_FORMULA_ENDS = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]", "\\\\(": "\\\\)", "\\\\[": "\\\\]"}
_SCRIPTS = {
    "sub": ("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"),
    "sup": ("0123456789+-=()abcdefghijklmnoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"),
}
_SCRIPT_MARKS = {"sub": "_", "sup": "^"}


class Span(NamedTuple):
    """A text, its style (SGR parameters, or ""), and the address that it links to; a newline is a line break."""

    text: str
    style: str = ""
    link: str = ""


def parse_spans(text: str, references: Mapping[str, Target] | None = None) -> list[Span]:
    """Return the spans of a block's text; `references` has the targets of the labels that are defined."""
    if is_plain(text):
        return [Span(text)]
    return list(_InlineParser(text, references or {}).parse(_MARK))


def is_plain(text: str) -> bool:
    """True if a text has no inline Markdown."""
    return not _MARK.search(text)


def parse_html(text: str) -> list[Span]:
    """Return the spans of a text in HTML: a few tags are drawn, all others are shown unchanged."""
    return list(_InlineParser(text, {}).parse(_TAG_MARK))


class _Bracket(NamedTuple):
    """A bracket that may begin a link or image: its node, where its text begins, and the delimiters before it."""

    node: InlineNode
    start: int
    delimiter_count: int
    position: int
    is_image: bool


class _InlineParser:
    """The algorithm of CommonMark, section "Phase 2: inline structure", with extensions for what models write."""

    def __init__(self, text: str, references: Mapping[str, Target]) -> None:
        self._text, self._references = text, references
        self._nodes: list[InlineNode] = []
        self._delimiters: list[Delimiter] = []
        self._brackets: list[_Bracket] = []
        self._links: list[str] = []
        self._inner_bracket = 0  # the position of the last bracket; labels contain none
        self._links_end = 0  # brackets before this one cannot begin a link: links are not nested
        self._missing: dict[str, int] = {}
        self._runs: dict[int, list[int]] | None = None

    def parse(self, marks: re.Pattern[str]) -> Iterator[Span]:
        """Yield the spans; `marks` finds all characters that may begin or end something other than text."""
        text, position, count = self._text, 0, 0
        while count < MAX_MARKS and (mark := marks.search(text, position)):
            if mark.start() > position:
                self._nodes.append(InlineNode(text[position : mark.start()]))
            position = self._parse_mark(mark[0], mark.start())
            count += 1
        self._nodes.append(InlineNode(text[position:]))
        match_delimiters(self._delimiters)
        return self._build_spans()

    def _parse_mark(self, mark: str, start: int) -> int:
        """Parse the syntax that begins with this mark; return where it ends."""
        end = self._PARSERS.get(mark[0], _InlineParser._parse_address)(self, mark, start)
        if end is None:
            self._nodes.append(InlineNode(mark))
            return start + len(mark)
        return end

    def _add(self, text: str, style: str = "", *, is_mark: bool = False) -> InlineNode:
        node = InlineNode(text, style, is_mark=is_mark)
        self._nodes.append(node)
        return node

    def _parse_backslash(self, _mark: str, start: int) -> int | None:
        if (end := self._parse_formula("", start)) is not None:
            return end
        if _LONE_BRACKET.match(self._text, start) and self._text[start - 1 : start] in ("", "\n"):
            return None  # the bracket of a formula that contains a blank line
        if escape := _ESCAPE.match(self._text, start):
            self._add(escape[1])
            return escape.end()
        return start + 1 if self._text.startswith("\n", start + 1) else None

    def _parse_formula(self, _mark: str, start: int) -> int | None:
        """Add a formula in TeX notation unchanged."""
        opening = _FORMULA_START.match(self._text, start)
        if opening is None:
            return None
        closing = f"\\end{{{opening[1]}}}" if opening[1] else _FORMULA_ENDS[opening[0]]
        if (end := self._find(closing, opening.end())) is None:
            return None
        content = self._text[opening.end() : end]
        end += len(closing)
        if "\n\n" in content or not any(map(str.isalnum, content)) or _is_prose(content):
            return None
        if closing == "$" and (content[-1].isspace() or self._text[end : end + 1].isdigit() or "\n" in content):
            return None
        self._add(self._text[start:end], CODE)
        return end

    def _find(self, mark: str, start: int) -> int | None:
        """Return the next position of the mark; a missing one is searched for only once."""
        if start >= self._missing.get(mark, len(self._text) + 1):
            return None
        found = self._text.find(mark, start)
        while found > 0 and mark[0] == "$" and self._text[found - 1] == "\\":
            found = self._text.find(mark, found + 1)
        if found < 0:
            self._missing[mark] = start
            return None
        return found

    def _parse_code(self, mark: str, start: int) -> int | None:
        begin = start + len(mark)
        if (end := self._find_backticks(mark, begin)) is None:
            return None
        content = self._text[begin:end].replace("\n", " ")
        is_padded = content.startswith(" ") and content.endswith(" ") and not content.isspace()
        self._add(content[1:-1] if is_padded else content, CODE)
        return end + len(mark)

    def _find_backticks(self, mark: str, begin: int) -> int | None:
        """Return where the next run of the same length begins; the runs are counted if the first search fails."""
        if self._runs is None:
            end = self._text.find(mark, begin)
            if end >= 0 and self._text[end - 1] != "`" != self._text[end + len(mark) : end + len(mark) + 1]:
                return end
            self._runs = {}
            for run in _BACKTICKS.finditer(self._text):
                self._runs.setdefault(len(run[0]), []).append(run.start())
        runs = self._runs.get(len(mark), [])
        index = bisect_left(runs, begin)
        return runs[index] if index < len(runs) else None

    def _parse_delimiter(self, mark: str, start: int) -> int:
        end = start + len(mark)
        before, after = self._text[start - 1 : start] if start else " ", self._text[end : end + 1] or " "
        can_open, can_close = can_emphasize(mark, before, after)
        node = self._add(mark)
        if can_open or can_close:
            self._delimiters.append(Delimiter(node, can_open=can_open, can_close=can_close))
        return end

    def _parse_entity(self, _mark: str, start: int) -> int | None:
        if (entity := _ENTITY.match(self._text, start)) is None:
            return None
        self._add(sanitize(decode_entity(entity[0])))
        return entity.end()

    def _parse_angle(self, _mark: str, start: int) -> int | None:
        text = self._text
        if link := _AUTOLINK.match(text, start):
            is_mail = "@" in link[1] and ":" not in link[1]
            self._add_link(link[1], f"mailto:{link[1]}" if is_mail else link[1])
            return link.end()
        if line_break := _LINE_BREAK.match(text, start):
            self._add("\n")
            return line_break.end()
        if script := _SCRIPT.match(text, start):
            self._add(_draw_script(script[1].lower(), script[2]))
            return script.end()
        if tag := _DRAWN_TAG.match(text, start):
            self._add_tag(tag[2].lower(), is_end=bool(tag[1]))
            return tag.end()
        end = tag.end() if (tag := _TAG.match(text, start)) else self._find_declaration_end(start)
        if end:
            self._add(text[start:end])
        return end

    def _add_tag(self, name: str, *, is_end: bool) -> None:
        """Draw a start or end tag, except that of a subscript or superscript of digits."""
        if name == "summary":
            node = self._add("" if is_end else "▸ ")
            node.closes, node.opens = ((BOLD,), ()) if is_end else ((), (BOLD,))
        elif name in _SCRIPT_MARKS:
            self._add(")" if is_end else _SCRIPT_MARKS[name] + "(")

    def _find_declaration_end(self, start: int) -> int | None:
        opening = _DECLARATION.match(self._text, start)
        if opening is None:
            return None
        for short in ("<!-->", "<!--->"):
            if self._text.startswith(short, start):
                return start + len(short)
        ending = _DECLARATION_ENDS.get(opening[0], ">")
        end = self._find(ending, opening.end())
        return None if end is None else end + len(ending)

    def _parse_address(self, mark: str, start: int) -> int | None:
        """Add an address that is written without brackets; the punctuation after it is not part of it."""
        match = _ADDRESS.match(self._text, start)
        address = _strip_address(match[0]) if match else ""
        if len(address) <= len(mark):
            return None
        self._add_link(address, address if ":" in mark else f"http://{address}")
        return start + len(address)

    def _add_link(self, text: str, address: str) -> None:
        """Add a link whose text is its address."""
        self._add("").opens = (self._add_target(address),)
        self._add(sanitize(format_address(text)))
        self._add("").closes = (self._open_link(),)

    def _add_target(self, address: str) -> str:
        """Add the address of a link that begins; return the style that stands for it."""
        self._links.append(sanitize(address))
        return self._open_link()

    def _open_link(self) -> str:
        """Return the style of the last link."""
        return f"link {len(self._links) - 1}"

    def _parse_bracket(self, mark: str, start: int) -> int:
        if note := _NOTE.match(self._text, start):
            self._add(f"[{note[1]}]", DIM)
            return note.end()
        node = self._add(mark)
        self._inner_bracket = start
        end = start + len(mark)
        self._brackets.append(_Bracket(node, end, len(self._delimiters), len(self._nodes) - 1, mark == "!["))
        return end

    def _parse_closing(self, _mark: str, start: int) -> int | None:
        if not self._brackets:
            return None
        bracket = self._brackets.pop()
        if not bracket.is_image and bracket.start <= self._links_end:
            return None
        target = parse_inline_target(self._text, start + 1) if self._text.startswith("(", start + 1) else None
        if target is None:
            target = self._find_reference(bracket, start)
        if target is None:
            return None
        match_delimiters(self._delimiters[bracket.delimiter_count :])
        del self._delimiters[bracket.delimiter_count :]
        self._close_link(bracket, target)
        return target.end

    def _find_reference(self, bracket: _Bracket, start: int) -> Target | None:
        """Return the target of the label after a text in brackets, or of the text itself."""
        if not self._references:
            return None
        label, end = parse_label(self._text, start + 1) or ("", start + 1)
        if label == "" and self._text.startswith("[]", end):
            end += 2
        if label == "":
            has_bracket = self._inner_bracket >= bracket.start
            if has_bracket or start - bracket.start > MAX_LABEL_LENGTH:
                return None
            label = self._text[bracket.start : start]
        target = self._references.get(normalize_label(label))
        return target and target._replace(end=end)

    def _close_link(self, bracket: _Bracket, target: Target) -> None:
        """Turn the text since the bracket into the text of a link, followed by the address if it adds information."""
        address, title = sanitize(format_address(target.address)), sanitize(target.title)
        hint = f' ({address} "{title}")' if title else f" ({address})"
        if bracket.is_image:
            self._close_image(bracket, hint)
            return
        bracket.node.text = ""
        bracket.node.opens = (self._add_target(target.address),)
        visible = address.removeprefix("mailto:")
        shown = "".join(node.text for node in self._nodes[bracket.position :])
        has_hint = bool(title) or shown not in (address, visible)
        hint = hint.replace("mailto:", "", 1) if has_hint else ""
        self._add(hint, DIM, is_mark=True).closes = (self._open_link(),)
        self._links_end = bracket.start

    def _close_image(self, bracket: _Bracket, hint: str) -> None:
        """Turn the text since the bracket into the description of an image, which has no styles of its own."""
        inner = self._nodes[bracket.position + 1 :]
        del self._nodes[bracket.position :]
        description = "".join(node.text for node in inner if not node.is_mark) or "image"
        for text, style, is_mark in (
            ("[", ITALIC, True),
            (description, ITALIC, False),
            ("]", ITALIC, True),
            (hint, DIM, True),
        ):
            self._add(text, style, is_mark=is_mark)

    def _build_spans(self) -> Iterator[Span]:
        """Yield the texts of the nodes with their styles; neighbors that look the same become one span."""
        styles: dict[str, int] = {}  # how often each style is open
        current = Span("")
        texts, style, link = list[str](), "", ""
        for node in self._nodes:
            if node.closes:
                for name in node.closes:
                    _close_style(styles, name)
                current = self._merge_styles(styles)
            if node.text:
                own = _add_style(current.style, node.style) if node.style else current.style
                if texts and (own != style or current.link != link):
                    yield Span("".join(texts), style, link)
                    texts = []
                style, link = own, current.link
                texts.append(node.text)
            if node.opens:
                for name in node.opens:
                    styles[name] = styles.get(name, 0) + 1
                current = self._merge_styles(styles)
        if texts:
            yield Span("".join(texts), style, link)

    def _merge_styles(self, styles: Mapping[str, int]) -> Span:
        """Return an empty span with all these styles."""
        link = next((self._links[int(name[5:])] for name in styles if name.startswith("link ")), "")
        return Span("", ";".join(UNDERLINE if name.startswith("link ") else name for name in styles), link)

    _PARSERS: ClassVar[Mapping[str, Callable[["_InlineParser", str, int], int | None]]] = {
        "\\": _parse_backslash,
        "$": _parse_formula,
        "`": _parse_code,
        "*": _parse_delimiter,
        "_": _parse_delimiter,
        "~": _parse_delimiter,
        "&": _parse_entity,
        "<": _parse_angle,
        "[": _parse_bracket,
        "!": _parse_bracket,
        "]": _parse_closing,
    }


def _add_style(outer: str, own: str) -> str:
    """Return the style of a text within others; a hint is dim in any style."""
    if not own or not outer or own == DIM:
        return own or outer
    return outer if own in outer.split(";") else f"{outer};{own}"


def _strip_address(text: str) -> str:
    """Return an address without the punctuation after it, and without closing parentheses that it did not open."""
    excess, end = text.count(")") - text.count("("), len(text)
    while end and (text[end - 1] in _ADDRESS_END or (text[end - 1] == ")" and excess > 0)):
        excess -= text[end - 1] == ")"
        end -= 1
    return text[:end]


def _is_prose(text: str) -> bool:
    """True if a text in escaped brackets has words, but nothing that a formula of several letters would have."""
    return not _FORMULA_CHAR.search(text) and bool(_LONG_WORD.search(text))


def _close_style(styles: dict[str, int], style: str) -> None:
    if style in styles:
        styles[style] -= 1
        if not styles[style]:
            del styles[style]


def _draw_script(name: str, text: str) -> str:
    """Return a text as subscript or superscript, in parentheses if Unicode lacks one of its characters."""
    letters, scripts = _SCRIPTS[name]
    if all(char in letters for char in text):
        return text.translate(str.maketrans(letters, scripts))
    return f"{_SCRIPT_MARKS[name]}({text})" if len(text) > 1 else _SCRIPT_MARKS[name] + text
