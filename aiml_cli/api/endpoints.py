"""The table of the two endpoints: for each a name, a path and three pure functions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiml_cli.api import chat_completions as chat
from aiml_cli.api import responses
from aiml_cli.api.messages import Conversation
from aiml_cli.api.sse import SseEvent
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.settings.options import Options


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything that differs between the endpoints. `path` follows the base URL."""

    name: str
    path: str
    build_body: Callable[[Conversation, Options], dict[str, Any]]
    parse_stream: Callable[[Iterable[list[SseEvent]]], Iterator[EventBatch]]
    parse_json: Callable[[Any], EventBatch]


CHAT = Endpoint(chat.NAME, chat.PATH, chat.build_body, chat.parse_stream, chat.parse_json)
RESPONSES = Endpoint(responses.NAME, responses.PATH, responses.build_body, responses.parse_stream, responses.parse_json)
ENDPOINTS = {endpoint.name: endpoint for endpoint in (CHAT, RESPONSES)}
