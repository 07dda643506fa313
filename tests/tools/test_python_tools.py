"""Functions of a Python file become tools: their schema, their calls, their process."""

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.tools.python_source import PythonSource, PythonTool
from aiml_cli.tools.tool import CallResult, ToolError


class PythonTools:
    """The tools of a Python file by name."""

    def __init__(self, source: PythonSource) -> None:
        self.source = source

    @property
    def tools(self) -> dict[str, PythonTool]:
        return {tool.definition.name: tool for tool in self.source.list_tools()}

    def call(self, name: str, **arguments: Any) -> CallResult:
        return self.tools[name].call(arguments)

    def call_together(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[CallResult]:
        results: dict[int, CallResult] = {}
        threads = [
            Thread(target=lambda i=i, name=name, given=given: results.update({i: self.call(name, **given)}))  # type: ignore[misc]
            for i, (name, given) in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[i] for i in range(len(calls))]


@contextmanager
def load_tools(text: str, *, name: str = "mine.py", printed: list[str] | None = None) -> Iterator[PythonTools]:
    Path(name).write_text(textwrap.dedent(text))
    source = PythonSource(name, report=None if printed is None else printed.append)
    source.start()
    try:
        source.wait_until_ready()
        yield PythonTools(source)
    finally:
        source.close()


PRELUDE = """
from collections.abc import Sequence, Mapping, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import *
from uuid import UUID
class Color(Enum):
    RED = "red"
    BLUE = "blue"
class Odd(Enum):
    A = (1, 2)
    B = (3, 4)
class Level(IntEnum):
    LOW = 1
@dataclass
class Place:
    name: str
    lat: float = 0.0
    tags: list[str] = field(default_factory=list)
@dataclass
class Tree:
    children: "list[Tree]"
class Point(NamedTuple):
    x: int
    y: int = 0
class Options(TypedDict, total=False):
    size: Required[int]
    name: str
UserId = NewType("UserId", int)
T = TypeVar("T", bound=str)
"""
STRING, INTEGER, NUMBER, BOOLEAN, NULL = ({"type": name} for name in ("string", "integer", "number", "boolean", "null"))
PLACE_SCHEMA = {
    "type": "object",
    "properties": {"name": STRING, "lat": NUMBER, "tags": {"type": "array", "items": STRING}},
    "required": ["name"],
    "additionalProperties": False,
}

# A type hint, its schema, a value of JSON, and the repr of the value that the function gets.
TYPE_HINTS: list[tuple[str, dict[str, Any], Any, str]] = [
    ("str", STRING, "x", "'x'"),
    ("int", INTEGER, 3, "3"),
    ("int", INTEGER, 3.0, "3"),
    ("float", NUMBER, 3, "3.0"),
    ("bool", BOOLEAN, True, "True"),
    ("None", NULL, None, "None"),
    ("Any", {}, [1], "[1]"),
    ("object", {}, "x", "'x'"),
    ("list", {"type": "array"}, [1, "a"], "[1, 'a']"),
    ("list[int]", {"type": "array", "items": INTEGER}, [1, 2.0], "[1, 2]"),
    ("List[str]", {"type": "array", "items": STRING}, ["a"], "['a']"),
    ("Sequence[float]", {"type": "array", "items": NUMBER}, [1], "[1.0]"),
    ("Iterable[int]", {"type": "array", "items": INTEGER}, [1], "[1]"),
    ("set[int]", {"type": "array", "items": INTEGER}, [1, 1], "{1}"),
    ("tuple[int, str]", {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2}, [1, "a"], "(1, 'a')"),
    ("tuple[int, ...]", {"type": "array", "items": INTEGER}, [1, 2], "(1, 2)"),
    ("dict", {"type": "object"}, {"a": 1}, "{'a': 1}"),
    ("dict[str, int]", {"type": "object", "additionalProperties": INTEGER}, {"a": 1.0}, "{'a': 1}"),
    ("Mapping[str, list[int]]", {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}}, {"a": [1]}, "{'a': [1]}"),
    ("Literal['a', 'b']", {"type": "string", "enum": ["a", "b"]}, "a", "'a'"),
    ("Literal[1, 'b', None]", {"enum": [1, "b", None]}, 1, "1"),
    ("Color", {"type": "string", "enum": ["red", "blue"]}, "red", "<Color.RED: 'red'>"),
    ("Odd", {"type": "string", "enum": ["A", "B"]}, "B", "<Odd.B: (3, 4)>"),
    ("Level", {"type": "integer", "enum": [1]}, 1, "<Level.LOW: 1>"),
    ("Optional[int]", {"anyOf": [INTEGER, NULL]}, None, "None"),
    ("int | None", {"anyOf": [INTEGER, NULL]}, 5, "5"),
    ("int | str", {"anyOf": [INTEGER, STRING]}, "5", "'5'"),
    ("float | int", {"anyOf": [NUMBER, INTEGER]}, 5, "5"),
    ("Color | list[Place]", {"anyOf": [{"type": "string", "enum": ["red", "blue"]}, {"type": "array", "items": PLACE_SCHEMA}]}, "blue", "<Color.BLUE: 'blue'>"),
    ("Place", PLACE_SCHEMA, {"name": "a", "lat": 1}, "Place(name='a', lat=1.0, tags=[])"),
    ("list[Place]", {"type": "array", "items": PLACE_SCHEMA}, [{"name": "a"}], "[Place(name='a', lat=0.0, tags=[])]"),
    ("Point", {"type": "object", "properties": {"x": INTEGER, "y": INTEGER}, "required": ["x"], "additionalProperties": False}, {"x": 1}, "Point(x=1, y=0)"),
    ("Options", {"type": "object", "properties": {"size": INTEGER, "name": STRING}, "required": ["size"], "additionalProperties": False}, {"size": 1}, "{'size': 1}"),
    ("Annotated[int, 'how many']", {**INTEGER, "description": "how many"}, 1, "1"),
    ("Annotated[Optional[str], 'who']", {"anyOf": [STRING, NULL], "description": "who"}, "a", "'a'"),
    ("list[Annotated[int, 'n']]", {"type": "array", "items": {**INTEGER, "description": "n"}}, [1], "[1]"),
    ("date", {**STRING, "format": "date"}, "2026-01-02", "datetime.date(2026, 1, 2)"),
    ("datetime", {**STRING, "format": "date-time"}, "2026-01-02T03:04:05+00:00", "datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)"),
    ("time", {**STRING, "format": "time"}, "03:04", "datetime.time(3, 4)"),
    ("Path", STRING, "a/b", "PosixPath('a/b')"),
    ("UUID", {**STRING, "format": "uuid"}, "12345678-1234-5678-1234-567812345678", "UUID('12345678-1234-5678-1234-567812345678')"),
    ("Decimal", NUMBER, 1.5, "Decimal('1.5')"),
    ("UserId", INTEGER, 7, "7"),
    ("T", STRING, "x", "'x'"),
]  # fmt: skip


