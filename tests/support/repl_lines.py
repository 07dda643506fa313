"""A session of the REPL against the loopback server, to which lines are typed."""

import re
from collections.abc import Sequence
from typing import Any

from support.loopback import Loopback, delta, event, stream

from aiml_cli.cli.repl.loop import handle_line
from aiml_cli.cli.repl.session import Session
from aiml_cli.settings.resolve import RawValue

HELLO_SAID = {"role": "assistant", "content": "Hello"}


class Lines:
    """Type lines, and look at what they did."""

    def __init__(self, server: Loopback, endpoint: str = "chat", **flags: str) -> None:
        self.server = server
        given = {"base_url": server.url, "retries": "0", **flags}
        self.session = Session(endpoint, {name: RawValue((text,), f"--{name}") for name, text in given.items()})
        self.session.check_flags()

    def type(self, *lines: str) -> None:
        for line in lines:
            handle_line(self.session, line)

    @property
    def bodies(self) -> list[Any]:
        return [request.json for request in self.server.requests]

    @property
    def said(self) -> list[tuple[str, Any]]:
        """Give the roles and the words of the last request."""
        body = self.bodies[-1]
        said = body.get("messages") or body["input"]
        return [("user", said)] if isinstance(said, str) else [(each["role"], each["content"]) for each in said]


def answering(server: Loopback, *texts: str) -> None:
    """Answer the next requests with these texts, the last one for all that follow."""
    server.scripts = [*server.scripts, *([answer(text)] for text in texts)]


def answer(text: str, finish: str = "stop") -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    end = event({"id": "chat-1", "model": "m", "choices": [], "usage": usage})
    return stream(delta(text), delta(finish=finish), end, event("[DONE]"))


def cut(text: str) -> bytes:
    return stream(delta(text), end=b"")


def user(*texts: str) -> list[tuple[str, str]]:
    return [("user", text) for text in texts]


def flat(told: str) -> str:
    return re.sub(r"\s+", " ", told)


def talk(*texts: str) -> Sequence[tuple[str, str]]:
    """Give questions and answers in turns."""
    return [("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]
