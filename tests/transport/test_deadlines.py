"""One thread watches the deadlines of all connections, whatever happens to some of them."""

import threading

import pytest
from support.processes import list_new_threads

from aiml_cli.transport.connection import Watchdog

LATE_SECONDS = 1000.0
SOON_SECONDS = 0.4  # long enough to set and clear deadlines before, even on a busy machine


def test_a_deadline_that_fails_does_not_affect_the_others() -> None:
    watchdog, called = Watchdog(), threading.Event()

    def fail() -> None:
        raise RuntimeError("a connection that cannot be closed")

    with watchdog.run():
        watchdog.set("broken", 0.0, fail)
        watchdog.set("sound", 0.01, called.set)
        assert called.wait(30)


@pytest.mark.parametrize("other_count", [0, 1, 500])
def test_an_earlier_deadline_comes_first_although_it_was_set_last(other_count: int) -> None:
    watchdog, called, late = Watchdog(), threading.Event(), threading.Event()
    with watchdog.run():
        for number in range(other_count):
            watchdog.set(number, LATE_SECONDS, late.set)
        watchdog.set("first", 0.01, called.set)
        assert called.wait(30)
        for number in range(other_count):
            watchdog.clear(number)
    assert not late.is_set()


def test_an_owner_has_only_the_last_deadline_that_was_set() -> None:
    watchdog, called, dropped = Watchdog(), threading.Event(), threading.Event()
    with watchdog.run():
        watchdog.set("moved", SOON_SECONDS, dropped.set)
        watchdog.set("moved", LATE_SECONDS, dropped.set)
        watchdog.set("cleared", SOON_SECONDS, dropped.set)
        watchdog.clear("cleared")
        watchdog.set("other", 1.1 * SOON_SECONDS, called.set)
        assert called.wait(30)
        watchdog.clear("moved")
    assert not dropped.is_set()


def test_all_deadlines_share_one_thread_and_it_ends_with_the_last_block() -> None:
    before, watchdog = set(threading.enumerate()), Watchdog()
    with watchdog.run(), watchdog.run():
        for number in range(100):
            watchdog.set(number, LATE_SECONDS, lambda: None)
        (thread,) = list_new_threads(before)
        for number in range(100):
            watchdog.clear(number)
    thread.join(30)
    assert not thread.is_alive()


def test_the_thread_runs_while_there_are_deadlines_and_starts_again_later() -> None:
    watchdog, first, second = Watchdog(), threading.Event(), threading.Event()
    watchdog.set("waiting", 0.05, first.set)
    with watchdog.run():
        pass
    assert first.wait(30)
    with watchdog.run():
        watchdog.set("new", 0.01, second.set)
        assert second.wait(30)
