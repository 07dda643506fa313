"""Text has only colors that can be read on light and on dark backgrounds, wherever it is written."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pygments.token import STANDARD_TYPES
from support.console import Console
from support.loopback import Loopback, delta, event, json_response, stream
from support.paths import ROOT
from support.pty_run import run_on_pty

from aiml_cli.output.markdown import highlight
from aiml_cli.system import terminal
from aiml_cli.system.terminal import BLUE, GREEN, MAGENTA, RED

COLORS = {RED, GREEN, BLUE, MAGENTA}
# Bold, dim, italic, underlined, reversed, struck through, and their ends: they keep the colors of the terminal.
ATTRIBUTES = {"", "0", "1", "2", "3", "4", "7", "9", "22", "23", "24", "27", "29", "39", "49"}
SGR = re.compile(r"\x1b\[([\d;:]*)m")
COLOR_SEQUENCE = re.compile(r"\x1b\[[\d;:]*?\b(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[\d;:]*m")
COLOR_NAME = re.compile(r"\b(?:ansi)?(?:bright)?(?:yellow|cyan|black|white|gray)\b|#[0-9a-f]{6}\b")
CODE = {
    "python": '@cached\nclass A(Base):\n    """Doc."""\n    def f(self, x=1.5e3):\n        # why\n        return not None, "s\\n"\n',
    "html": "<!-- c --><a href=\"x\" class='y'>&amp;</a>\n",
    "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n context\n",
    "sh": 'export A="$B" && echo $(ls | wc -l) # why\n',
    "c": "#include <stdio.h>\nint main(void) { return 0x1F; }\n",
    "json": '{"a": [1, true, null, "s"]}\n',
    "sql": "SELECT count(*) FROM t WHERE a = 'x' -- why\n",
    "yaml": "a: &b [1, true]\nc: *b # why\n",
    "css": "a:hover { color: #fff; width: 10px !important }\n",
    "rust": 'fn main() -> Result<(), E> { let x: &\'static str = "s"; println!("{}", x); }\n',
    "console": "$ ls\nfile\n",
    "pytb": 'Traceback (most recent call last):\n  File "a", line 1, in f\nValueError: no\n',
}
DOCUMENT = """# One
## Two
### Three
#### Four
##### Five
###### Six

Setext
======

