"""Colour code slice by slice: what a slice leaves open is carried on to the next."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# The sixteen colours that a terminal's own scheme has chosen to be readable.
COLOURS = {
    "Comment": "2",
    "Keyword": "35",
    "Keyword.Constant": "33",
    "Literal.String": "32",
    "Literal.Number": "33",
    "Name.Function": "34",
    "Name.Class": "34",
    "Name.Tag": "34",
    "Name.Builtin": "36",
    "Name.Decorator": "36",
    "Name.Attribute": "36",
    "Name.Exception": "36",
    "Name.Variable": "36",
    "Operator.Word": "35",
    "Generic.Deleted": "31",
    "Generic.Inserted": "32",
    "Generic.Heading": "1",
    "Generic.Subheading": "1",
    "Generic.Strong": "1",
    "Generic.Emph": "3",
}
OFF = "\x1b[m"
MOST_CARRIED = 1 << 16


class CodeHighlighter:
    """Colour the code of one block; `language` is the word behind the fence."""

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language) if language else None
        self._stack: tuple[str, ...] = ("root",)
        self._carried = ""

    def highlight(self, text: str) -> list[str]:
        """Take the next lines of the block."""
        if self._lexer is None:
            return text.split("\n")
        tokens = self._tokens(self._carried, text + "\n")
        return _lines(tokens)[:-1]

    def copy(self) -> "CodeHighlighter":
        """Give one that goes its own way."""
        other = CodeHighlighter("")
        vars(other).update(vars(self))
        return other

    def _tokens(self, carried: str, text: str) -> list[tuple[str, str]]:
        """Read what was left open, and the text; give colours and texts of that alone."""
        from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer

        lexer: Any = self._lexer
        if not issubclass(type(lexer), RegexLexer) or issubclass(type(lexer), ExtendedRegexLexer):
            # What keeps a state of its own, as that of YAML does, begins each slice anew.
            return [(_colour(kind), value) for _, kind, value in lexer.get_tokens_unprocessed(text)]
        context = LexerContext(carried + text, 0, list(self._stack), len(carried) + len(text))
        found, start, kind, stack = [], 0, None, self._stack
        for start, kind, value in ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context):
            stack = tuple(context.stack)
            if shown := value[max(0, len(carried) - start) :]:
                found.append((_colour(kind), shown))
        self._stack, self._carried = tuple(context.stack), ""
        rest = (carried + text)[start:]
        if kind is not None and "\n" in rest.rstrip("\n") and len(rest) < MOST_CARRIED and _may_be_open(kind):
            self._stack, self._carried = stack, rest
        return found


def _lines(tokens: list[tuple[str, str]]) -> list[str]:
    """Write the lines; each is complete with its colours."""
    pieces: list[str] = []
    now = ""
    for colour, value in tokens:
        for index, piece in enumerate(value.split("\n")):
            if index:
                pieces.append((OFF if now else "") + "\n")
                now = ""
            if not piece:
                continue
            if colour != now and piece.strip():
                pieces.append((OFF if now else "") + (f"\x1b[{colour}m" if colour else ""))
                now = colour
            pieces.append(piece)
    return "".join([*pieces, OFF if now else ""]).split("\n")


def _may_be_open(kind: Any) -> bool:
    return str(kind).startswith(("Token.Comment", "Token.Literal.String"))


@cache
def _colour(kind: Any) -> str:
    """Find the colour of a kind of token, or of what it is a kind of."""
    words = str(kind).split(".")[1:]
    return next((COLOURS[name] for end in range(len(words), 0, -1) if (name := ".".join(words[:end])) in COLOURS), "")


def _lexer(language: str) -> "Lexer | None":
    from pygments.lexers import get_lexer_by_name  # costs a fiftieth of a second; many answers hold no code
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, ensurenl=False, stripnl=False)
    except ClassNotFound:
        return None