@pytest.mark.parametrize("prelude", ["", "from __future__ import annotations\n"], ids=["types", "texts"])
def test_a_type_hint_becomes_a_schema_and_values_are_converted(prelude: str) -> None:
    functions = "".join(f"def f{i}(x: {hint}): return repr(x)\n" for i, (hint, *_) in enumerate(TYPE_HINTS))
    with load_tools(prelude + PRELUDE + functions) as mine:
        found = [mine.tools[f"f{i}"].definition.parameters["properties"]["x"] for i in range(len(TYPE_HINTS))]
        assert found == [schema for _, schema, _, _ in TYPE_HINTS]
        assert [mine.call(f"f{i}", x=value) for i, (_, _, value, _) in enumerate(TYPE_HINTS)] == [
            (text, False, ()) for *_, text in TYPE_HINTS
        ]


def test_a_recursive_class_is_described_to_a_limited_depth() -> None:
    with load_tools(PRELUDE + "def f(x: Tree): return len(x.children)") as mine:
        assert "children" in mine.tools["f"].definition.parameters["properties"]["x"]["properties"]
        assert mine.call("f", x={"children": [{"children": []}]}).text == "1"


def test_a_parameter_with_a_default_is_optional_and_one_without_a_hint_accepts_anything() -> None:
    text = (
        "def f(a, b: str, c: int = 3, d=None, *, e: float, g: str = 'x', h: float = float('inf')): return [a,b,c,d,e,g]"
    )
    with load_tools(text) as mine:
        schema = mine.tools["f"].definition.parameters
        assert schema["required"] == ["a", "b", "e"]
        assert schema["properties"] == {
            "a": {},
            "b": STRING,
            "c": {**INTEGER, "default": 3},
            "d": {},
            "e": NUMBER,
            "g": {**STRING, "default": "x"},
            "h": NUMBER,
        }
        assert schema["additionalProperties"] is False
        assert mine.call("f", a=1, b="b", e=1).text == '[1, "b", 3, null, 1.0, "x"]'
        assert mine.call("f", a=None, b="b", e=1, c=None).text == '[null, "b", 3, null, 1.0, "x"]'


