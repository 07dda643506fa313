"""Attack the lexers that highlight code: print those that take too long. `python scripts/vet_lexers.py [LEXER...]`.

Each regular expression of a lexer, and of the lexers inside it, is turned into hostile code: for each repetition, what
comes before it, many copies of what it repeats, and an end that does not fit. A child process highlights that from
every state of the lexer; a child that hangs is killed.
"""

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from aiml_cli.output.markdown import highlight

MAX_PIECE_S, TIMEOUT_S = 0.3, 300
TRIES = 8
LENGTHS = (60, 450, 3900)
ENDINGS = ("", "!", "a")
CHARACTERS = "a !\"'\\/*(){}[]<>=-+.,;:#@$%&|~`^_1\n\t"
CATEGORIES = {"SPACE": " \t\n", "DIGIT": "1", "WORD": "a_1", "NOT_SPACE": "a!", "NOT_DIGIT": "a ", "NOT_WORD": "! "}
Attack = tuple[str, str]


class Sampler:
    """Samples of a regular expression; `attacks` are its repetitions, each with the text before it."""

    def __init__(self, seed: str) -> None:
        self._luck = random.Random(seed)  # noqa: S311 - no secret
        self.attacks: set[Attack] = set()

    def sample(self, parsed: Any, before: str = "") -> str:
        """Return a text that the expression matches, or nearly matches."""
        text = ""
        for operation, argument in parsed:
            text += self._sample_one(str(operation), argument, before + text)
        return text

    def _sample_one(self, operation: str, argument: Any, before: str) -> str:
        match operation:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL" | "ANY":
                return self._luck.choice([char for char in CHARACTERS if ord(char) != argument])
            case "IN":
                return self._luck.choice(_list_characters(argument))
            case "BRANCH":
                return self.sample(self._luck.choice(argument[1]), before)
            case "SUBPATTERN":
                return self.sample(argument[3], before)
            case "ATOMIC_GROUP":
                return self.sample(argument, before)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._sample_repetition(*argument, before)
            case _:
                return ""

    def _sample_repetition(self, least: int, most: int, body: Any, before: str) -> str:
        if most > max(LENGTHS[0], least) and (copy := self.sample(body, before)):
            self.attacks.add((before[-300:], copy[:80]))
        count = min(least, 20) + (most > least and self._luck.random() < 0.3)  # noqa: PLR2004 - sometimes one more
        return "".join(self.sample(body, before) for _ in range(count))


def _list_characters(items: Any) -> str:
    found = ""
    for operation, argument in items:
        match str(operation):
            case "LITERAL":
                found += chr(argument)
            case "RANGE":
                found += chr(argument[0]) + chr(argument[1])
            case "CATEGORY":
                found += CATEGORIES[str(argument).removeprefix("CATEGORY_")]
    if str(items[0][0]) == "NEGATE":
        found = "".join(char for char in CHARACTERS if char not in found)
    return found or "é"


def list_lexers(lexer: Any) -> list[Any]:
    """Return a lexer and the lexers that its rules use."""
    found, queue = [], [lexer]
    while queue:
        found.append(queue.pop())
        actions = [rule[1] for rules in getattr(found[-1], "_tokens", {}).values() for rule in rules]
        inner = chain(vars(found[-1]).values(), *map(_list_closure, actions))
        for each in inner:
            if (isinstance(each, type) and hasattr(each, "tokens")) or hasattr(each, "get_tokens_unprocessed"):
                instance = each() if isinstance(each, type) else each
                if type(instance) not in map(type, [*found, *queue]):
                    queue.append(instance)
    return found


def _list_closure(action: Any) -> Iterator[Any]:
    for cell in getattr(action, "__closure__", None) or ():
        values = cell.cell_contents if isinstance(cell.cell_contents, tuple) else (cell.cell_contents,)
        for value in values:
            yield value
            yield from _list_closure(value)


def list_code(lexer: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield hostile code, each with the state of the lexer that it attacks."""
    states = {
        rule[0].__self__: state if each is lexer else "root"
        for each in list_lexers(lexer)
        for state, rules in getattr(each, "_tokens", {}).items()
        for rule in rules
    }
    for pattern, state in states.items():
        sampler, parsed = Sampler(name), _parser.parse(pattern.pattern, pattern.flags)
        for _ in range(TRIES):
            sampler.sample(parsed)
        for (before, copy), length, ending in product(sorted(sampler.attacks), LENGTHS, ENDINGS):
            yield state, before + copy * (length // len(copy)) + ending


def attack(name: str) -> None:
    """Highlight all hostile code, and print the slowest."""
    worst = (0.0, "", "")
    lexer = highlight._find_lexer(name)  # noqa: SLF001
    for state, code in list_code(lexer, name):
        highlighter = highlight.CodeHighlighter(name)
        highlighter._stack = ("root", state)  # noqa: SLF001
        began = time.process_time()
        highlighter.highlight(code)
        if (seconds := time.process_time() - began) > worst[0]:
            worst = (seconds, state, code)
    print(f"{worst[0]:.3f} {worst[1]} {worst[2][:60]!r} {len(worst[2])}")


def _run_child(name: str) -> str:
    command = [sys.executable, __file__, "--attack", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    return ended.stdout.strip() or f"fails: {ended.stderr.strip()[-200:]}"


def main(names: list[str]) -> int:
    """Attack the lexers; return 1 if one takes too long."""
    bad = 0
    with ThreadPoolExecutor() as pool:
        for name, result in zip(names, pool.map(_run_child, names), strict=True):
            is_bad = not re.match(r"\d", result) or float(result.split()[0]) > MAX_PIECE_S
            bad += is_bad
            print(f"{'BAD ' if is_bad else 'safe'} {name}: {result}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attack"]:
        attack(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:] or sorted(highlight.SAFE_LEXERS)))
