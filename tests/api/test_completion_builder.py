"""Events of a stream are joined to an answer that says whether it is complete."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.audio_builder import SpokenAudio
from aiml_cli.api.completion_builder import Choice, Completion, CompletionBuilder, ToolCall
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

ANY_EVENT = st.one_of(
    st.builds(TextDelta, st.text(max_size=5), st.integers(0, 2)),
    st.tuples(st.text(max_size=5), st.integers(0, 2)).map(lambda fields: ReasoningDelta(*fields)),
    st.builds(RefusalDelta, st.text(max_size=5), st.integers(0, 2)),
    st.tuples(st.integers(0, 2), st.text(max_size=2), st.text(max_size=2), st.text(max_size=3)).map(
        lambda fields: ToolCallDelta(*fields)
    ),
    st.integers(0, 9).map(Usage),
    st.sampled_from(["https://a.example", "https://b.example"]).map(Citation),
    st.tuples(st.none() | st.text(max_size=4), st.none() | st.integers(0, 2)).map(lambda fields: Finished(*fields)),
)


def build_completion(*events: Event) -> Completion:
    builder = CompletionBuilder()
    builder.add(list(events))
    return builder.build()


@pytest.mark.parametrize("text", ["word ", "日本語", "é🙂", "x"])
def test_a_long_text_is_handed_to_the_journal_in_parts(text: str) -> None:
    builder, offsets, parts = CompletionBuilder(), {}, []
    builder.add([TextDelta(text * 2_000_000), ReasoningDelta("so")])
    while deltas := builder.deltas_since(offsets):
        parts += deltas
    texts = [part for kind, choice, part in parts if (kind, choice) == ("text", 0)]
    assert "".join(texts) == text * 2_000_000
    assert max(len(part.encode()) for part in texts) <= 4 << 20
    assert [part for part in parts if part[0] != "text"] == [("thought", 0, "so")]


def test_without_events_the_answer_is_empty_and_incomplete() -> None:
    answer = build_completion()
    assert answer.first == Choice()
    assert not answer.is_complete
    assert "before the answer was complete" in answer.incomplete_reason


@settings(deadline=None, max_examples=60)
@given(st.lists(ANY_EVENT, max_size=12), st.integers(1, 4))
def test_the_borders_of_batches_do_not_matter(events: EventBatch, size: int) -> None:
    builder = CompletionBuilder()
    for start in range(0, len(events), size):
        builder.add(events[start : start + size])
    assert builder.build() == build_completion(*events)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.text()), min_size=1))
def test_each_choice_is_the_sum_of_its_pieces(pieces: list[tuple[int, str]]) -> None:
    answer = build_completion(*(TextDelta(text, choice) for choice, text in pieces))
    assert [choice.index for choice in answer.choices] == sorted({index for index, _ in pieces})
    for choice in answer.choices:
        assert choice.text == "".join(text for index, text in pieces if index == choice.index)


def test_the_answer_so_far_can_be_read_before_the_end() -> None:
    builder = CompletionBuilder()
    builder.add([TextDelta("Hel")])
    assert builder.build().first.text == "Hel"
    builder.add([TextDelta("lo"), Finished("stop", 0)])
    assert builder.build().first.text == "Hello"


def test_arguments_of_a_call_are_joined_but_its_name_is_not() -> None:
    answer = build_completion(
        ToolCallDelta(0, "a", "look", "{"),
        ToolCallDelta(1, "b", "look", "[]"),
        ToolCallDelta(0, "a", "look", "}"),
        ToolCallDelta(0),
    )
    assert answer.first.tool_calls == (ToolCall("a", "look", "{}"), ToolCall("b", "look", "[]"))


def test_later_events_without_id_or_model_do_not_erase_earlier_ones() -> None:
    answer = build_completion(
        ResponseStarted("c1", "gpt", 1.0), ResponseStarted(None, None, None), ResponseStarted(None, "gpt-5", None)
    )
    assert answer.started == ResponseStarted("c1", "gpt-5", 1.0)


def test_everything_else_is_kept() -> None:
    token, usage = TokenLogprob("a", -0.1), Usage(1, 2, 3)
    answer = build_completion(
        ReasoningDelta("Hm"),
        TextDelta("Hi"),
        token,
        Citation("https://a.example"),
        Citation("https://a.example"),
        Notice("said aside"),
        AudioDelta("au", "QUJD"),
        AudioDelta(transcript="Hi"),
        Usage(1),
        usage,
        Finished("stop", 0),
    )
    assert (answer.first.reasoning, answer.first.logprobs, answer.usage) == ("Hm", (token,), usage)
    assert answer.citations == (Citation("https://a.example"),)
    assert answer.first.audio == SpokenAudio("au", b"ABC", "Hi")


# ---- honest endings


@pytest.mark.parametrize(
    "events",
    [
        [TextDelta("a"), Finished("stop", 0)],
        [TextDelta("a"), Finished()],
        [TextDelta("a"), Finished("stop", 0), Finished()],
        [Finished("stop", 0), TextDelta("a")],
        [ToolCallDelta(0, "a", "f", "{oops"), Finished("tool_calls", 0)],
        [TextDelta("a"), Finished("end_turn", 0)],
        [TextDelta("a"), Finished("a word never seen before", 0)],
        [TextDelta("a"), TextDelta("b", 1), Finished("stop", 0), Finished("stop", 1)],
        [TextDelta("a"), TextDelta("b", 1), Finished("stop", 0), Finished()],
        [TextDelta("a"), Finished("completed", 0, "completed"), Finished(status="completed")],
        [TextDelta("a"), Finished(None, 0), Finished()],
    ],
    ids=repr,
)
def test_a_complete_answer_is_reported_as_complete(events: EventBatch) -> None:
    answer = build_completion(*events)
    assert answer.is_complete
    assert answer.incomplete_reason == ""
    assert not answer.hit_length_limit


@pytest.mark.parametrize("reason", ["length", "max_output_tokens", "max_tokens", "MAX_TOKENS", "model_length"])
@pytest.mark.parametrize("end", [[], [Finished()], [Finished(status="incomplete")]], ids=repr)
def test_an_answer_that_reached_the_limit_is_incomplete(reason: str, end: EventBatch) -> None:
    answer = build_completion(TextDelta("a"), Finished(reason, 0), *end)
    assert (answer.is_complete, answer.hit_length_limit) == (False, True)
    assert "token limit" in answer.incomplete_reason


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "safety"])
@pytest.mark.parametrize("end", [[], [Finished()], [Finished(status="incomplete")]], ids=repr)
def test_a_filtered_answer_is_incomplete_but_not_truncated_by_a_limit(reason: str, end: EventBatch) -> None:
    answer = build_completion(TextDelta("a"), Finished(reason, 0), *end)
    assert (answer.is_complete, answer.hit_length_limit) == (False, False)
    assert "content filter" in answer.incomplete_reason


@pytest.mark.parametrize("status", ["incomplete", "failed", "cancelled", "in_progress", "queued"])
def test_a_status_that_is_not_final_is_reported(status: str) -> None:
    answer = build_completion(TextDelta("a"), Finished(status, 0, status), Finished(status=status))
    assert (answer.is_complete, answer.hit_length_limit) == (False, False)
    assert status in answer.incomplete_reason


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize(
    "events",
    [
        [],
        [TextDelta("a")],
        [ReasoningDelta("a")],
        [ResponseStarted("c1")],
        [Usage(1)],
        [TextDelta("a"), TextDelta("b", 1), Finished("stop", 0)],
        [TextDelta("a"), TextDelta("b", 1), Finished("length", 0)],
    ],
    ids=repr,
)
def test_a_broken_answer_is_neither_complete_nor_truncated_by_a_limit(events: EventBatch) -> None:
    answer = build_completion(*events)
    assert (answer.is_complete, answer.hit_length_limit) == (False, False)
    assert "stream ended" in answer.incomplete_reason


def test_a_refusal_is_not_a_complete_answer() -> None:
    answer = build_completion(RefusalDelta("I will not."), Finished("stop", 0), Finished())
    assert (answer.is_complete, answer.hit_length_limit) == (False, False)
    assert "refused" in answer.incomplete_reason


@pytest.mark.parametrize(
    "others",
    [
        [TextDelta("b", 1), Finished("content_filter", 1)],
        [RefusalDelta("no", 1), Finished("stop", 1)],
        [TextDelta("b", 1)],
    ],
    ids=["filtered", "refused", "cut"],
)
def test_an_answer_counts_as_truncated_by_a_limit_only_if_nothing_else_is_wrong(others: EventBatch) -> None:
    answer = build_completion(TextDelta("a"), Finished("length", 0), *others)
    assert not answer.is_complete
    assert not answer.hit_length_limit


def test_one_choice_at_the_limit_is_enough_to_count_as_truncated() -> None:
    answer = build_completion(TextDelta("a"), Finished("stop", 0), TextDelta("b", 1), Finished("length", 1))
    assert (answer.is_complete, answer.hit_length_limit) == (False, True)


@pytest.mark.parametrize("end", [[], [Finished("stop", 0)], [Finished()]], ids=repr)
def test_an_error_makes_any_answer_incomplete(end: EventBatch) -> None:
    answer = build_completion(TextDelta("a"), *end, ErrorEvent("busy"))
    assert answer.reported_error == ErrorEvent("busy")
    assert not answer.is_complete


def test_events_of_two_kinds_are_never_equal() -> None:
    assert TextDelta("a") != ReasoningDelta("a")
    assert TextDelta("a", 0) != ("a", 0)
    assert TextDelta("a") == TextDelta("a")
    assert len({TextDelta("a"), ReasoningDelta("a"), RefusalDelta("a"), TextDelta("a")}) == 3