def test_positional_only_parameters_are_given_by_position() -> None:
    with load_tools("def f(a: int, b: int = 5, /, c: int = 6): return [a, b, c]") as mine:
        assert mine.call("f", a=1, c=2).text == "[1, 5, 2]"


DOCSTRINGS = [
    ('"""Do it\n    well.\n\n    More.\n\n    Args:\n        a: The first\n            of two.\n        b (int, optional): The second.\n\n    Returns:\n        c: not one.\n    """', {"a": "The first of two.", "b": "The second."}),
    ('"""Do it\n    well.\n    Args:\n      a: The first of two.\n      b: The second.\n    """', {"a": "The first of two.", "b": "The second."}),
    ('"""Do it well.\n\n    Parameters\n    ----------\n    a : str\n        The first\n        of two.\n    b : int, optional\n        The second.\n\n    Returns\n    -------\n    c : str\n        Not one.\n    """', {"a": "The first of two.", "b": "The second."}),
    ('"""Do it well.\n\n    :param str a: The first\n        of two.\n    :param b: The second.\n    :returns: no\n    """', {"a": "The first of two.", "b": "The second."}),
    ('"""Do it well.\n    :param a: The first of two.\n    :type a: str\n    :param b: The second."""', {"a": "The first of two.", "b": "The second."}),
    ('"""Do it well."""', {}),
]  # fmt: skip


@pytest.mark.parametrize(("docstring", "descriptions"), DOCSTRINGS)
def test_a_docstring_describes_the_function_and_its_parameters(docstring: str, descriptions: dict[str, str]) -> None:
    with load_tools(f"def f(a: str, b: int = 1):\n    {docstring}\n") as mine:
        definition = mine.tools["f"].definition
        assert definition.description == "Do it well."
        found = {name: part.get("description") for name, part in definition.parameters["properties"].items()}
        assert found == {"a": None, "b": None, **descriptions}


def test_only_public_functions_of_the_file_are_tools() -> None:
    text = """
    import functools, json
    from os.path import join
    from functools import lru_cache, wraps
    def twice(function):
        @wraps(function)
        def inner(*args, **kwargs):
            return 2 * function(*args, **kwargs)
        return inner
    _hidden = twice
    @twice
    def wrapped(a: int) -> int:
        "Doubled."
        return a
    @lru_cache
    def cached(a: int) -> int: return a
    def _private(): pass
    class Thing:
        def method(self): pass
    alias = wrapped
    short = lambda x: x
    partial = functools.partial(print, 1)
    del twice
    if __name__ == "__main__":
        raise SystemExit(1)
    """
    with load_tools(text) as mine:
        assert list(mine.tools) == ["wrapped", "cached", "alias", "short"]
        assert mine.tools["wrapped"].definition.description == "Doubled."
        assert (mine.call("wrapped", a=2).text, mine.call("cached", a=2).text) == ("4", "2")


def test_dunder_all_selects_the_public_functions() -> None:
    with load_tools("__all__ = ['b', '_c']\ndef a(): pass\ndef b(): pass\ndef _c(): pass") as mine:
        assert list(mine.tools) == ["b", "_c"]


