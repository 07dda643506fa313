"""The endpoints there are: for each a name, a path and three pure functions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiml_cli.api import chat_completions, responses
from aiml_cli.api.messages import Conversation
from aiml_cli.api.sse import Sse
from aiml_cli.api.stream_events import Batch
from aiml_cli.settings.options import Options


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Hold what tells one endpoint from the other. `path` follows the base URL."""

    name: str
    path: str
    body: Callable[[Conversation, Options], dict[str, Any]]
    hear: Callable[[Iterable[list[Sse]]], Iterator[Batch]]
    read: Callable[[Any], Batch]


CHAT = Endpoint(
    chat_completions.NAME, chat_completions.PATH, chat_completions.body, chat_completions.hear, chat_completions.read
)
RESPONSES = Endpoint(responses.NAME, responses.PATH, responses.body, responses.hear, responses.read)
ENDPOINTS = {endpoint.name: endpoint for endpoint in (CHAT, RESPONSES)}
