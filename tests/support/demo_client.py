"""Ask the demo server with nothing but http.client: what a stranger's client would see."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = Any


@dataclass(frozen=True)
class Reply:
    """Hold a reply; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def frames(self) -> list[str]:
        """Cut the stream at its empty lines; it must end with one."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *frames, rest = self.body.decode().split("\n\n")
        assert rest == ""
        return frames

    @property
    def chunks(self) -> list[Json]:
        """Give the JSON of a chat stream, which ends with [DONE]."""
        *chunks, done = [frame.removeprefix("data: ") for frame in self.frames]
        assert done == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]

    @property
    def events(self) -> list[Json]:
        """Give the JSON of a Responses stream, whose names and types agree and whose numbers rise by one."""
        events = []
        for number, frame in enumerate(self.frames):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == "event: " + events[-1]["type"]
            assert events[-1]["sequence_number"] == number
        return events


@dataclass(frozen=True)
class Demo:
    """Hold the address of a running server."""

    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = self.connect()
        try:
            return exchange(connection, method, path, body, **headers)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Json) -> Reply:
        return self.send("POST", path, json.dumps(body).encode(), Content_Type="application/json")

    def chat(self, model: str = "demo/echo", said: Json = "Hello there", **more: Json) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": said}], **more}
        return self.post("/v1/chat/completions", body)

    def respond(self, model: str = "demo/echo", said: Json = "Hello there", **more: Json) -> Reply:
        return self.post("/v1/responses", {"model": model, "input": said, **more})


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> Reply:
    """Send one request over a connection that stays open."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def text_of(chunks: list[Json], index: int = 0, key: str = "content") -> str:
    """Join the text of one choice of a chat stream."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(key) or "" for choice in choices)


def only(events: list[Json], kind: str) -> list[Json]:
    """Pick the events of one type."""
    return [event for event in events if event["type"] == kind]