RESULTS = [
    ("'text'", "text"),
    ("''", ""),
    ("None", "null"),
    ("{'a': [1, True, None, 'é']}", '{"a": [1, true, null, "é"]}'),
    ("(1, 2)", "[1, 2]"),
    ("{1}", "[1]"),
    (
        "{'d': date(2026, 1, 2), 'c': Color.RED, 'p': Path('x'), 't': Point(1)}",
        '{"d": "2026-01-02", "c": "red", "p": "x", "t": [1, 0]}',
    ),
    ("Color.RED", "red"),
    ("Place('a')", '{"name": "a", "lat": 0.0, "tags": []}'),
    ("b'caf\\xc3\\xa9'", '"café"'),
    ("(i for i in range(3))", "[0, 1, 2]"),
    ("{(1, 2): 3}", "{(1, 2): 3}"),
    ("1j", "1j"),
    ("'\\ud800'", "?"),
    ("'\\x1b[31mred\\x07'", "\x1b[31mred\x07"),
]


def test_a_result_is_returned_as_text_json_or_repr() -> None:
    with load_tools(PRELUDE + "".join(f"def f{i}(): return {value}\n" for i, (value, _) in enumerate(RESULTS))) as mine:
        assert [mine.call(f"f{i}") for i in range(len(RESULTS))] == [(text, False, ()) for _, text in RESULTS]


def test_an_async_function_is_awaited_and_a_generator_collected() -> None:
    text = """
    import asyncio
    async def slow(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1
    def many():
        yield from range(100_000)
    """
    with load_tools(text) as mine:
        assert mine.call("slow", n=1).text == "2"
        assert json.loads(mine.call("many").text) == list(range(10_000))


RAISING_BODIES = [
    ("raise ValueError('no such city')", "ValueError: no such city\nmine.py, line 2"),
    ("raise KeyError", "KeyError\nmine.py, line 2"),
    ("return len(5)", "TypeError: object of type 'int' has no len()\nmine.py, line 2"),
    ("import sys; sys.exit('bye')", "SystemExit: bye\nmine.py, line 2"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt\nmine.py, line 2"),
    ("return f()", "RecursionError: maximum recursion depth exceeded"),
    ("return input('name? ')", "EOFError"),
    ("class E(Exception):\n        def __str__(self): raise E\n    raise E", "E\nmine.py, line 4"),
    ("import json; json.loads('{')", "JSONDecodeError: Expecting property name"),
]


@pytest.mark.parametrize(("body", "text"), RAISING_BODIES)
def test_an_exception_is_an_error_with_its_line_in_the_file(body: str, text: str, tmp_path: Path) -> None:
    with load_tools(f"def f():\n    {body}\n") as mine:
        result = mine.call("f")
    assert result.is_error
    assert result.text.startswith(text)
    assert str(tmp_path) not in result.text


def test_arguments_are_checked_before_the_call() -> None:
    with load_tools("from datetime import date\ndef f(a: int, day: date = None): raise SystemError") as mine:
        for given in ({}, {"a": "x"}, {"a": 1, "b": 2}, {"a": True}):
            with pytest.raises(ToolError, match="do not fit the tool's parameters"):
                mine.tools["f"].preview(given)
            assert "do not fit the tool's parameters" in mine.call("f", **given).text
        assert mine.call("f", a=1, day="soon").text == "ValueError: the argument day: Invalid isoformat string: 'soon'"


def test_the_preview_shows_the_call_as_python() -> None:
    with load_tools("def f(a: str, b: list[int] = []): pass") as mine:
        assert mine.tools["f"].preview({"a": "x'\n\x1b[1m\u202e", "b": [1]}) == 'f(a="x\'\\n\\x1b[1m\\u202e", b=[1])'


UNUSABLE_FILES = [
    ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax", ""),
    ("x = 1\nimport no_such_module\n", "mine.py:2: ModuleNotFoundError: No module named 'no_such_module'", "-m pip install"),
    ("def a(): b()\ndef b(): 1 / 0\na()\n", "mine.py:2: ZeroDivisionError: division by zero", ""),
    ("import sys\nsys.exit(3)\n", "mine.py:2: SystemExit: 3", ""),
    ("def f(*args): pass", "f: *args cannot be described to a model", "name each parameter"),
    ("def f(**options): pass", "f: **options cannot be described to a model", "name each parameter"),
    ("def f(a: Missing): pass", "NameError: name 'Missing' is not defined", ""),
    ("def f(a: 'Missing'): pass", "f: its type hints cannot be read: NameError", ""),
    ("def f(a: complex): pass", "f: a: complex is not a type that JSON can express", "use str, int"),
    ("def f(a: bytes): pass", "f: a: bytes is not a type that JSON can express", "use str, int"),
    ("def f(a: dict[int, str]): pass", "f: a: the keys of a JSON object must be strings", ""),
    ("TIMEOUT = 'long'\ndef f(): pass", "TIMEOUT is not a number of seconds", ""),
    ("TIMEOUT = 0\ndef f(): pass", "TIMEOUT is not a number of seconds", ""),
    ("_x = 1\nclass A: pass\n", "it has no public function", ""),
    ("", "it has no public function", ""),
    ("import os\nos._exit(3)", "the process of mine.py ended with exit code 3", ""),
    ("import os\nos.kill(os.getpid(), 11)", "the process of mine.py ended by SIGSEGV", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "hint"), UNUSABLE_FILES)
def test_a_file_that_cannot_be_loaded_is_an_error_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught, load_tools(text):
        pass
    assert message in caught.value.message
    assert "mine.py" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"# coding: nonsense\n", "not a Python file"),
        (b"x = '\xff'\n", "not a Python file"),
        (b"x = 1\0\n", "null byte"),
        (b"#" * 5_000_000, "more than 4 MiB"),
    ],
)
def test_a_file_that_is_not_python_source_is_an_error(data: bytes, message: str) -> None:
    Path("odd.py").write_bytes(data)
    source = PythonSource("odd.py", report=None)
    source.start()
    with pytest.raises(UsageError, match=message):
        source.wait_until_ready()
    source.close()


