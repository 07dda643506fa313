"""No regular expression of the package becomes slow for a long text, whatever that text is."""

import ast
import importlib
import pkgutil
import re
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from time import process_time
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import pytest
from support.paths import ROOT

import aiml_cli

Pattern = re.Pattern[Any]
SHORT, LONG = 4_000, 40_000
MAX_RATIO = 40  # of the CPU times of a long and a short text; ten is linear
MAX_SECONDS = 0.02  # a long text that takes less is fast enough
# A short text that takes less takes less than MAX_SECONDS if it is ten times longer, even if growth is quadratic.
SCREEN_SECONDS = MAX_SECONDS / (LONG / SHORT) ** 2
LIMIT_SECONDS = 0.2
REPEATED_UNITS = [
    " ", "\t", "\n", "1", "a", "_", "no_", "key", "\\", '"', "'", "`", "[", "](", "(", "{", "<", "-", "|", ":", "*", "=", ".",
    "/", "@", "&", "\u4e16", " \n", "a ", "a.", "[a", "<a", "0a1b",
]  # fmt: skip
TEXT_ENDS = ["\x00", ""]
COMPILING_FUNCTIONS = {"compile", "search", "match", "fullmatch", "split", "sub", "subn", "findall", "finditer"}
USES_EXPRESSIONS = re.compile(rf"\.(?:{'|'.join(COMPILING_FUNCTIONS - {'split'})})\b|\bre\.split\b")
REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT, getattr(sre, "POSSESSIVE_REPEAT", None)}
# Arguments that only exist while the program runs, and why they need no test here.
DYNAMIC_EXPRESSIONS = {
    "api.error_kinds": "the tables of the module, whose texts are tried",
    "api.finish_reasons": "words of a table",
    "batch.template_cases": "an expression of the user's template, with a limit of CPU time",
    "output.markdown.ansi": "the constants of the module, which are tried",
    "output.markdown.block_parser": "what ends a formula, as it is",
    "output.markdown.block_syntax": "the table of the module, whose expressions are tried",
    "output.markdown.highlight": "the rules of Pygments, which scripts/vet_lexers.py tries",
    "prompt.find_secrets": "the tables of the module, whose texts are tried",
    "prompt.gitignore": "a rule of a .gitignore file, made linear, which a test of its own tries",
    "prompt.secret_rules": "the tables of the module, whose texts are tried",
    "snippets.javascript": "a random mark around digits",
    "snippets.request_parts": "a random mark around digits",
    "store.history.word_index": "a word that the user searches for, as it is",
    "store.toml_edit": "a name of the user's own config file, as it is",
    "system.sanitize": "the constants of the module, which are tried",
    "transport.key_masking": "the characters of the key",
}
# Expressions that grow and see only short texts, or texts of the user's own: the module, the beginning, and why.
KNOWN_GROWTHS = [
    ("output.markdown.ansi", "|(?P<fixed>", "one of several ways to take a word; the others take all of it too"),
    ("output.markdown.block_syntax", r"\s++[A-Za-z_:]", "a part of the expression of a tag: it follows its name"),
    ("output.markdown.highlight", r"(?:.|(?<=", "a part of rules of Pygments, which are left out for it"),
    (
        "prompt.secret_rules",
        r"(?:[^\n\\]|\\[\s\S]){0,200}?",
        "the rest of a rule: it begins after the rule's own words",
    ),
    ("prompt.secret_rules", r"\d:[\s\S]{0,1000}?", "the rest of a rule: it begins after the rule's own words"),
]


class TooSlowError(Exception):
    """A search took more than its limit."""


def import_modules() -> list[ModuleType]:
    names = [info.name for info in pkgutil.walk_packages(aiml_cli.__path__, "aiml_cli.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def find_compiled(value: Any, seen: set[int], depth: int = 4) -> Iterator[Pattern]:
    """Yield the patterns in a value, its items and its attributes."""
    if id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, re.Pattern):
        yield value
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif str(getattr(value, "__module__", "")).startswith("aiml_cli"):
        inner = [*getattr(value, "__dict__", {}).values(), *(getattr(value, "__defaults__", None) or ())]
    for item in inner:
        yield from find_compiled(item, seen, depth - 1)


@cache
def read_nodes(module: ModuleType) -> list[ast.AST]:
    """Return the functions, calls and attributes in the source of a module; none if it uses no expression."""
    source = Path(module.__file__ or "").read_text("utf-8")
    nodes = ast.walk(ast.parse(source if USES_EXPRESSIONS.search(source) else ""))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.Call | ast.Attribute)]


