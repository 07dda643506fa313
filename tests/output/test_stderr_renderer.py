"""Reasoning, notices, sources and usage go to standard error as the settings say."""

import pytest

from aiml_cli.api.answer import Answer, Timing
from aiml_cli.api.completion_builder import Choice, Completion, ToolCall
from aiml_cli.api.stream_events import Citation, EventBatch, Notice, ReasoningDelta, TextDelta, Usage
from aiml_cli.output.stderr_renderer import StderrRenderer, format_usage

Capture = pytest.CaptureFixture[str]
HOSTILE_TEXT = "\x1b[2J\x9b\u202e"


def build_renderer(
    *, reasoning: bool = True, notices: bool = True, usage: bool = False, color: bool = False
) -> StderrRenderer:
    return StderrRenderer(reasoning=reasoning, notices=notices, usage=usage, color=color)


def build_answer(*choices: Choice, citations: tuple[Citation, ...] = (), usage: Usage | None = None) -> Answer:
    return Answer("chat", Completion(choices=choices or (Choice(),), citations=citations, usage=usage))


def render(screen: StderrRenderer, capsys: Capture, *batches: EventBatch, end: Answer | None = None) -> str:
    for batch in batches:
        screen.show(batch)
    if end:
        screen.close(end)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_reasoning_is_shown_as_it_arrives_and_its_line_ends_before_the_answer(capsys: Capture) -> None:
    screen = build_renderer()
    assert render(screen, capsys, [ReasoningDelta("Let me ")]) == "Let me "
    assert render(screen, capsys, [ReasoningDelta("see."), TextDelta("Yes"), TextDelta("!")]) == "see.\n"
    assert render(screen, capsys, end=build_answer()) == ""


def test_reasoning_after_the_text_has_its_own_line(capsys: Capture) -> None:
    assert (
        render(build_renderer(), capsys, [ReasoningDelta("a"), TextDelta("b"), ReasoningDelta("c")], end=build_answer())
        == "a\nc\n"
    )


def test_a_new_part_is_a_new_paragraph(capsys: Capture) -> None:
    batch: EventBatch = [ReasoningDelta("One", part=1), ReasoningDelta("!", part=1), ReasoningDelta("Two", part=2)]
    assert render(build_renderer(), capsys, batch, end=build_answer()) == "One!\n\nTwo\n"


def test_reasoning_is_dim_if_color_is_on(capsys: Capture) -> None:
    assert (
        render(build_renderer(color=True), capsys, [ReasoningDelta("a"), ReasoningDelta("b"), TextDelta("c")])
        == "\x1b[2mab\x1b[0m\n"
    )


@pytest.mark.parametrize("event", [ReasoningDelta("a", choice=1), ReasoningDelta("a")])
def test_reasoning_can_be_switched_off(capsys: Capture, event: ReasoningDelta) -> None:
    assert (
        render(build_renderer(reasoning=bool(event.choice)), capsys, [event, TextDelta("b")], end=build_answer()) == ""
    )


@pytest.mark.parametrize(("notices", "line"), [(True, "aiml: web search: done\n"), (False, "")])
def test_a_notice_is_a_line(capsys: Capture, line: str, *, notices: bool) -> None:
    assert render(build_renderer(notices=notices), capsys, [Notice("web search: done")]) == line


def test_refusals_and_tool_calls_are_shown_at_the_end(capsys: Capture) -> None:
    end = build_answer(
        Choice(refusal="I will not."), Choice(1, tool_calls=(ToolCall("a", "look", '{"at"'), ToolCall("", "f", "")))
    )
    assert render(build_renderer(), capsys, end=end) == (
        'choice 1: refusal: I will not.\nchoice 2: tool call: look({"at") a\nchoice 2: tool call: f()\n'
    )


def test_sources_are_numbered(capsys: Capture) -> None:
    end = build_answer(citations=(Citation("https://a.example", "A page"), Citation("https://b.example")))
    assert render(build_renderer(), capsys, end=end) == "[1] A page  https://a.example\n[2] https://b.example\n"
    assert render(build_renderer(notices=False), capsys, end=end) == ""


def test_usage_is_shown_on_request(capsys: Capture) -> None:
    end = build_answer(usage=Usage(3, 2, 5))
    assert render(build_renderer(usage=True), capsys, end=end) == "aiml: 3 in · 2 out · 5 tokens\n"
    assert render(build_renderer(usage=False), capsys, end=end) == ""


@pytest.mark.promise("terminal-control")
def test_nothing_on_standard_error_controls_the_terminal(capsys: Capture) -> None:
    screen = build_renderer(usage=True)
    calls = (ToolCall(HOSTILE_TEXT, HOSTILE_TEXT, HOSTILE_TEXT),)
    end = build_answer(
        Choice(refusal=HOSTILE_TEXT, tool_calls=calls), citations=(Citation(HOSTILE_TEXT, HOSTILE_TEXT),)
    )
    shown = render(screen, capsys, [ReasoningDelta("\x1b"), ReasoningDelta("[2J")], [Notice(HOSTILE_TEXT)], end=end)
    assert not set(shown) & set(HOSTILE_TEXT[0] + HOSTILE_TEXT[4:])
    assert shown.count(r"\x1b") >= 7


@pytest.mark.parametrize(
    ("usage_answer", "line"),
    [
        (Answer("chat"), ""),
        (Answer("chat", attempts=1), "the server did not report usage"),
        (
            Answer("chat", Completion(usage=Usage(3, 2, 5, cached_tokens=1, reasoning_tokens=2))),
            "3 in (1 cached) · 2 out (2 reasoning) · 5 tokens",
        ),
        (
            Answer("chat", Completion(usage=Usage(3, 10, 13, cost_usd=0.0125)), None, Timing(0.5, 2.5), "req-1"),
            "3 in · 10 out · 13 tokens · first token 0.50 s · 2.50 s · 5 tokens/s · $0.0125 · request req-1",
        ),
        (Answer("chat", header_cost_usd=2.0), "$2"),
        (Answer("chat", header_cost_usd=0.0), "$0"),
    ],
)
def test_usage_is_one_line_with_the_known_values(usage_answer: Answer, line: str) -> None:
    assert format_usage(usage_answer) == line


@pytest.mark.parametrize("usage", [Usage(cost_usd=0.5), Usage(input_tokens=3), Usage(output_tokens=2, total_tokens=5)])
def test_an_unknown_count_is_not_shown(usage: Usage) -> None:
    assert "None" not in format_usage(Answer("chat", Completion(usage=usage)))
