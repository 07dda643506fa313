"""Options that cannot be used with many rows are refused before anything is sent."""

import pytest
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process

ROW_ARGUMENTS = ["--each", "line"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--unordered"], "only works with --each"),
        (["-j", "2"], "only works with --each"),
        (["--shard", "1/2"], "only works with --each"),
        (["--resume-from", "out"], "only works with --each"),
        ([*ROW_ARGUMENTS, "-c"], "--continue cannot be used with --each"),
        ([*ROW_ARGUMENTS, "-r", "x"], "--resume cannot be used with --each"),
        ([*ROW_ARGUMENTS, "-i"], "--interactive cannot be used with --each"),
        ([*ROW_ARGUMENTS, "-x"], "--extract cannot be used with --each"),
        ([*ROW_ARGUMENTS, "--meta", "m"], "--meta cannot be used with --each"),
        ([*ROW_ARGUMENTS, "--format", "raw"], "--format raw cannot be used with --each"),
        ([*ROW_ARGUMENTS, "-m", "a", "-m", "b"], "--each cannot be used with several models"),
        ([*ROW_ARGUMENTS, "-f", "a", "-f", "b"], "from one file, not 2"),
        ([*ROW_ARGUMENTS, "-f", "none"], "none: No such file"),
        ([*ROW_ARGUMENTS, "-f", "."], "not from a folder"),
        ([*ROW_ARGUMENTS, "-o", "a", "--resume-from", "b"], "cannot be used with"),
        ([*ROW_ARGUMENTS, "--no-stdin"], "no rows to read"),
        ([*ROW_ARGUMENTS, "{name}"], "there is no column {name}"),
        ([*ROW_ARGUMENTS, "--shard", "auto"], "no scheduler gave"),
        (["--each", "csv", "{a}"], "there is no column {a}"),
    ],
)
def test_an_option_that_does_not_work_with_rows_is_a_usage_error(
    aiml: Aiml, server: Loopback, arguments: list[str], words: str
) -> None:
    ended = aiml("chat", *arguments, "hi", stdin=b"x\ny\n")
    assert (ended.returncode, ended.stdout, server.requests) == (2, b"", [])
    assert words in ended.stderr.decode()


def test_settings_for_single_answers_are_ignored(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", *ROW_ARGUMENTS, stdin=b"x\n", AIML_FORMAT="raw", AIML_USAGE="on").returncode == 0