def find_written(module: ModuleType) -> Iterator[tuple[str, Any, int, str]]:
    """Yield each expression in the source: the call, the value or None, its flags, and the method."""
    compilers = {name for node in read_nodes(module) if (name := find_compiler(node))}
    for node in read_nodes(module):
        if isinstance(node, ast.Call) and node.args and (is_compiling(node) or ast.unparse(node.func) in compilers):
            flags = [argument for argument in node.args[1:] if ast.unparse(argument).startswith("re.")]
            flags += [keyword.value for keyword in node.keywords if keyword.arg == "flags"]
            method = node.func.attr if is_compiling(node) and isinstance(node.func, ast.Attribute) else "compile"
            yield (
                ast.unparse(node),
                evaluate(node.args[0], module),
                int(evaluate(flags[0], module) if flags else 0),
                method,
            )


def is_compiling(node: ast.Call) -> bool:
    function = node.func
    return (
        isinstance(function, ast.Attribute)
        and ast.unparse(function.value) == "re"
        and function.attr in COMPILING_FUNCTIONS
    )


def find_compiler(node: ast.AST) -> str:
    """Return the name of a function that compiles its own parameter, or ""."""
    if not isinstance(node, ast.FunctionDef):
        return ""
    parameters = {argument.arg for argument in node.args.args}
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and is_compiling(call) and call.args]
    return node.name if any(ast.unparse(call.args[0]) in parameters for call in calls) else ""


def evaluate(node: ast.expr, module: ModuleType) -> Any:
    try:
        return eval(compile(ast.Expression(node), "", "eval"), vars(module).copy())  # noqa: S307 - our own source
    except NameError:
        return None


def find_used_methods(module: ModuleType) -> Iterator[tuple[tuple[Any, int], str]]:
    """Yield each pattern that has a name, with a method that is called with a text."""
    for node in read_nodes(module):
        if isinstance(node, ast.Attribute) and node.attr in COMPILING_FUNCTIONS and isinstance(node.ctx, ast.Load):
            owner = node.value.value if isinstance(node.value, ast.Subscript) else node.value
            found = evaluate(owner, module) if isinstance(owner, ast.Name | ast.Attribute) else None
            for pattern in find_compiled(found, set(), 2):
                yield (pattern.pattern, pattern.flags), node.attr


class Expression(NamedTuple):
    """An expression: a module that has it, and the methods that are called; if that is not known, all of them."""

    pattern: Pattern
    module: str
    methods: tuple[str, ...]


@cache
def collect_expressions() -> tuple[list[Expression], list[str]]:
    """Return all expressions, and the source of those that only exist while the program runs."""
    places: dict[tuple[Any, int], str] = {}
    methods: dict[tuple[Any, int], set[str]] = defaultdict(set)
    dynamic = []
    for module in import_modules():
        name = module.__name__.removeprefix("aiml_cli.")
        for pattern in find_compiled(list(vars(module).values()), set(), 6):
            places.setdefault((pattern.pattern, pattern.flags), name)
        for key, method in find_used_methods(module):
            methods[key].add(method)
        for source, value, flags, method in find_written(module):
            if isinstance(value, str | bytes):
                compiled = re.compile(value, flags)
                places.setdefault((compiled.pattern, compiled.flags), name)
                methods[compiled.pattern, compiled.flags] |= {method} - {"compile"}
            elif value is None:
                dynamic.append(f"{name}: {source}")
                for text in find_texts(vars(module)):
                    places.setdefault((text, flags | re.UNICODE), name)
    expressions = [Expression(re.compile(*key), name, choose_methods(methods[key])) for key, name in places.items()]
    return expressions, dynamic