@pytest.mark.parametrize(
    "text",
    ["# -*- coding: latin-1 -*-\ndef f(): return 'é'\n", "\ufeffdef f(): return 'é'\n", "def f():\r\n  return 'é'\r\n"],
)
def test_the_encoding_is_detected_as_python_does(text: str) -> None:
    Path("mine.py").write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    source = PythonSource("mine.py", report=None)
    source.wait_until_ready()
    assert source.list_tools()[0].call({}).text == "é"
    source.close()


def test_a_missing_file_is_an_error() -> None:
    source = PythonSource("none.py", report=None)
    source.start()
    with pytest.raises(UsageError, match=r"none\.py: No such file"):
        source.wait_until_ready()
    source.close()


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777])
def test_a_file_that_everyone_can_change_is_refused(mode: int) -> None:
    Path("mine.py").write_text("print('ran')\ndef f(): pass")
    Path("mine.py").chmod(mode)
    source = PythonSource("mine.py", report=None)
    source.start()
    with pytest.raises(UsageError, match="everyone can change it"):
        source.wait_until_ready()


@pytest.mark.promise("current-directory")
def test_the_folder_of_the_file_is_searched_last_for_modules(tmp_path: Path) -> None:
    Path("json.py").write_text("raise SystemError('planted')")
    Path("helper.py").write_text("VALUE = 5")
    with load_tools(
        "import helper, json, sys\ndef f(): return [helper.VALUE, sys.path[-1], '' in sys.path, sys.argv]"
    ) as mine:
        assert json.loads(mine.call("f").text) == [5, str(tmp_path), False, [str(tmp_path / "mine.py")]]
    assert not Path("__pycache__").exists()


def test_modules_are_not_imported_from_a_folder_that_everyone_can_write(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "helper.py").write_text("")
    shared.chmod(0o1777)
    with (
        pytest.raises(UsageError, match="No module named 'helper'"),
        load_tools("import helper", name=str(shared / "mine.py")),
    ):
        pass


