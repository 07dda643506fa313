"""Highlight code slice by slice, in bounded time; code that cannot be highlighted is plain text."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from time import thread_time
from typing import TYPE_CHECKING, Any

from aiml_cli.output.markdown.ansi import join_spans
from aiml_cli.output.markdown.inline import Span
from aiml_cli.system.terminal import BLUE, GREEN, MAGENTA, RED

if TYPE_CHECKING:
    from pygments.lexer import Lexer

COLORS = {
    name: color
    for color, names in (
        ("1", "Generic.Heading Generic.Subheading Generic.Strong"),
        ("2", "Comment"),
        ("3", "Generic.Emph"),
        (RED, "Generic.Deleted Keyword.Constant Literal.Number"),
        (GREEN, "Generic.Inserted Literal.String"),
        (BLUE, "Name.Function Name.Class Name.Tag Name.Builtin Name.Exception Name.Variable"),
        (MAGENTA, "Keyword Operator.Word Name.Decorator Name.Attribute"),
    )
    for name in names.split()
}
# The lexers that are safe. The others of Pygments are not used: some of their regular expressions take exponential
# time, for 60 backslashes for example, and no thread or signal can stop that. scripts/vet_lexers.py wrote the list:
# it derives hostile code from all expressions of a lexer, and measures how long that takes.
_NAMES = (
    "ada apacheconf applescript awk bash bibtex c clojure cmake cobol coffeescript common-lisp console coq cpp "
    "crystal csharp css cuda cypher d dart delphi diff django docker elixir elm erb erlang fish fortran fsharp gas "
    "gdscript glsl go graphql groovy handlebars haskell hlsl html http ini java javascript jinja json json5 jsonnet "
    "jsx julia kotlin latex lean less lua make markdown matlab mysql nasm nginx nim nix objective-c ocaml octave "
    "pascal perl php plpgsql postgresql powershell prolog properties protobuf puppet pytb python r rego ruby rust sas "
    "sass scala scheme scss sed solidity sparql sql stata swift systemverilog tcl tcsh terraform toml tsql tsx turtle "
    "twig typescript v vb.net verilog vhdl vim vue wgsl xml yaml zig "
)
SAFE_LEXERS = frozenset(_NAMES.split())
# Other names that models write after a fence.
ALIASES = {
    alias: name
    for name, aliases in {
        "bash": "sh shell zsh ksh ash dash bashrc zshrc shellscript shell-script openrc ebuild",
        "c": "h",
        "clojure": "clj cljs edn",
        "common-lisp": "lisp elisp emacs-lisp emacs cl",
        "console": "shell-session shellsession terminal sh-session bash-session",
        "cpp": "c++ cc cxx hpp hxx h++ arduino ino",
        "csharp": "c# cs",
        "delphi": "objectpascal",
        "diff": "patch udiff git-diff",
        "docker": "dockerfile containerfile",
        "elixir": "ex exs",
        "erlang": "erl",
        "fortran": "f90 f95",
        "fsharp": "f# fs",
        "gas": "asm assembly s x86asm",
        "go": "golang",
        "graphql": "gql",
        "groovy": "gradle",
        "handlebars": "hbs mustache",
        "haskell": "hs",
        "html": "htm xhtml",
        "http": "https",
        "ini": "cfg dosini conf config systemd service editorconfig gitconfig",
        "java": "jsp",
        "javascript": "js mjs cjs node nodejs ecmascript",
        "jinja": "jinja2 j2 django-html",
        "json": "jsonc jsonl ndjson json-lines geojson ipynb jsonld json-ld",
        "julia": "jl",
        "kotlin": "kt kts",
        "latex": "tex",
        "make": "makefile mk mf bsdmake",
        "markdown": "md mdx mdown",
        "matlab": "m",
        "mysql": "mariadb",
        "nim": "nimrod",
        "objective-c": "objc objectivec obj-c",
        "ocaml": "ml",
        "perl": "pl",
        "php": "php3 php4 php5",
        "postgresql": "postgres pgsql",
        "powershell": "ps1 pwsh posh psm1",
        "properties": "env dotenv jproperties",
        "protobuf": "proto proto3",
        "python": "py py3 python3 python2 py2 pyi pycon python-console doctest bazel starlark sage",
        "r": "rscript rlang splus",
        "ruby": "rb rake gemfile",
        "rust": "rs",
        "scheme": "scm racket rkt",
        "sql": "sqlite sqlite3 plsql oracle snowflake bigquery duckdb ansi-sql redshift sparksql hiveql presto trino",
        "systemverilog": "sv",
        "terraform": "tf hcl",
        "tsql": "t-sql mssql sqlserver",
        "typescript": "ts mts cts",
        "vb.net": "vb vbnet visualbasic",
        "verilog": "vlog",
        "vim": "viml vimscript",
        "xml": "svg xsl xsd rss atom plist xaml wsdl kml",
        "yaml": "yml",
    }.items()
    for alias in aliases.split()
}
# What makes expressions unsafe: a repeated choice whose last branch matches what the others match, as in
# "(\\\\"|[^"])*", and a word that may be matched in part. Both become possessive; rules with _UNFIXABLE are dropped.
_CHOICE = re.compile(r"(\|\[\^(?:[^\]\\]|\\.){1,20}\]\)[*+])(?![*+?])")
_HEREDOC = (r"(\w+)[\w\W]+?\2", r"(\w++)[\w\W]+?\2")
_UNFIXABLE = (r"(?:.|(?<=\\)\n)*\n", r"([\s\S]*)(\6)")
# Longer lines are plain, and so is all code after this much highlighted text in one answer.
MAX_LINE_LENGTH = 500
MAX_HIGHLIGHTED_LENGTH = 100_000
# How much text a lexer gets in one call, and how much of an open comment or string is carried to the next slice.
MAX_PIECE_LENGTH, MAX_PIECE_LINES, MAX_CARRIED_LENGTH = 2000, 50, 4000
MAX_STACK_DEPTH = 200
# If a piece takes longer than this, in seconds of CPU, the rest of the answer is plain. Most take less than 0.01 s.
MAX_PIECE_S = 0.1
# These rules of a lexer start another one, which may be unsafe.
NESTING_RULES = {"content_callback", "language_callback", "_handle_codeblock", "_handle_sourcecode"}


class CodeHighlighter:
    """Highlighter for one block of code; `language` is the word after the fence.

    `budget`: how many characters may still be highlighted; the next block of the answer gets the rest.
    """

    def __init__(self, language: str, budget: int = MAX_HIGHLIGHTED_LENGTH) -> None:
        self.budget = budget
        self._lexer = _find_lexer(language.lower()) if language and budget > 0 else None
        self._stack: tuple[str, ...] = ("root",)
        self._carried = ""
        self._is_php = ALIASES.get(language.lower(), language.lower()) == "php"

    def highlight(self, text: str) -> list[str]:
        """Return the next lines of the block with their colors."""
        lines = text.split("\n")
        if self._lexer is None:
            return lines
        if self._is_php and not text.lstrip().startswith("<"):
            self._stack = ("root", "php")  # code without the tag that opens PHP in HTML
        self._is_php = False
        colored: list[str] = []
        for piece in _split_pieces(lines):
            colored += self._highlight_piece(piece)
        return colored

    def _highlight_piece(self, lines: list[str]) -> list[str]:
        """Return the lines with their colors; after a failure or a timeout, the rest is plain."""
        if self._lexer is None:
            return lines
        short = ["" if len(line) > MAX_LINE_LENGTH else line for line in lines]
        text, began = "\n".join(short) + "\n", thread_time()
        self.budget -= len(self._carried) + len(text)
        try:
            spans = self._tokenize(self._carried, text)
        except Exception:  # noqa: BLE001 - after an error in a lexer, the text is shown without colors
            spans = []
        if self.budget < 0 or thread_time() - began > MAX_PIECE_S:
            self.budget = 0
        if not self.budget or "".join(span.text for span in spans) != text:
            self._lexer = None
            return lines
        return [drawn or line for drawn, line in zip(_format_lines(spans), lines, strict=False)]

    def _tokenize(self, carried: str, text: str) -> list[Span]:
        """Parse the carried text and the new one; return the spans of the new one."""
        from pygments.lexer import ExtendedRegexLexer, RegexLexer  # already loaded with the lexer

        lexer: Any = self._lexer
        if not isinstance(lexer, RegexLexer) or isinstance(lexer, ExtendedRegexLexer):
            # Lexers with a state of their own, such as YAML's, start again with each slice.
            return [Span(value, _find_color(token)) for _, token, value in lexer.get_tokens_unprocessed(text)]
        spans, start, token, before = [], 0, None, self._stack
        stack = list(self._stack)
        for start, token, value, stack_before in _run_lexer(lexer, carried + text, stack):
            before = stack_before
            if new := value[max(0, len(carried) - start) :]:
                spans.append(Span(new, _find_color(token)))
        self._stack, self._carried = tuple(stack), ""
        rest = (carried + text)[start:]
        if token is not None and "\n" in rest.rstrip("\n") and _can_continue(token):
            self._stack, self._carried = before, rest
        if len(self._carried) > MAX_CARRIED_LENGTH:
            self._lexer = None
        return spans


def _run_lexer(lexer: Any, text: str, stack: list[str]) -> Iterator[tuple[int, Any, str, tuple[str, ...]]]:
    """Yield the start, type and text of each token and the stack before it; update `stack`.

    This is `RegexLexer.get_tokens_unprocessed`, which does not expose its stack. Raises RecursionError for a stack
    that is too deep, and for rules that loop.
    """
    position = idle_count = 0
    states = lexer._tokens  # noqa: SLF001 - there is no public name
    while position < len(text):
        before = tuple(stack)
        for rule in states[stack[-1]]:
            if match := rule[0](text, position):
                break
        else:
            yield position, "Token.Error", text[position], before
            stack[:] = ["root"] if text[position] == "\n" else stack
            position += 1
            continue
        for start, token, value in _apply_rule(lexer, rule[1], match):
            yield start, token, value, before
        if rule[2] is not None:
            _change_stack(stack, rule[2])
        idle_count = idle_count + 1 if match.end() == position else 0
        position = match.end()
        if idle_count > MAX_STACK_DEPTH or len(stack) > MAX_STACK_DEPTH:
            raise RecursionError


def _apply_rule(lexer: Any, action: Any, match: Any) -> Iterable[tuple[int, Any, str]]:
    """Return the tokens of a match; `action` is None, a token type, or a function."""
    if action is None:
        return ()
    if not callable(action) or action.__name__ in NESTING_RULES:
        return ((match.start(), action, match.group()),)
    return action(lexer, match)  # type: ignore[no-any-return]


def _change_stack(stack: list[str], change: Any) -> None:
    """Pop and push states: `change` is a negative number of states to pop, "#push", or several states."""
    if isinstance(change, int):
        del stack[max(1, len(stack) + change) :]
        return
    for state in (change,) if isinstance(change, str) else change:
        if state != "#pop":
            stack.append(stack[-1] if state == "#push" else state)
        elif len(stack) > 1:
            stack.pop()


def _split_pieces(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines in pieces of at most MAX_PIECE_LENGTH characters and MAX_PIECE_LINES."""
    piece: list[str] = []
    size = 0
    for line in lines:
        size += min(len(line), MAX_LINE_LENGTH) + 1
        if piece and (size > MAX_PIECE_LENGTH or len(piece) == MAX_PIECE_LINES):
            yield piece
            piece, size = [], min(len(line), MAX_LINE_LENGTH) + 1
        piece.append(line)
    yield piece