def find_texts(names: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of a module's tables that look like expressions: they may be compiled while the program runs."""
    todo = [value for name, value in names.items() if name.lstrip("_").isupper()]
    while todo:
        value = todo.pop()
        if isinstance(value, list | tuple | dict | set | frozenset):
            todo += [*value, *(value.values() if isinstance(value, dict) else ())]
        elif isinstance(value, str) and re.search(r"[*+?}]", value):
            with suppress(re.error):
                yield re.compile(value).pattern


def choose_methods(used: set[str]) -> tuple[str, ...]:
    """Return the methods to try: sub looks at every position, as search, split and findall do."""
    if not used:
        return ("sub", "match", "fullmatch")
    return tuple({name if name in ("match", "fullmatch") else "sub": None for name in sorted(used)})


def build_match(items: Sequence[Any]) -> str:
    """Return a short text that these parts of an expression match, or nearly."""
    return "".join(build_item_match(operation, argument) for operation, argument in items)


def build_item_match(operation: Any, argument: Any) -> str:
    if operation is sre.LITERAL:
        return chr(argument)
    if operation in REPEATS:
        return build_match(argument[2]) * argument[0]
    if operation is sre.IN:
        return build_class_match(argument)
    if operation is sre.BRANCH:
        return build_match(argument[1][0])
    if operation is sre.SUBPATTERN:
        return build_match(argument[3])
    if operation is getattr(sre, "ATOMIC_GROUP", None):
        return build_match(argument)
    return "a" if operation in (sre.ANY, sre.NOT_LITERAL) else ""


def build_class_match(members: Sequence[Any]) -> str:
    chars = {sre.CATEGORY_DIGIT: "1", sre.CATEGORY_SPACE: " ", sre.CATEGORY_WORD: "a", sre.CATEGORY_NOT_SPACE: "a"}
    operation, argument = members[0]
    if operation is sre.NEGATE:
        excluded = {argument for operation, argument in members if operation is sre.LITERAL}
        return next(char for char in "a b1" if ord(char) not in excluded)
    if operation is sre.CATEGORY:
        return chars.get(argument, "-")
    return chr(argument[0] if operation is sre.RANGE else argument)


def find_repeats(items: Sequence[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield a text that leads to each repetition, and what it repeats."""
    for position, (operation, argument) in enumerate(items):
        start = before + build_match(items[:position])
        inner: list[Sequence[Any]] = []
        if operation in REPEATS:
            yield start, build_match(argument[2]) or "a"
            inner = [argument[2]]
        elif operation is sre.BRANCH:
            inner = argument[1]
        elif operation is sre.SUBPATTERN:
            inner = [argument[3]]
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            inner = [argument[1]]
        elif operation is getattr(sre, "ATOMIC_GROUP", None):
            inner = [argument]
        for part in inner:
            yield from find_repeats(part, start)


def build_texts(pattern: Pattern) -> Iterator[tuple[str, str, str]]:
    """Yield texts that are made to slow a search down: a start, a unit to repeat, and an end; likely ones first."""
    repeats = list(find_repeats(sre_parser.parse(pattern.pattern, pattern.flags)))
    starts = dict.fromkeys(["", *(start for start, _ in repeats)])
    units = dict.fromkeys(unit for pair in repeats for unit in pair if unit)
    texts = [*product(starts, units, TEXT_ENDS), *product(starts, REPEATED_UNITS, TEXT_ENDS)]
    yield from dict.fromkeys([*((start, unit, end) for start, unit in repeats for end in TEXT_ENDS), *texts])


def measure_seconds(pattern: Pattern, text: tuple[str, str, str], length: int, method: str) -> float:
    """Return the CPU time of a search; raise TooSlowError if it takes more than LIMIT_SECONDS."""
    start, unit, end = text
    whole: Any = start + unit * (length // len(unit)) + end
    if isinstance(pattern.pattern, bytes):
        whole = whole.encode()
    began = process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_SECONDS)
    try:
        getattr(pattern, method)(*([whole[:0]] if method == "sub" else []), whole)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return process_time() - began


def find_growth(pattern: Pattern, methods: Sequence[str], budget: float) -> str:
    """Return a text and a method whose time grows more than linearly, or ""."""
    began = process_time()
    for text, method in product(build_texts(pattern), methods):
        if process_time() - began > budget:
            break
        try:
            short = measure_seconds(pattern, text, SHORT, method)
            if short < SCREEN_SECONDS:
                continue
            long = min(measure_seconds(pattern, text, LONG, method) for _ in range(2))
            if long <= max(MAX_SECONDS, MAX_RATIO * short):
                continue
            growth = f"{long / short:.0f} times the time for ten times the text"
        except TooSlowError:
            growth = f"more than {LIMIT_SECONDS} s"
        return f"{method} of {text!r}: {growth}"
    return ""


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Raise TooSlowError in a search that exceeds its CPU time; the module re looks for signals while it searches."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, fail)
    yield
    signal.signal(signal.SIGVTALRM, before)


def test_each_expression_in_the_source_is_tested_or_has_a_reason_not_to_be() -> None:
    expressions, dynamic = collect_expressions()
    assert len(expressions) > 50
    assert [source for source in dynamic if source.partition(":")[0] not in DYNAMIC_EXPRESSIONS] == []


@pytest.mark.promise("linear-time")
@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("budget", [0.01, pytest.param(1.0, marks=pytest.mark.slow)])
def test_no_expression_grows_more_than_linearly(budget: float) -> None:
    """The budget is the CPU time for each expression, in seconds; the likely texts come first."""
    expressions = [each for each in collect_expressions()[0] if not is_known(each)]
    growths = {
        f"{each.module}: {each.pattern.pattern!r}": find_growth(each.pattern, each.methods, budget)
        for each in expressions
    }
    assert {name: growth for name, growth in growths.items() if growth} == {}


def is_known(expression: Expression) -> bool:
    text = expression.pattern.pattern
    return any(expression.module == module and str(text).startswith(start) for module, start, _ in KNOWN_GROWTHS)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize(
    "expression",
    [
        r"\s*```[^\n`]*\n(.*?)\s*```\s*",
        r"(a+)+$",
        r"x[ab]*a*b*$",
        r"(?:no_)*key=(\w+\s*)*;",
        r"<(.*?)>",
        rb"\d+\s*\d+x",
    ],
)
def test_an_expression_with_faster_growth_is_detected(expression: Any) -> None:
    assert find_growth(re.compile(expression, re.DOTALL), ("sub", "fullmatch"), 1.0)


def test_the_package_is_the_one_under_test() -> None:
    assert Path(aiml_cli.__file__ or "").parent == ROOT / "aiml_cli"
