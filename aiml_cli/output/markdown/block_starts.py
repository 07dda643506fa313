"""Recognize how blocks of Markdown begin in a line."""

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
FORMULA = re.compile(r"\$\$(?!\$)|\\{1,2}\[(?!.*\])|\\begin\{([A-Za-z]{1,20}\*?)\}")
_HTML_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_ATTRIBUTE = r"""[ \t]++[A-Za-z_:][\w.:-]*+(?:[ \t]*+=[ \t]*+(?:[^\s"'=<>`]++|'[^']*+'|"[^"]*+"))?+"""
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
        (rf"(?:<[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+[ \t]*+/?>|</[A-Za-z][A-Za-z0-9-]*+[ \t]*+>)[ \t]*+$", ""),
    )
)


class LineCursor:
    """A line from a position on: the indent there, in columns, and the text after it."""

    def __init__(self, line: str) -> None:
        self._column = self._start = self.indent = 0
        self._blank, self.bare = "", line
        if line[:1] in " \t":
            self._set(line)

    @property
    def rest(self) -> str:
        """The line from here on; of a tab that is skipped in part, spaces remain."""
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
