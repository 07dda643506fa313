"""One line of each promise: whether the tests that hold it passed."""

from collections.abc import Iterator, Sequence

import pytest
from support.promises import PROMISES

MARK = "promise"


def lines(reports: Sequence[pytest.TestReport]) -> Iterator[str]:
    """Say of each promise how many tests hold it, or which failed; one that nothing held is not kept either."""
    for key, promise in PROMISES.items():
        about = [report for report in reports if (MARK, key) in report.user_properties]
        failed = list(dict.fromkeys(_name(report) for report in about if report.failed))
        held = sum(report.passed and report.when == "call" for report in about)
        word = "ok  " if held and not failed else "FAIL"
        yield f"{word} {key}  {promise.sentence} ({', '.join(failed) or _count(held)})"


def _name(report: pytest.TestReport) -> str:
    return report.nodeid.rpartition("::")[2]


def _count(held: int) -> str:
    return f"{held} test{'' if held == 1 else 's'}" if held else "no test ran"
