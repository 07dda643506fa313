"""Load a conversation from the history into the REPL."""

import os
from collections.abc import Sequence

from aiml_cli.api.messages import RawMessage
from aiml_cli.cli.repl.session import LOADED_SOURCE, Session
from aiml_cli.cli.repl.turns import Turn, TurnCost, join_turns
from aiml_cli.core import browse_history
from aiml_cli.core.history_journal import session_name
from aiml_cli.core.previous_turns import CONTINUE_PROMPT
from aiml_cli.core.resume import drop_failed_exchanges, is_summary, message_items, root_response_id
from aiml_cli.core.transcript import format_time, one_line
from aiml_cli.errors import UsageError
from aiml_cli.prompt.mentions import LiteralText, join_typed
from aiml_cli.settings.resolve import RawValue
from aiml_cli.store.history import database, edits, find_conversations, reader, writer
from aiml_cli.system.stdio import print_err


def load_conversation(session: Session, words: str | None, *, fork: bool = False) -> None:
    """Load the conversation with this name or these words, or the last one of this terminal, and print it.

    With `fork`, load a copy. Raises UsageError if there is no such conversation, if another process is writing it, or
    if it is not complete in the history.
    """
    with edits.open_history() as history:
        conversation = find_conversations.find_conversation(history, words) if words else _find_last(session, history)
        writer.recover_interrupted(history)
        conversation = _copy(history, conversation) if fork else conversation
        messages = reader.read_messages(history, conversation.id)
        if any(message.facts.get("cut") for message in messages):
            reason = "one of its messages was too large to be stored completely"
            raise UsageError(f"{conversation.name} cannot be continued: {reason}")
        if not edits.ensure_locked(conversation.id):
            writer.acquire_conversation(history, conversation.id)  # raises an error with the reason
    if conversation.id != session.conversation_id:
        session.reset()
    _fill_session(session, conversation, messages)
    title = f"{conversation.name} · {one_line(conversation.title)} · {format_time(conversation.begun)}"
    print_err(f"aiml: continuing {'in the copy ' if fork else ''}{title}")
    options = session.resolve_settings().options
    if hidden := browse_history.draw_turns(drop_failed_exchanges(messages), options, browse_history.SHOWN_TURNS):
        print_err(f"aiml: {hidden} earlier {'turn is' if hidden == 1 else 'turns are'} not shown; /show all shows them")


def _copy(
    history: database.History, conversation: find_conversations.StoredConversation
) -> find_conversations.StoredConversation:
    """Copy a conversation; raise UsageError while another process writes an answer into it."""
    messages = reader.read_messages(history, conversation.id)
    if any(message.state == writer.STREAMING for message in messages):
        writer.acquire_conversation(history, conversation.id)  # raises an error with the reason
    return edits.copy_conversation(history, conversation.id)[0]


def to_turns(messages: Sequence[reader.StoredMessage]) -> list[Turn]:
    """Group messages into turns, and join truncated answers with their continuations."""
    turns: list[Turn] = []
    for turn in _group_into_turns(drop_failed_exchanges(messages)):
        if turn.prompt == CONTINUE_PROMPT and turns and turns[-1].is_truncated and turns[-1].text:
            turns[-1] = join_turns(turns[-1], turn)
        elif turn.answer_messages:  # an answer that was stopped before its first word has none
            turns.append(turn._replace(replaced_turns=_count_replaced(turns, turn.replaced_turns)))
    return turns


def _count_replaced(turns: Sequence[Turn], until: int) -> int:
    """Return how many turns are not newer than the message with the id `until`."""
    return sum(turn.answer_id <= until for turn in turns)


def _group_into_turns(messages: Sequence[reader.StoredMessage]) -> list[Turn]:
    """Return a turn for each question, with the tool calls before the last answer to it."""
    turns: list[Turn] = []
    questions: list[reader.StoredMessage] = []
    for message in messages:
        if message.role != "assistant":
            questions.append(message)
            continue
        results, questions = _split_results(questions, turns)
        if results:
            turns[-1] = _add_results(turns[-1], results)
        turn = _build_turn(questions, message)
        if results and not questions:
            turns[-1] = _add_answer(turns[-1], turn)
        else:
            turns.append(turn)
        questions = []
    results, _ = _split_results(questions, turns)
    return [*turns[:-1], _add_results(turns[-1], results)] if results else turns


