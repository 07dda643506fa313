"""Every promise has a test, and every mark of a test names a promise."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.promises import PROMISES

TESTS = ROOT / "tests"
SAMPLE = """
import pytest

@pytest.mark.promise("sent-once")
def test_good() -> None:
    pass

@pytest.mark.promise("sent-once")
@pytest.mark.promise("memory")
def test_bad() -> None:
    assert not "this"

@pytest.mark.promise("stdin")
@pytest.mark.parametrize("each", [1, 2])
def test_both(each: int) -> None:
    pass
"""


@pytest.fixture(scope="module")
def reliability() -> Iterator[Any]:
    """Import the generator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TESTS.parent / "scripts")
        yield importlib.import_module("generators.reliability")


@pytest.fixture(scope="module")
def promise_keys(reliability: Any) -> set[str]:
    """Return the keys of the promises that tests name."""
    return {test.key for test in reliability.find_tests()}


def test_each_promise_has_a_test(promise_keys: set[str]) -> None:
    assert set(PROMISES) - promise_keys == set()


def test_every_mark_names_a_promise(promise_keys: set[str]) -> None:
    assert promise_keys - set(PROMISES) == set()


def test_a_promise_is_a_sentence() -> None:
    for promise in PROMISES.values():
        assert promise.sentence[0].isupper()
        assert promise.sentence.endswith(".")


def test_the_document_names_each_promise_with_its_tests(reliability: Any) -> None:
    text = reliability.render()
    for key, promise in PROMISES.items():
        assert f"### {key}\n\n{promise.sentence}\n\n" in text
    assert "- a full disk at standard output is an error (`tests/cli/test_endings.py`)" in text


def test_the_report_has_a_line_per_promise_that_names_failed_tests(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    options = [
        "-p",
        "conftest",
        "--promises",
        "--rootdir",
        str(tmp_path),
        "-o",
        f"pythonpath={TESTS}",
        "-q",
        "--basetemp",
        str(tmp_path / "base"),
    ]
    line = [sys.executable, "-m", "pytest", *options, "-W", "ignore", str(tmp_path)]
    done = subprocess.run(line, cwd=TESTS, capture_output=True, text=True, check=False)
    lines = {text.split()[1]: text for text in done.stdout.splitlines() if text.startswith(("ok  ", "FAIL"))}
    assert lines["stdin"] == f"ok   stdin  {PROMISES['stdin'].sentence} (2 tests)"
    assert lines["memory"] == f"FAIL memory  {PROMISES['memory'].sentence} (test_bad)"
    assert lines["sent-once"].endswith("(test_bad)")
    assert lines["names-are-not-paths"].endswith("(no test ran)")
