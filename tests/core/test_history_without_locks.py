"""On a file system without locks or that is read-only, the answer is shown, and one line says what is not saved."""

import errno
import os
from pathlib import Path

import pytest
from support import lockless
from support.history_file import history_path
from support.loopback import HELLO, Loopback
from support.run_cli import IGNORES_PERMISSIONS, Aiml, build_permission_prefix

MAX_ATTEMPTS = 3  # who waits for a lock tries a hundred times


@pytest.mark.promise("answer-before-storage")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EINVAL, errno.EIO])
@pytest.mark.parametrize("has_history", [False, True])
def test_without_locks_a_notice_is_given_without_a_delay(
    number: int, has_history: bool, server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    server.answer_with(HELLO)
    if has_history:
        aiml("chat", "before")
    done = aiml("chat", "hi", **lockless.build_environment(tmp_path, number))
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert done.stderr.startswith(b"aiml: this answer was not stored in the history: ")
    assert (os.strerror(number).encode() in done.stderr, done.stderr.count(b"\n")) == (True, 1)
    assert lockless.count_attempts(tmp_path) <= MAX_ATTEMPTS


@pytest.mark.parametrize("arguments", [["history", "list"], ["history", "rm", "--all", "-y"], ["chat", "-c", "more"]])
def test_without_locks_a_command_that_requires_the_history_explains_the_failure(
    arguments: list[str], server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    server.answer_with(HELLO)
    aiml("chat", "before")
    done = aiml(*arguments, **lockless.build_environment(tmp_path, errno.ENOLCK))
    assert (done.returncode, done.stdout) == (1, b"")
    assert os.strerror(errno.ENOLCK).encode() in done.stderr
    assert lockless.count_attempts(tmp_path) <= MAX_ATTEMPTS


@pytest.mark.promise("answer-before-storage")
@pytest.mark.skipif(IGNORES_PERMISSIONS, reason="root may write everywhere, and there is no setpriv")
def test_a_read_only_folder_gives_one_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    history_path().parent.mkdir(mode=0o500)
    done = aiml("chat", "hi", before=build_permission_prefix())
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (0, b"Hello\n", 1)
