"""A REPL session against the loopback server, to which a test types lines."""

from collections.abc import Sequence
from typing import Any

from support.loopback import Loopback, delta, event, stream

from aiml_cli.cli.repl.loop import handle_line
from aiml_cli.cli.repl.session import Session
from aiml_cli.settings.resolve import RawValue


class ReplDriver:
    """A REPL session: type lines, and look at the requests that they sent."""

    def __init__(self, server: Loopback, endpoint: str = "chat", **flags: str) -> None:
        self.server = server
        texts = {"base_url": server.url, "retries": "0", **flags}
        self.session = Session(endpoint, {name: RawValue((text,), f"--{name}") for name, text in texts.items()})
        self.session.check_flags()

    def type_lines(self, *lines: str) -> None:
        for line in lines:
            handle_line(self.session, line)

    @property
    def request_bodies(self) -> list[Any]:
        return [request.json for request in self.server.requests]

    @property
    def sent_messages(self) -> list[tuple[str, Any]]:
        """The roles and contents of the last request."""
        body = self.request_bodies[-1]
        messages = body.get("messages") or body["input"]
        if isinstance(messages, str):
            return [("user", messages)]
        return [(message["role"], message["content"]) for message in messages]


def queue_answers(server: Loopback, *texts: str) -> None:
    """Answer the next requests with these texts; the last one serves all that follow."""
    for text in texts:
        server.answer_with(build_text_answer(text))


def build_text_answer(text: str, finish: str = "stop") -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    end = event({"id": "chat-1", "model": "m", "choices": [], "usage": usage})
    return stream(delta(text), delta(finish=finish), end, event("[DONE]"))


def build_truncated_answer(text: str) -> bytes:
    return stream(delta(text), end=b"")


def alternate_roles(*texts: str) -> Sequence[tuple[str, str]]:
    """Return texts as messages of the user and the assistant in turn."""
    return [("assistant" if index % 2 else "user", text) for index, text in enumerate(texts)]