def _format_lines(spans: list[Span]) -> list[str]:
    """Return the lines, each complete with its colors."""
    lines: list[list[Span]] = [[]]
    for span in spans:
        for index, piece in enumerate(span.text.split("\n")):
            if index:
                lines.append([])
            if piece.strip():
                lines[-1].append(Span(piece, span.style))
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


@cache
def _find_lexer(language: str) -> "Lexer | None":
    """Return the lexer of a language, or None if there is no safe one."""
    name = ALIASES.get(language, language)
    if name not in SAFE_LEXERS:
        return None
    from pygments.lexers import get_lexer_by_name  # takes 20 ms, and many answers have no code
    from pygments.lexers.shell import BashLexer  # other lexers contain it

    lexer = get_lexer_by_name(name, ensurenl=False, stripnl=False)
    for each in (BashLexer(), lexer):
        for rules in getattr(each, "_tokens", {}).values():
            rules[:] = filter(None, map(_repair_rule, rules))
    return lexer


def _repair_rule(rule: Any) -> Any:
    """Return a rule of a lexer with a safe expression, or None if there is none."""
    matches, action, change = rule
    pattern: re.Pattern[str] = matches.__self__
    if any(part in pattern.pattern for part in _UNFIXABLE):
        return None
    text = _CHOICE.sub(r"\1+", pattern.pattern).replace(*_HEREDOC)
    return (re.compile(text, pattern.flags).match, action, change) if text != pattern.pattern else rule
