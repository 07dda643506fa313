"""The two endpoints: for each a name, a path and three pure functions."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from aiml_cli.api.messages import Conversation
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.settings.options import Options

ENDPOINT_NAMES = ("chat", "responses")


class Endpoint(NamedTuple):
    """Everything that differs between the endpoints. `path` is appended to the base URL.

    The parsers accept a stream or a JSON value, and the number of requested choices, 1 by default.
    """

    name: str
    path: str
    build_body: Callable[[Conversation, Options], dict[str, Any]]
    parse_stream: Callable[..., Iterator[EventBatch]]
    parse_json: Callable[..., EventBatch]


def get_endpoint(name: str) -> Endpoint:
    """Return the endpoint with a name; import only that one, because hardly any call needs both."""
    if name == "chat":
        from aiml_cli.api import chat_completions as chat

        return Endpoint(name, chat.PATH, chat.build_body, chat.parse_stream, chat.parse_json)
    from aiml_cli.api import responses

    return Endpoint(
        name,
        responses.PATH,
        responses.build_body,
        lambda stream, _=1: responses.parse_stream(stream),  # a response has only one choice
        lambda answer, _=1: responses.parse_json(answer),
    )
