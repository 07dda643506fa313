"""Answer `aiml history export`: conversations as Markdown, JSON or JSON lines."""

import os
import re
from collections.abc import Iterator, Sequence

from aiml_cli import transcript
from aiml_cli.enclosed import enclosed
from aiml_cli.errors import Misuse
from aiml_cli.recall import found_or_told, named, read, recalled, settled
from aiml_cli.screen.file import OutputFile
from aiml_cli.screen.json import line
from aiml_cli.screen.output import show
from aiml_cli.settings.flags import Flags
from aiml_cli.store import past
from aiml_cli.store.history import History
from aiml_cli.store.past import Conversation, Message
from aiml_cli.transcript import Whole

PRIVATE = 0o077  # what the umask takes
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def export(words: Sequence[str], flags: Flags, form: str, output: str | None) -> int:
    """Write the conversations that words name, or all, to standard output or a file."""
    options = settled(flags)
    file = _opened(output) if output else None  # before anything is read, as an answer's file is
    found: list[Whole] = []
    is_written = False
    try:
        found = recalled(lambda history: read(history, _chosen(history, words)))
        data = {"md": markdowns, "json": objects, "jsonl": lines}[form](found)
        if file:
            file.write(data)
        else:
            show(data.decode())
        is_written = True
    finally:
        if file:
            file.close(complete=is_written)
    return found_or_told(found, "", options)


def _opened(name: str) -> OutputFile:
    """Open a file for this user alone: what was asked is nobody else's business. One that is there keeps its modes."""
    before = os.umask(PRIVATE)
    try:
        return OutputFile(name)
    finally:
        os.umask(before)


def _chosen(history: History, words: Sequence[str]) -> list[Conversation]:
    """Find conversations by their ids, or else one by words."""
    if not words:
        return past.everything(history)
    try:
        return list({each.id: each for each in (past.called(history, word) for word in words)}.values())
    except Misuse:
        return named(history, words)


def objects(found: Sequence[Whole]) -> bytes:
    """Write conversations as documented JSON."""
    return line([transcript.as_object(*each) for each in found], indent=2)


def lines(found: Sequence[Whole]) -> bytes:
    """Write a message a line, with the name of its conversation."""
    return b"".join(
        line({"id": conversation.name, "title": conversation.title, **transcript.message_object(message)})
        for conversation, messages in found
        for message in messages
    )


def markdowns(found: Sequence[Whole]) -> bytes:
    """Write conversations as Markdown."""
    return "\n".join(markdown(*each) for each in found).encode("utf-8", "replace")


def markdown(conversation: Conversation, messages: Sequence[Message]) -> str:
    """Write a conversation as Markdown, a heading for each speaker."""
    models = dict.fromkeys(message.model for message in messages if message.role == "assistant" and message.model)
    facts = [", ".join(models), transcript.when(conversation.begun), f"conversation {conversation.name}"]
    blocks = [f"# {transcript.flat(conversation.title)}", " · ".join(filter(None, facts))]
    if conversation.system:
        blocks += ["## System", closed(conversation.system)]
    for message in messages:
        blocks += _blocks(message)
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _blocks(message: Message) -> Iterator[str]:
    speaker = transcript.who(message)
    yield f"## {'You' if speaker == 'you' else speaker}"
    if message.text:
        yield fenced(message.text) if message.role == "tool" else closed(message.text)
    if inside := list(enclosed(message.items)):
        yield fenced("\n".join(inside))
    for index, text in transcript.others(message):
        yield f"### Choice {index}"
        yield closed(text)
    if words := transcript.ending(message):
        yield f"> {words}"


def closed(text: str) -> str:
    """Close the code block that a text leaves open, so that what follows is no code."""
    fence = ""
    for each in text.splitlines():
        found = _FENCE.match(each)
        if not found:
            continue
        marks, rest = found.groups()
        if not fence:
            fence = "" if marks[0] == "`" and "`" in rest else marks
        elif marks.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text.rstrip()}\n{fence}" if fence else text


def fenced(text: str) -> str:
    """Write a text as a code block that none of its own fences ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
