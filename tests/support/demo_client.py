"""A client of the demo server that uses http.client only, and none of our code."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = Any


@dataclass(frozen=True)
class DemoResponse:
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def frames(self) -> list[str]:
        """The frames of the stream, which must end with an empty line."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *frames, rest = self.body.decode().split("\n\n")
        assert rest == ""
        return frames

    @property
    def chunks(self) -> list[Json]:
        """The JSON of a chat stream, which must end with [DONE]."""
        *chunks, done = [frame.removeprefix("data: ") for frame in self.frames]
        assert done == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]

    @property
    def events(self) -> list[Json]:
        """The JSON of a Responses stream; names must match types, and sequence numbers must count from 0."""
        events = []
        for number, frame in enumerate(self.frames):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == "event: " + events[-1]["type"]
            assert events[-1]["sequence_number"] == number
        return events


@dataclass(frozen=True)
class DemoClient:
    """A client of the server at this address."""

    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> DemoResponse:
        connection = self.connect()
        try:
            return send_request(connection, method, path, body, **headers)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> DemoResponse:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Json) -> DemoResponse:
        return self.send("POST", path, json.dumps(body).encode(), Content_Type="application/json")

    def chat(self, model: str = "demo/echo", content: Json = "Hello there", **more: Json) -> DemoResponse:
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return self.post("/v1/chat/completions", body)

    def respond(self, model: str = "demo/echo", input_text: Json = "Hello there", **more: Json) -> DemoResponse:
        return self.post("/v1/responses", {"model": model, "input": input_text, **more})


def send_request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> DemoResponse:
    """Send one request over an open connection, and return the response."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return DemoResponse(
        response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    )


def join_text(chunks: list[Json], index: int = 0, key: str = "content") -> str:
    """Join the text of one choice of a chat stream."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(key) or "" for choice in choices)


def select_events(events: list[Json], event_type: str) -> list[Json]:
    """Return the events of one type."""
    return [event for event in events if event["type"] == event_type]