def test_printed_text_is_reported_and_never_part_of_a_result() -> None:
    printed: list[str] = []
    text = """
    import os, sys, subprocess
    print("loading")
    def f():
        print("to stdout", "é")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw \\xff\\n")
        subprocess.run(["echo", "of a child"])
        return "result"
    """
    with load_tools(text, printed=printed) as mine:
        assert mine.call("f").text == "result"
        os_exit = mine.call("f")
        assert os_exit.text == "result"
    assert {"mine.py: loading", "mine.py: to stdout é", "mine.py: to stderr", "mine.py: raw \ufffd"} <= {*printed}


def test_twenty_calls_run_at_the_same_time() -> None:
    text = """
    import threading
    barrier = threading.Barrier(20, timeout=20)
    def meet(n: int):
        barrier.wait()
        return n
    """
    with load_tools(text) as mine:
        results = mine.call_together([("meet", {"n": n}) for n in range(20)])
    assert [result.text for result in results] == [str(n) for n in range(20)]


FUNCTIONS_WITH_STATE = """
import os, time, threading, signal
TIMEOUT = 1.5
_calls = []
def count():
    _calls.append(1)
    return len(_calls)
def forever():
    while True: pass
_naps = threading.Event()
def nap():
    _naps.set()
    time.sleep(60)
def leave(): os._exit(4)
def crash(): signal.raise_signal(signal.SIGSEGV)
def leave_nap(): _naps.wait(); leave()
def crash_nap(): _naps.wait(); crash()
"""


def test_the_process_is_kept_between_calls() -> None:
    with load_tools(FUNCTIONS_WITH_STATE) as mine:
        assert [mine.call("count").text for _ in range(3)] == ["1", "2", "3"]


def test_a_call_that_times_out_ends_the_process_and_the_next_call_restarts_it() -> None:
    with load_tools(FUNCTIONS_WITH_STATE) as mine:
        mine.call("count")
        results = mine.call_together([("forever", {}), ("nap", {})])
        assert all(result.is_error for result in results)
        assert any("did not return within 1.5 s" in result.text for result in results)
        assert mine.call("count").text == "1"


@pytest.mark.parametrize(("name", "text"), [("leave_nap", "with exit code 4"), ("crash_nap", "by SIGSEGV")])
def test_a_process_that_dies_affects_only_the_running_calls(name: str, text: str) -> None:
    with load_tools(FUNCTIONS_WITH_STATE) as mine:
        first, second = mine.call_together([("nap", {}), (name, {})])
        for result in (first, second):
            assert result == (f"the process of mine.py ended {text}", True, ())
        assert mine.call("count").text == "1"


def test_a_restart_runs_the_code_that_was_first_read() -> None:
    with load_tools(FUNCTIONS_WITH_STATE) as mine:
        Path("mine.py").write_text("def count(): return 'another'")
        mine.call("leave")
        assert mine.call("count").text == "1"


def test_cancelled_calls_end_at_once_and_later_calls_work() -> None:
    with load_tools(FUNCTIONS_WITH_STATE.replace("TIMEOUT = 1.5", "")) as mine:
        results: list[CallResult] = []
        thread = Thread(target=lambda: results.append(mine.call("nap")))
        mine.source.cancel_calls()  # nothing runs
        assert mine.call("count").text == "1"
        thread.start()
        while not mine.source._process.is_busy:  # type: ignore[union-attr] # noqa: SLF001
            pass
        mine.source.cancel_calls()
        thread.join()
        assert results == [("the call was stopped by the user", True, ())]
        assert mine.call("count").text == "1"


def test_a_closed_source_starts_no_process() -> None:
    with load_tools(FUNCTIONS_WITH_STATE) as mine:
        mine.source.close()
        assert mine.call("count") == ("the tools are closed", True, ())
        mine.source.close()


def test_the_process_is_isolated() -> None:
    os.environ["PYTHONPATH"] = "/nowhere"
    try:
        with load_tools(
            "import sys\ndef f(): return [sys.flags.isolated, sys.executable, '/nowhere' in sys.path]"
        ) as mine:
            assert json.loads(mine.call("f").text) == [1, sys.executable, False]
    finally:
        del os.environ["PYTHONPATH"]
