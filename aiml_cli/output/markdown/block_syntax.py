"""The syntax of Markdown's blocks: how they begin in a line, the cells of a row, where a long text can be cut."""

import re

CODE_INDENT = TAB_WIDTH = 4
MIN_RULE_LENGTH = 3
# A line whose text begins with another character continues a paragraph or begins one.
START_CHARS = frozenset("#>`~*-+_<=|:[\\$0123456789")
CONTAINER_CHARS = frozenset(">[-*+0123456789")
ITEM = re.compile(r"([-*+]|\d{1,9}[.)])(?=[ \t]|$)")
NOTE = re.compile(r"\[\^([^\[\]\s]++)\]:[ \t]*+")
FENCE = re.compile(r"(`{3,}+(?=[^`]*+$)|~{3,}+)(.*+)")
HEADING = re.compile(r"#{1,6}+(?=[ \t]|$)")
_INDENT = re.compile(r"^[ \t]++", re.MULTILINE)
UNDERLINE = re.compile(r"(?:=++|-++)[ \t]*+$")
DELIMITERS = re.compile(r"\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
_FORMULA = re.compile(r"\$\$(?!\$)|\\{1,2}\[(?!.*\])|\\begin\{([A-Za-z]{1,20}\*?)\}")
FORMULA_CHAR = re.compile(r"[\\^_=&]")
_HTML_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_ATTRIBUTE = r"""\s++[A-Za-z_:][\w.:-]*+(?:\s*+=\s*+(?:[^\s"'=<>`]++|'[^']*+'|"[^"]*+"))?+"""
HTML_TAG = rf"<[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+\s*+/?>|</[A-Za-z][A-Za-z0-9-]*+\s*+>"
# The seven kinds of HTML blocks: how each begins, and what ends it; None is a blank line.
HTML_STARTS = tuple(
    (re.compile(start, re.IGNORECASE), re.compile(end, re.IGNORECASE) if end else None)
    for start, end in (
        (r"<(?:script|pre|style|textarea)(?=[ \t>]|$)", "</(?:script|pre|style|textarea)>"),
        ("<!--", "-->"),
        (r"<\?", r"\?>"),
        ("<![A-Za-z]", ">"),
        (r"<!\[CDATA\[", r"\]\]>"),
        (rf"</?(?:{_HTML_NAMES})(?=[ \t>]|/>|$)", ""),
        (rf"(?:{HTML_TAG})[ \t]*+$", ""),
    )
)

_CELL_END = re.compile(r"(?<!\\)\|")
_CODE_OR_FORMULA = re.compile(r"`[^`]{1,300}+`|\$(?!\s)[^$]{1,300}+(?<!\s)\$(?!\d)|\\\((?:[^\\]|\\[^)]){1,300}+\\\)")
_SENTENCE_END = re.compile(r"\n|(?<=[.!?:;]) |(?<=[\u3002\uff01\uff1f\uff1b\uff1a])")
_WORD_END = re.compile(r"\s|(?<=[\u3000-\u9fff\uac00-\ud7af\uff00-\uffef])")


class LineCursor:
    """A line from a position on: the indent there, in columns, and the text after it."""

    def __init__(self, line: str) -> None:
        self._column = self._start = self.indent = 0
        self._blank, self.bare = "", line
        if line[:1] in " \t":
            self._set(line)

    @property
    def rest(self) -> str:
        """Return the line from here on; a partly skipped tab becomes spaces."""
        if "\t" not in self._blank:
            return " " * self.indent + self.bare
        column = self._start
        for index, char in enumerate(self._blank):
            if column >= self._column:
                return " " * (column - self._column) + self._blank[index:] + self.bare
            column += TAB_WIDTH - column % TAB_WIDTH if char == "\t" else 1
        return " " * (column - self._column) + self.bare

    def skip_columns(self, count: int) -> None:
        """Skip spaces, which may be part of a tab."""
        self.indent = max(0, self.indent - count)
        self._column += count

    def skip_text(self, length: int) -> None:
        """Skip the indent and this many characters after it."""
        self._column += self.indent + length
        self._set(self.bare[length:])

    def skip_quote_mark(self) -> None:
        """Skip a quote mark and one column after it."""
        self.skip_text(1)
        self.skip_columns(min(1, self.indent))

    def _set(self, line: str) -> None:
        self.bare = line.lstrip(" \t")
        blank = self._blank = line[: len(line) - len(self.bare)]
        self._start = self._column
        if "\t" in blank:
            offset = self._column % TAB_WIDTH
            blank = (" " * offset + blank).expandtabs(TAB_WIDTH)[offset:]
        self.indent = len(blank)


def expand_indent(text: str) -> str:
    """Return the text with spaces in place of the tabs before each of its lines."""
    return _INDENT.sub(lambda match: match[0].expandtabs(TAB_WIDTH), text) if "\t" in text else text


def is_rule(bare: str) -> bool:
    """True if a line has only three or more of `*`, `-` or `_`."""
    if bare[0] not in "*-_":
        return False
    marks = bare.replace(" ", "").replace("\t", "")
    return len(marks) >= MIN_RULE_LENGTH and not marks.strip(bare[0])


def trim_heading(text: str) -> str:
    """Return the text of a heading without the marks that may close it."""
    text = text.strip(" \t")
    bare = text.rstrip("#")
    return bare.rstrip(" \t") if not bare or bare[-1] in " \t" else text


def find_formula_end(bare: str) -> str:
    """Return what ends the formula of several lines that begins here; "" if none does, or it ends in this line."""
    opening = _FORMULA.match(bare)
    if opening is None:
        return ""
    end = f"\\end{{{opening[1]}}}" if opening[1] else "$$" if opening[0] == "$$" else "\\]"
    return "" if end in bare[opening.end() :] else end


def find_cut(text: str) -> tuple[int, int] | None:
    """Return where a long text can be cut, and where the rest begins: after a sentence or word, outside of links."""
    half = len(text) // 2
    ends = [match for match in _SENTENCE_END.finditer(text, half) if match.start() < len(text)][-20:]
    for match in reversed(ends):
        if _is_balanced(text[: match.start()]):
            return match.span()
    words = [match.span() for match in _WORD_END.finditer(text, half)]
    return words[-1] if words else None


def _is_balanced(text: str) -> bool:
    """True if no link, code, formula or emphasis seems to be open at the end of a text."""
    is_even = all(text.count(mark) % 2 == 0 for mark in ("`", "**", "$", "~~"))
    return is_even and text.count("[") == text.count("]")


def fit_cells(row: str, count: int) -> list[str]:
    """Return the cells of a row of a table, as many as its header has.

    If there are more, bars in code and formulas do not end a cell; any excess belongs to the last cell.
    """
    cells = split_cells(row)
    if len(cells) > count:
        escaped = split_cells(_CODE_OR_FORMULA.sub(lambda match: _CELL_END.sub(r"\\|", match[0]), row))
        cells = escaped if len(escaped) >= count else cells
        cells = [*cells[: count - 1], " | ".join(filter(None, cells[count - 1 :]))]
    return cells + [""] * (count - len(cells))


def split_cells(row: str) -> list[str]:
    """Return the cells of a row of a table."""
    row = row.strip().removeprefix("|")
    row = row[:-1] if row.endswith("|") and not row.endswith("\\|") else row
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(row)]