def _split_results(
    questions: list[reader.StoredMessage], turns: Sequence[Turn]
) -> tuple[list[reader.StoredMessage], list[reader.StoredMessage]]:
    """Split the messages before an answer into the results of the last turn's tool calls, and all others."""
    if not (turns and questions and questions[0].role == "tool"):
        return [], questions
    results = [question for question in questions if question.at == questions[0].at]
    return results, questions[len(results) :]


def _add_results(turn: Turn, results: Sequence[reader.StoredMessage]) -> Turn:
    """Return a turn with tool results that no answer has followed yet."""
    items = tuple(RawMessage(item) for result in results for item in result.items)
    answer_messages = (*turn.answer_messages, *items)
    return turn._replace(
        text="", answer_messages=answer_messages, is_truncated=True, response_id=None, answer_id=results[-1].id
    )


def _add_answer(turn: Turn, answer: Turn) -> Turn:
    """Return a turn with tool calls, and the answer that followed them."""
    return answer._replace(
        prompt=turn.prompt, messages=turn.messages, answer_messages=(*turn.answer_messages, *answer.answer_messages)
    )


def _find_last(session: Session, history: database.History) -> find_conversations.StoredConversation:
    """Return the last other conversation of this terminal, or else of all terminals."""
    others = [other for other in find_conversations.list_conversations(history) if other.id != session.conversation_id]
    session_key = session_name(os.environ)
    same_terminal = [other for other in others if other.place == session_key]
    if not others and session.conversation_id is None:
        raise UsageError("there is no conversation to continue: the history is empty")
    if not same_terminal and session.conversation_id is None and not session.turns:
        hint = "/resume last continues the latest conversation"
        raise UsageError("this terminal has no conversation to continue", hint)
    if not others:
        raise UsageError("there is no other conversation to continue", "/history lists the conversations")
    return (same_terminal or others)[-1]


def _fill_session(
    session: Session, conversation: find_conversations.StoredConversation, messages: Sequence[reader.StoredMessage]
) -> None:
    session.turns = to_turns(messages)
    session.conversation_id, session.system = conversation.id, conversation.system
    session.root_response_id = root_response_id(drop_failed_exchanges(messages))
    session.costs = [_read_cost(message) for message in messages if message.usage or message.cost_usd is not None]
    session.last_prompt = join_typed([LiteralText(session.turns[-1].prompt)]) if session.turns else ""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_available = model and model.startswith("demo/") == (session.demo_url is not None)
    if is_available and "model" not in session.flags and "model" not in session.overrides:
        session.overrides["model"] = RawValue((model,), LOADED_SOURCE)


def _build_turn(questions: Sequence[reader.StoredMessage], answer: reader.StoredMessage) -> Turn:
    """Return a turn; for a summary, `replaced_turns` is still the id of the last message that it replaces."""
    is_truncated = answer.state != writer.COMPLETE and not answer.facts.get("refusal")
    is_stored = answer.stored and answer.endpoint == "responses" and not (is_truncated or is_summary(answer))
    return Turn(
        "\n\n".join(question.text for question in questions),
        answer.text,
        tuple(RawMessage(item) for question in questions for item in question.items),
        tuple(map(RawMessage, message_items(answer))),
        is_truncated,
        answer.response_id if is_stored else None,
        answer.host,
        answer.id,
        answer.model,
        reader.get_summary_until(answer.facts) or 0,
    )


def _read_cost(message: reader.StoredMessage) -> TurnCost:
    usage = message.usage or {}
    counts = usage.get("input_tokens"), usage.get("output_tokens"), usage.get("total_tokens")
    return TurnCost(message.model, *counts, message.cost_usd)
