"""Events fold into an answer that says honestly whether it is whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.audio_builder import Speech
from aiml_cli.api.completion_builder import CAPPED, FILTERED, UNFINISHED, Call, Choice, Completion, Fold
from aiml_cli.api.stream_events import (
    Audio,
    Batch,
    Begun,
    Citation,
    Done,
    Event,
    Fault,
    Notice,
    Refusal,
    Text,
    Thought,
    Token,
    ToolCall,
    Usage,
)

PIECE = st.one_of(
    st.builds(Text, st.text(max_size=5), st.integers(0, 2)),
    st.tuples(st.text(max_size=5), st.integers(0, 2)).map(lambda said: Thought(*said)),
    st.builds(Refusal, st.text(max_size=5), st.integers(0, 2)),
    st.tuples(st.integers(0, 2), st.text(max_size=2), st.text(max_size=2), st.text(max_size=3)).map(
        lambda said: ToolCall(*said)
    ),
    st.integers(0, 9).map(Usage),
    st.sampled_from(["https://a.example", "https://b.example"]).map(Citation),
    st.tuples(st.none() | st.text(max_size=4), st.none() | st.integers(0, 2)).map(lambda said: Done(*said)),
)


def folded(*events: Event) -> Completion:
    fold = Fold()
    fold.add(list(events))
    return fold.completion()


def test_nothing_is_a_first_choice_that_never_arrived() -> None:
    answer = folded()
    assert answer.first == Choice()
    assert not answer.complete
    assert "before the answer was complete" in answer.lacks


@settings(deadline=None, max_examples=60)
@given(st.lists(PIECE, max_size=12), st.integers(1, 4))
def test_the_borders_of_batches_do_not_matter(events: Batch, size: int) -> None:
    fold = Fold()
    for start in range(0, len(events), size):
        fold.add(events[start : start + size])
    assert fold.completion() == folded(*events)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.text()), min_size=1))
def test_each_choice_is_the_sum_of_its_pieces(pieces: list[tuple[int, str]]) -> None:
    answer = folded(*(Text(text, choice) for choice, text in pieces))
    assert [choice.index for choice in answer.choices] == sorted({index for index, _ in pieces})
    for choice in answer.choices:
        assert choice.text == "".join(text for index, text in pieces if index == choice.index)


def test_an_answer_may_be_asked_for_before_its_end() -> None:
    fold = Fold()
    fold.add([Text("Hel")])
    assert fold.completion().first.text == "Hel"
    fold.add([Text("lo"), Done("stop", 0)])
    assert fold.completion().first.text == "Hello"


def test_pieces_of_a_call_are_joined_and_its_names_are_not() -> None:
    answer = folded(
        ToolCall(0, "a", "look", "{"), ToolCall(1, "b", "look", "[]"), ToolCall(0, "a", "look", "}"), ToolCall(0)
    )
    assert answer.first.tool_calls == (Call("a", "look", "{}"), Call("b", "look", "[]"))


def test_what_is_said_later_of_the_beginning_does_not_erase_it() -> None:
    answer = folded(Begun("c1", "gpt", 1.0), Begun(None, None, None), Begun(None, "gpt-5", None))
    assert answer.begun == Begun("c1", "gpt-5", 1.0)


def test_everything_else_is_kept() -> None:
    token, usage = Token("a", -0.1), Usage(1, 2, 3)
    answer = folded(
        Thought("Hm"),
        Text("Hi"),
        token,
        Citation("https://a.example"),
        Citation("https://a.example"),
        Notice("said aside"),
        Audio("au", "QUJD"),
        Audio(transcript="Hi"),
        Usage(1),
        usage,
        Done("stop", 0),
    )
    assert (answer.first.reasoning, answer.first.logprobs, answer.usage) == ("Hm", (token,), usage)
    assert answer.citations == (Citation("https://a.example"),)
    assert answer.first.audio == Speech("au", b"ABC", "Hi")


# ---- honest endings


@pytest.mark.parametrize(
    "events",
    [
        [Text("a"), Done("stop", 0)],
        [Text("a"), Done()],
        [Text("a"), Done("stop", 0), Done()],
        [Done("stop", 0), Text("a")],
        [ToolCall(0, "a", "f", "{oops"), Done("tool_calls", 0)],
        [Text("a"), Done("end_turn", 0)],
        [Text("a"), Done("a word never seen before", 0)],
        [Text("a"), Text("b", 1), Done("stop", 0), Done("stop", 1)],
        [Text("a"), Text("b", 1), Done("stop", 0), Done()],
        [Text("a"), Done("completed", 0, "completed"), Done(status="completed")],
        [Text("a"), Done(None, 0), Done()],
    ],
    ids=repr,
)
def test_a_whole_answer_lacks_nothing(events: Batch) -> None:
    answer = folded(*events)
    assert answer.complete
    assert answer.lacks == ""
    assert not answer.capped


@pytest.mark.parametrize("reason", sorted(CAPPED))
@pytest.mark.parametrize("end", [[], [Done()], [Done(status="incomplete")]], ids=repr)
def test_a_capped_answer_is_cut_by_the_cap(reason: str, end: Batch) -> None:
    answer = folded(Text("a"), Done(reason, 0), *end)
    assert (answer.complete, answer.capped) == (False, True)
    assert "length cap" in answer.lacks


@pytest.mark.parametrize("reason", sorted(FILTERED))
@pytest.mark.parametrize("end", [[], [Done()], [Done(status="incomplete")]], ids=repr)
def test_a_filtered_answer_is_not_whole_and_no_cap_is_to_blame(reason: str, end: Batch) -> None:
    answer = folded(Text("a"), Done(reason, 0), *end)
    assert (answer.complete, answer.capped) == (False, False)
    assert "content filter" in answer.lacks


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_a_status_that_is_not_the_end_is_told(status: str) -> None:
    answer = folded(Text("a"), Done(status, 0, status), Done(status=status))
    assert (answer.complete, answer.capped) == (False, False)
    assert status in answer.lacks


@pytest.mark.promise("whole-or-told")
@pytest.mark.parametrize(
    "events",
    [
        [],
        [Text("a")],
        [Thought("a")],
        [Begun("c1")],
        [Usage(1)],
        [Text("a"), Text("b", 1), Done("stop", 0)],
        [Text("a"), Text("b", 1), Done("length", 0)],
    ],
    ids=repr,
)
def test_a_cut_answer_never_looks_whole_nor_capped(events: Batch) -> None:
    answer = folded(*events)
    assert (answer.complete, answer.capped) == (False, False)
    assert "stream ended" in answer.lacks


def test_a_refusal_is_no_answer() -> None:
    answer = folded(Refusal("I will not."), Done("stop", 0), Done())
    assert (answer.complete, answer.capped) == (False, False)
    assert "refused" in answer.lacks


@pytest.mark.parametrize(
    "others",
    [
        [Text("b", 1), Done("content_filter", 1)],
        [Refusal("no", 1), Done("stop", 1)],
        [Text("b", 1)],
    ],
    ids=["filtered", "refused", "cut"],
)
def test_an_answer_is_capped_only_when_nothing_else_is_amiss(others: Batch) -> None:
    answer = folded(Text("a"), Done("length", 0), *others)
    assert not answer.complete
    assert not answer.capped


def test_one_capped_choice_is_enough() -> None:
    answer = folded(Text("a"), Done("stop", 0), Text("b", 1), Done("length", 1))
    assert (answer.complete, answer.capped) == (False, True)


@pytest.mark.parametrize("end", [[], [Done("stop", 0)], [Done()]], ids=repr)
def test_a_fault_spoils_the_best_of_answers(end: Batch) -> None:
    answer = folded(Text("a"), *end, Fault("busy"))
    assert answer.fault == Fault("busy")
    assert not answer.complete


def test_events_of_two_kinds_are_never_equal() -> None:
    assert Text("a") != Thought("a")
    assert Text("a", 0) != ("a", 0)
    assert Text("a") == Text("a")
    assert len({Text("a"), Thought("a"), Refusal("a"), Text("a")}) == 3
