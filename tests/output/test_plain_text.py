"""Plain text is written unchanged to a pipe and sanitized on a terminal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion, CompletionBuilder
from aiml_cli.api.stream_events import EventBatch, Finished, Notice, ReasoningDelta, RefusalDelta, TextDelta
from aiml_cli.output.plain_text import PlainTextRenderer


def list_writes(*batches: EventBatch, terminal: bool = False) -> list[bytes]:
    """Show batches and close; return each write."""
    fold = CompletionBuilder()
    writes: list[bytes] = []
    screen = PlainTextRenderer(writes.append, terminal=terminal)
    for batch in batches:
        screen.show(batch)
        fold.add(batch)
    screen.close(Answer("chat", fold.build()))
    return writes


def test_each_batch_is_written_at_once() -> None:
    assert list_writes([TextDelta("Hel"), TextDelta("lo")], [Finished("stop", 0)], [TextDelta("!\n")]) == [
        b"Hello",
        b"!\n",
    ]


def test_a_missing_final_newline_is_added() -> None:
    assert b"".join(list_writes([TextDelta("Hi")])) == b"Hi\n"
    assert b"".join(list_writes([TextDelta("Hi\n\n")])) == b"Hi\n\n"
    assert b"".join(list_writes([TextDelta("Hi\n"), TextDelta("")])) == b"Hi\n"


def test_an_answer_without_text_writes_nothing() -> None:
    assert (
        list_writes([TextDelta("")], [ReasoningDelta("Hm"), RefusalDelta("No"), Notice("aside"), Finished("stop", 0)])
        == []
    )


@pytest.mark.promise("pipe-bytes")
@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3), max_size=4))
def test_a_pipe_gets_the_text_byte_for_byte(batches: list[list[str]]) -> None:
    whole = "".join(text for batch in batches for text in batch)
    newline = "" if not whole or whole.endswith("\n") else "\n"
    events: list[EventBatch] = [[TextDelta(text) for text in batch] for batch in batches]
    assert b"".join(list_writes(*events)) == (whole + newline).encode()


@pytest.mark.promise("terminal-control")
@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.sampled_from("\x1b[]2Jm\x9b\x07\r\u202e\U000e0041a\n")), max_size=5))
def test_a_terminal_gets_no_control_sequence(deltas: list[str]) -> None:
    events: list[EventBatch] = [[TextDelta(delta)] for delta in deltas]
    shown = b"".join(list_writes(*events, terminal=True)).decode()
    assert not set(shown) & set("\x1b\x9b\x07\r\u202e\U000e0041")
    assert shown.count("\n") - sum(delta.count("\n") for delta in deltas) in (0, 1)


def test_half_a_character_does_not_crash() -> None:
    writes: list[bytes] = []
    PlainTextRenderer(writes.append, terminal=False).show([TextDelta("a\ud83c")])
    assert writes == [b"a?"]


def test_other_choices_follow_the_first() -> None:
    batches: list[EventBatch] = [
        [TextDelta("o"), TextDelta("u", 1)],
        [TextDelta("n", 1), TextDelta("ne")],
        [TextDelta("tre", 2)],
    ]
    assert b"".join(list_writes(*batches)) == b"one\nun\ntre\n"
    assert b"".join(list_writes(*batches, terminal=True)) == b"one\n--- choice 2 ---\nun\n--- choice 3 ---\ntre\n"


def test_a_lone_choice_with_another_number_is_shown() -> None:
    writes: list[bytes] = []
    PlainTextRenderer(writes.append, terminal=False).close(Answer("chat", Completion(choices=(Choice(1, "Hi"),))))
    assert b"".join(writes) == b"Hi\n"
