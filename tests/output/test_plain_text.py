"""The answer's text goes out as it comes: untouched into a pipe, harmless on a terminal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion, Fold
from aiml_cli.api.stream_events import Batch, Done, Notice, Refusal, Text, Thought
from aiml_cli.output.plain_text import Plain


def written(*batches: Batch, terminal: bool = False) -> list[bytes]:
    """Show batches and close; give each write."""
    fold = Fold()
    writes: list[bytes] = []
    screen = Plain(writes.append, terminal=terminal)
    for batch in batches:
        screen.show(batch)
        fold.add(batch)
    screen.close(Answer("chat", fold.completion()))
    return writes


def test_each_batch_goes_out_at_once() -> None:
    assert written([Text("Hel"), Text("lo")], [Done("stop", 0)], [Text("!\n")]) == [b"Hello", b"!\n"]


def test_one_newline_is_added_where_it_lacks() -> None:
    assert b"".join(written([Text("Hi")])) == b"Hi\n"
    assert b"".join(written([Text("Hi\n\n")])) == b"Hi\n\n"
    assert b"".join(written([Text("Hi\n"), Text("")])) == b"Hi\n"


def test_an_answer_without_text_writes_nothing() -> None:
    assert written([Text("")], [Thought("Hm"), Refusal("No"), Notice("aside"), Done("stop", 0)]) == []


@pytest.mark.promise("pipe-bytes")
@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3), max_size=4))
def test_a_pipe_gets_the_text_byte_for_byte(batches: list[list[str]]) -> None:
    whole = "".join(text for batch in batches for text in batch)
    newline = "" if not whole or whole.endswith("\n") else "\n"
    said: list[Batch] = [[Text(text) for text in batch] for batch in batches]
    assert b"".join(written(*said)) == (whole + newline).encode()


@pytest.mark.promise("no-driving")
@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.sampled_from("\x1b[]2Jm\x9b\x07\r\u202e\U000e0041a\n")), max_size=5))
def test_a_terminal_gets_nothing_that_drives_it(deltas: list[str]) -> None:
    said: list[Batch] = [[Text(delta)] for delta in deltas]
    shown = b"".join(written(*said, terminal=True)).decode()
    assert not set(shown) & set("\x1b\x9b\x07\r\u202e\U000e0041")
    assert shown.count("\n") - sum(delta.count("\n") for delta in deltas) in (0, 1)


def test_half_a_character_is_no_crash() -> None:
    writes: list[bytes] = []
    Plain(writes.append, terminal=False).show([Text("a\ud83c")])
    assert writes == [b"a?"]


def test_other_choices_follow_the_first() -> None:
    batches: list[Batch] = [[Text("o"), Text("u", 1)], [Text("n", 1), Text("ne")], [Text("tre", 2)]]
    assert b"".join(written(*batches)) == b"one\nun\ntre\n"
    assert b"".join(written(*batches, terminal=True)) == b"one\n--- choice 2 ---\nun\n--- choice 3 ---\ntre\n"


def test_a_lone_choice_with_another_number_is_shown() -> None:
    writes: list[bytes] = []
    Plain(writes.append, terminal=False).close(Answer("chat", Completion(choices=(Choice(1, "Hi"),))))
    assert b"".join(writes) == b"Hi\n"
