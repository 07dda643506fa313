"""Highlight code slice by slice; an unfinished comment or string continues in the next slice."""

from functools import cache
from typing import TYPE_CHECKING, Any

from aiml_cli.output.markdown.ansi import join_spans
from aiml_cli.output.markdown.inline import Span

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# The basic colors, which each terminal's own color scheme makes readable.
COLORS = {
    name: color
    for color, names in (
        ("1", "Generic.Heading Generic.Subheading Generic.Strong"),
        ("2", "Comment"),
        ("3", "Generic.Emph"),
        ("31", "Generic.Deleted"),
        ("32", "Generic.Inserted Literal.String"),
        ("33", "Keyword.Constant Literal.Number"),
        ("34", "Name.Function Name.Class Name.Tag"),
        ("35", "Keyword Operator.Word"),
        ("36", "Name.Builtin Name.Decorator Name.Attribute Name.Exception Name.Variable"),
    )
    for name in names.split()
}
MAX_CARRIED_LENGTH = 1 << 16


class CodeHighlighter:
    """Highlighter for one block of code; `language` is the word after the fence."""

    def __init__(self, language: str) -> None:
        self._lexer = _find_lexer(language) if language else None
        self._stack: tuple[str, ...] = ("root",)
        self._carried = ""

    def highlight(self, text: str) -> list[str]:
        """Return the next lines of the block with their colors."""
        if self._lexer is None:
            return text.split("\n")
        return _format_lines(self._tokenize(self._carried, text + "\n"))[:-1]

    def _tokenize(self, carried: str, text: str) -> list[Span]:
        """Parse the carried text and the new one; return the spans of the new one."""
        from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer  # loaded with the lexer

        lexer: Any = self._lexer
        if not issubclass(type(lexer), RegexLexer) or issubclass(type(lexer), ExtendedRegexLexer):
            # Lexers with a state of their own, such as YAML's, start again with each slice.
            return [Span(value, _find_color(token)) for _, token, value in lexer.get_tokens_unprocessed(text)]
        context = LexerContext(carried + text, 0, list(self._stack), len(carried) + len(text))
        spans, start, token, stack = [], 0, None, self._stack
        for start, token, value in ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context):
            stack = tuple(context.stack)
            if new := value[max(0, len(carried) - start) :]:
                spans.append(Span(new, _find_color(token)))
        self._stack, self._carried = tuple(context.stack), ""
        rest = (carried + text)[start:]
        if token is not None and "\n" in rest.rstrip("\n") and len(rest) < MAX_CARRIED_LENGTH and _can_continue(token):
            self._stack, self._carried = stack, rest
        return spans


def _format_lines(spans: list[Span]) -> list[str]:
    """Return the lines, each complete with its colors."""
    lines: list[list[Span]] = [[]]
    for text, color in spans:
        for index, piece in enumerate(text.split("\n")):
            if index:
                lines.append([])
            if piece.strip():
                lines[-1].append(Span(piece, color))
            elif piece:  # whitespace keeps the color before it
                lines[-1].append(Span(piece, lines[-1][-1].style if lines[-1] else ""))
    return list(map(join_spans, lines))


def _can_continue(token: Any) -> bool:
    return str(token).startswith(("Token.Comment", "Token.Literal.String"))


@cache
def _find_color(token: Any) -> str:
    """Return the color of a token type, or of the nearest type that contains it."""
    words = str(token).split(".")[1:]
    return next((COLORS[name] for end in range(len(words), 0, -1) if (name := ".".join(words[:end])) in COLORS), "")


def _find_lexer(language: str) -> "Lexer | None":
    from pygments.lexers import get_lexer_by_name  # takes 20 ms, and many answers have no code
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, ensurenl=False, stripnl=False)
    except ClassNotFound:
        return None
