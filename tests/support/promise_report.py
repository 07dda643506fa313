"""The report of --promises: one line for each promise, whether its tests passed."""

from collections.abc import Iterator, Sequence

import pytest
from support.promises import PROMISES

MARKER = "promise"


def format_report(reports: Sequence[pytest.TestReport]) -> Iterator[str]:
    """Yield a line for each promise: the number of its tests, or those that failed; no test is a failure."""
    for key, promise in PROMISES.items():
        own_reports = [report for report in reports if (MARKER, key) in report.user_properties]
        failed = list(dict.fromkeys(report.nodeid.rpartition("::")[2] for report in own_reports if report.failed))
        passed = sum(report.passed and report.when == "call" for report in own_reports)
        status = "ok  " if passed and not failed else "FAIL"
        yield f"{status} {key}  {promise.sentence} ({', '.join(failed) or _format_count(passed)})"


def _format_count(passed: int) -> str:
    return f"{passed} test{'' if passed == 1 else 's'}" if passed else "no test ran"