*em* **strong** ***both*** ~~gone~~ `code` [link](https://example.com "title") <https://example.com> ![image](a.png)
<b>bold</b> <kbd>key</kbd> H<sub>2</sub>O $x^2$ note[^1] https://example.com/auto

> quote `code`
> > deeper

- item
  1. one
- [ ] open
- [x] done

| a | b |
|--|:-:|
| `code` | **strong** |

---

    indented

$$
x = 1
$$

<details><summary>More</summary>hidden</details>

[^1]: The note.
"""


def find_other_colors(output: bytes) -> set[str]:
    """Return the parameters that are neither attributes nor readable colors."""
    found = {number for match in SGR.findall(output.decode("utf-8", "replace")) for number in re.split("[;:]", match)}
    return found - ATTRIBUTES - COLORS


def queue_answer(server: Loopback, text: str) -> None:
    server.answer_with(stream(delta(text), delta(finish="stop"), event("[DONE]")))


@pytest.mark.parametrize(
    "environ", [{}, {"COLORTERM": "truecolor", "TERM": "xterm-256color"}, {"TERM": "xterm-direct"}]
)
def test_an_answer_with_every_construct_has_only_readable_colors(server: Loopback, environ: dict[str, str]) -> None:
    blocks = "".join(f"```{language}\n{code}```\n\n" for language, code in CODE.items())
    queue_answer(server, DOCUMENT + blocks)
    output, code, _ = run_on_pty(server, "chat", "hi", **environ)
    assert (code, find_other_colors(output)) == (0, set())
    assert {color for color in COLORS if f"\x1b[{color}m".encode() in output} == COLORS


@pytest.mark.parametrize("token_type", list(STANDARD_TYPES), ids=str)
def test_every_type_of_token_has_a_readable_color(token_type: Any) -> None:
    assert set(highlight._find_color(token_type).split(";")) <= COLORS | ATTRIBUTES  # noqa: SLF001 - the whole of it


def test_reasoning_and_json_have_only_readable_colors(server: Loopback) -> None:
    queue_answer(server, '<think>Why `not`?</think>{"a": [1, -2.5, true, null, "s", {"b": []}]}')
    output, _, _ = run_on_pty(server, "chat", "--json-object", "hi")
    assert find_other_colors(output) == set()


def test_probabilities_have_only_readable_colors(server: Loopback) -> None:
    tokens = [{"token": f"t{n} ", "logprob": -n / 2, "top_logprobs": []} for n in range(10)]
    body = {"role": "assistant", "content": "".join(str(token["token"]) for token in tokens)}
    choice = {"index": 0, "message": body, "finish_reason": "stop", "logprobs": {"content": tokens}}
    server.answer_with(json_response({"id": "1", "model": "m", "choices": [choice]}))
    output, code, _ = run_on_pty(server, "chat", "-S", "--logprobs", "hi")
    assert (code, find_other_colors(output)) == (0, set())
    assert b"green from 90%, blue from 50%, magenta from 10%, red from 0%" in output


def test_a_difference_has_only_readable_colors(server: Loopback) -> None:
    Path("f.txt").write_text("one\ntwo\n")
    queue_answer(server, "one\nthree\n")
    output, _, _ = run_on_pty(server, "chat", "--in-place", "f.txt", "-y", "hi")
    assert (find_other_colors(output), b"\x1b[31m" in output, b"\x1b[32m" in output) == (set(), True, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["chat", "--help"], ["chat", "-h"], ["chat", "--nonsense"], ["chat", "--temperature", "9", "hi"],
        ["nonsense"], ["models", "--demo"], ["usage", "--by", "day"], ["usage", "--by", "model"], ["history"],
        ["config", "show"], ["chat", "--demo", "-u", "-v", "hi"], ["chat", "--demo", "-m", "demo/error", "hi"],
        ["chat", "--demo", "-m", "demo/markdown", "-m", "demo/reasoning", "hi"], ["history", "show"],
    ],
)  # fmt: skip
def test_commands_and_errors_have_only_readable_colors(server: Loopback, arguments: list[str]) -> None:
    output, _, _ = run_on_pty(server, *arguments, FORCE_COLOR="1", AIML_BASE_URL="", COLORTERM="truecolor")
    assert find_other_colors(output) == set()


@pytest.mark.parametrize("editing", ["emacs", "vi"])
def test_the_line_editor_has_only_readable_colors(server: Loopback, editing: str) -> None:
    queue_answer(server, DOCUMENT)
    with Console("chat", AIML_BASE_URL=server.url, AIML_EDITING=editing, COLORTERM="truecolor", rows=40) as console:
        console.wait_for_prompt()
        console.type_line("a (word)")
        console.wait_until("The note.")
        console.wait_for_prompt()
        console.press("/")
        console.wait_until("/continue")
        console.press("\t\t")
        console.press("\x03/set temp")
        console.wait_until("temperature")
        console.press("\x03")
        console.wait_for_prompt()
        if editing == "emacs":
            console.press("\x12wor")
            console.wait_until("I-search backward: wor")
            console.press("\x07\x11\x05")
            console.wait_until("^E")
        else:
            console.press("one\x1b")
            console.wait_until("NORMAL")
            console.press("V")
            console.wait_until("VISUAL LINE")
        console.press("\x03")
        console.wait_for_prompt()
        console.type_line("/nonsense")
        console.wait_until("there is no command /nonsense")
        assert find_other_colors(console.output) == set()


def find_texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module, but for docstrings, and the fixed parts of its f-strings."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings and isinstance(node.value, str | bytes):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_colors_are_in_one_table_only() -> None:
    modules = [path for path in (ROOT / "aiml_cli").rglob("*.py") if path != Path(str(terminal.__file__))]
    texts = [(path.name, text) for path in modules for text in find_texts(path)]
    assert [each for each in texts if COLOR_SEQUENCE.search(each[1])] == []
    in_drawing = [each for each in texts if COLOR_NAME.search(each[1].lower()) and "output" in each[0]]
    assert in_drawing == []
    numbers = {str(number) for number in (*range(30, 38), *range(90, 98))}
    drawing = {path.name for path in (ROOT / "aiml_cli" / "output").rglob("*.py")}
    assert [each for each in texts if each[0] in drawing and numbers & {*each[1].split(";")}] == []
    editor = [each for each in texts if re.search(r"\bansi(?=[a-z])(?!red|green|blue|magenta)\w", each[1])]
    assert editor == []
