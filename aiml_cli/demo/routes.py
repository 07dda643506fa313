"""The gateway's routes: the response to each path and method, without a socket."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from aiml_cli.demo import chat_completions as chat
from aiml_cli.demo import models, responses, validate_request
from aiml_cli.demo.answers import CHARS_PER_TOKEN, make_answer
from aiml_cli.demo.exchange import DemoExchange, encode_json, make_id
from aiml_cli.demo.parsed_request import STATUSES, DemoRequest, GatewayError, Json, build_error_body, join_text
from aiml_cli.demo.tool_calls import check_tool_items, convert_messages
from aiml_cli.demo.validate_request import json_type

PAUSE_SECONDS = 0.1  # before each token of demo/slow
BALANCE = {"current_balance": 12.5, "currency": "USD"}
MAX_DAYS = 92
PAGE_ITEMS = 20
_MODEL_LIST_PATHS = {"/v1/models", "/models", "/api/v1/models"}
_STORED_PATH = "/v1/responses/"
_SPENDING = (("demo/markdown", 0.75, 30), ("demo/echo", 0.5, 12))  # model, US dollars, requests


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """An HTTP request; the names of its headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def query(self) -> Mapping[str, list[str]]:
        """Return the values of each query parameter."""
        return parse_qs(urlsplit(self.target).query)


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """An HTTP response; a stream has many frames, any other response at most one."""

    status: int
    headers: Mapping[str, str]
    frames: tuple[bytes, ...] = ()
    is_stream: bool = False
    pause: float = 0.0  # seconds before each frame
    is_cut: bool = False  # closes the connection in the middle


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """Everything that differs between the two endpoints."""

    name: str
    parse_request: Callable[[Mapping[str, Json]], DemoRequest]
    build_answer: Callable[[DemoExchange], Json]
    stream_answer: Callable[[DemoExchange], Iterator[bytes]]
    build_failure: Callable[[DemoExchange], Json]
    format_failure: Callable[[int], bytes]


CHAT = DemoEndpoint(
    "chat", chat.parse_request, chat.build_answer, chat.stream_answer, chat.build_failure, chat.format_failure
)
RESPONSES = DemoEndpoint(
    "responses",
    responses.parse_request,
    responses.build_answer,
    responses.stream_answer,
    responses.build_failure,
    responses.format_failure,
)


def build_error_response(status: int, message: str, target: str) -> ServerResponse:
    """Return an error as the gateway sends it."""
    body = build_error_body(status, message, target.partition("?")[0])
    headers = {"Content-Type": "application/problem+json; charset=utf-8", "x-request-id": body["requestId"]}
    return ServerResponse(status, headers, (encode_json(body),))


@dataclass
class Gateway:
    """The server's state: stored responses by id, their inputs and conversations, and the running ones."""

    stored: dict[str, Json] = field(default_factory=dict)
    inputs: dict[str, list[Json]] = field(default_factory=dict)
    conversations: dict[str, list[Json]] = field(default_factory=dict)
    running: dict[str, Json] = field(default_factory=dict)

    def answer(self, request: ServerRequest) -> ServerResponse:
        """Answer a request; errors become responses."""
        try:
            _check_key(request)
            return self._route(request)
        except GatewayError as error:
            return build_error_response(error.status, error.message, request.target)
        except RecursionError:
            return build_error_response(400, "The body is nested too deeply", request.target)

    def _route(self, request: ServerRequest) -> ServerResponse:
        path = _parse_path(request.target)
        match request.method:
            case "POST" if path in {"/v1/chat/completions", "/chat/completions"}:
                return self._run(request, CHAT)
            case "POST" if path == "/v1/responses":
                return self._run(request, RESPONSES)
            case "GET" | "HEAD" if path in _MODEL_LIST_PATHS:
                return _list_models(request)
            case "GET" | "HEAD" if name := _find_model_name(path):
                return _build_json_response(request, models.get_model(name) or _raise_not_found("Model"))
            case "GET" | "HEAD" if path == "/v2/billing":
                return _build_json_response(request, BALANCE)
            case "GET" | "HEAD" if path in {"/v2/usage", "/v2/usage/detail"}:
                return _build_json_response(request, _report_usage(request.query, detail=path.endswith("detail")))
            case "GET" | "HEAD" if path.startswith("/model/"):
                model = models.show_model(path.removeprefix("/model/"), request.query)
                return _build_json_response(request, model or _raise_not_found("Model"))
        if path.startswith(_STORED_PATH) and (found := self._route_stored(request, path.removeprefix(_STORED_PATH))):
            return _build_json_response(request, found)
        raise GatewayError(404, f"Cannot {request.method} {request.target}")

    def _route_stored(self, request: ServerRequest, path: str) -> Json | None:
        """Return the answer to a request about a stored response, or None if there is no such route."""
        response_id, _, what = path.partition("/")
        match request.method, what:
            case "GET" | "HEAD", "":
                return self._load(response_id)
            case "GET" | "HEAD", "input_items":
                return self._list_inputs(response_id, request.query)
            case "POST", "cancel":
                return self._cancel(response_id)
            case "DELETE", "":
                return self._delete(response_id)
        return None

    def _run(self, request: ServerRequest, endpoint: DemoEndpoint) -> ServerResponse:
        body = _parse_object(request.body)
        model = _find_model(body, endpoint)
        if model.status:
            raise GatewayError(model.status, f"{STATUSES[model.status]} (demo/status-{model.status})")
        exchange = self._build_exchange(body, endpoint, model.id)
        self._check_context(exchange, endpoint, model)
        if endpoint is RESPONSES and (body.get("store") or body.get("background")):
            self._store(exchange)
        if body.get("background"):
            return _build_json_response(request, responses.build_response(exchange, "queued"))
        headers = {"x-inference-id": f"inf_demo_{exchange.unique_id}", **_build_id_headers(request)}
        build = _build_stream if body.get("stream") else _build_response
        return replace(build(exchange, endpoint, headers), is_cut=model.id == "demo/cut")

    def _build_exchange(self, body: Mapping[str, Json], endpoint: DemoEndpoint, model_id: str) -> DemoExchange:
        previous_id = body.get("previous_response_id") if endpoint is RESPONSES else None
        if previous_id is not None and not self.stored.get(previous_id, {}).get("store"):
            raise GatewayError(400, f"Previous response with id '{previous_id}' not found.")
        request = replace(endpoint.parse_request(self._add_conversation(body, endpoint, model_id)), model=model_id)
        answers = tuple(make_answer(request, choice) for choice in range(request.choice_count))
        return DemoExchange(body, request, answers, int(time.time()), make_id())

    def _check_context(self, exchange: DemoExchange, endpoint: DemoEndpoint, model: models.DemoModel) -> None:
        """Raise GatewayError if the request, with the stored conversation that it continues, is too long."""
        previous_id = exchange.body.get("previous_response_id") if endpoint is RESPONSES else None
        texts = (join_text(item.get("content")) for item in self.conversations.get(previous_id or "", ()))
        tokens = exchange.input_tokens + sum(map(len, texts)) // CHARS_PER_TOKEN
        if tokens > model.context:
            raise GatewayError(
                400,
                f"This model's maximum context length is {model.context} tokens. However, your messages resulted in "
                f"{tokens} tokens. Please reduce the length of the messages.",
            )

    def _add_conversation(self, body: Mapping[str, Json], endpoint: DemoEndpoint, model_id: str) -> Mapping[str, Json]:
        """Return the body with the stored conversation that it continues, for demo/tools, the only model that uses it.

        Raises GatewayError for a call without a result.
        """
        if model_id != "demo/tools":
            return body
        if endpoint is CHAT:
            check_tool_items(convert_messages(body["messages"]), "chat")
            return body
        items = self._list_conversation(body)
        check_tool_items(items, "responses")
        return {**body, "input": items}

    def _list_conversation(self, body: Mapping[str, Json]) -> list[Json]:
        return [*self.conversations.get(body.get("previous_response_id") or "", ()), *responses.list_items(body)]

    def _store(self, exchange: DemoExchange) -> None:
        done = responses.build_answer(exchange)
        self.stored[done["id"]] = done
        self.inputs[done["id"]] = responses.list_input_items(exchange.body, exchange.unique_id)
        self.conversations[done["id"]] = [*self._list_conversation(exchange.body), *done["output"]]
        if exchange.body.get("background") and exchange.request.model == "demo/slow":
            self.running[done["id"]] = responses.build_response(exchange, "in_progress")

    def _load(self, response_id: str) -> Json:
        """Return a stored response; a background response is complete when it is loaded for the second time."""
        return self.running.pop(response_id, None) or self.stored.get(response_id) or _raise_not_found("Response")

    def _list_inputs(self, response_id: str, query: Mapping[str, list[str]]) -> Json:
        """Return a page of the input items of a stored response, the last one first unless the query says otherwise."""
        items = self.inputs.get(response_id) or _raise_not_found("Response")
        return _build_page(items if query.get("order") == ["asc"] else items[::-1], query)

    def _delete(self, response_id: str) -> Json:
        """Delete a stored response."""
        _ = self.stored.pop(response_id, None) or _raise_not_found("Response")
        for kept in (self.inputs, self.conversations, self.running):
            kept.pop(response_id, None)
        return {"id": response_id, "object": "response", "deleted": True}

    def _cancel(self, response_id: str) -> Json:
        """Cancel a background response, and return it; a complete response is not changed."""
        response = self.stored.get(response_id) or _raise_not_found("Response")
        if not response["background"]:
            raise GatewayError(
                400, "Only responses created with the parameter background set to true can be cancelled."
            )
        if self.running.pop(response_id, None):
            response = {**response, "status": "cancelled", "output": [], "output_text": "", "usage": None}
            self.stored[response_id] = response
        return response


def _find_model_name(path: str) -> str:
    """Return the model name in a path such as `/v1/models/NAME`, or "" for any other path."""
    bases = (f"{base}/" for base in _MODEL_LIST_PATHS)
    return next((path.removeprefix(base) for base in bases if path.startswith(base)), "")


def _build_page(items: list[Json], query: Mapping[str, list[str]]) -> Json:
    """Return a page of the items after the one that the query names; raise GatewayError for an invalid query."""
    ids = [item["id"] for item in items]
    after, limit = query.get("after", [""])[0], query.get("limit", [str(PAGE_ITEMS)])[0]
    if not re.fullmatch("[1-9][0-9]?|100", limit):
        raise GatewayError(400, f"limit: expected an integer from 1 to 100, received {limit}")
    if after and after not in ids:
        _raise_not_found(f"Input item {after}")
    rest = items[ids.index(after) + 1 :] if after else items
    page = rest[: int(limit)]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, **ends, "has_more": len(rest) > len(page)}


def _parse_path(target: str) -> str:
    try:
        return unquote(urlsplit(target).path)
    except ValueError:
        raise GatewayError(400, "The address of the request cannot be read") from None


def _raise_not_found(what: str) -> Json:
    raise GatewayError(404, f"{what} not found")


def _check_key(request: ServerRequest) -> None:
    """Raise GatewayError for the key `bad-key` and for anything but a bearer token; a key is not required."""
    header = request.headers.get("authorization")
    if header is not None and (header == "Bearer bad-key" or not re.fullmatch(r"Bearer \S+", header)):
        raise GatewayError(401, STATUSES[401])


def _parse_object(body: bytes) -> Mapping[str, Json]:
    try:
        value = json.loads(body, parse_constant=_reject_constant)
    except ValueError as error:
        raise GatewayError(400, f"The body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise GatewayError(400, f"{validate_request.TITLE}\nExpected object, received {json_type(value)}")
    return value


def _reject_constant(word: str) -> Json:
    raise ValueError(f"unexpected {word}")


def _find_model(body: Mapping[str, Json], endpoint: DemoEndpoint) -> models.DemoModel:
    """Return the request's model and validate the body.

    An unknown model is reported first, because the gateway validates a body with its model's rules.
    """
    name = body.get("model")
    model = models.find_demo_model(name) if isinstance(name, str) else None
    if isinstance(name, str) and model is None:
        raise GatewayError(404, f"Model not found: {name} (aiml models --demo lists the available models)")
    validate_request.check_body(body, endpoint.name)
    return model or _raise_not_found("Model")


def _build_id_headers(request: ServerRequest) -> Mapping[str, str]:
    """Return headers with the request's id, and with the client's own id if that is valid."""
    client_id = request.headers.get("x-client-request-id", "")
    is_valid = re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", client_id)
    return {"x-request-id": make_id(), **({"x-client-request-id": client_id} if is_valid else {})}


def _build_json_response(request: ServerRequest, value: Json) -> ServerResponse:
    headers = {"Content-Type": "application/json; charset=utf-8", **_build_id_headers(request)}
    return ServerResponse(200, headers, (encode_json(value),))


def _list_models(request: ServerRequest) -> ServerResponse:
    """Return the list of models, or 304 if the client already has it."""
    response = _build_json_response(request, models.list_models(request.query))
    etag = f'W/"{hashlib.sha256(response.frames[0]).hexdigest()[:32]}"'
    headers = {**response.headers, "ETag": etag, "Cache-Control": "max-age=60"}
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    return ServerResponse(304, headers) if etag in known else replace(response, headers=headers)


def _build_response(exchange: DemoExchange, endpoint: DemoEndpoint, headers: Mapping[str, str]) -> ServerResponse:
    """Return a response with one JSON object, and with its cost in the headers."""
    model = exchange.request.model
    body = endpoint.build_failure(exchange) if model == "demo/error" else endpoint.build_answer(exchange)
    cost = {
        "x-aimlapi-credits-used": str(exchange.credits),
        "x-aimlapi-usd-spent": f"{exchange.usd:.9f}".rstrip("0"),
        "x-aimlapi-model": model,
        "x-aimlapi-provider": "demo",
    }
    content = {"Content-Type": "application/json; charset=utf-8"}
    pause = PAUSE_SECONDS * exchange.output_tokens if model == "demo/slow" else 0.0
    return ServerResponse(200, {**content, **headers, **cost}, (encode_json(body),), pause=pause)


def _build_stream(exchange: DemoExchange, endpoint: DemoEndpoint, headers: Mapping[str, str]) -> ServerResponse:
    """Return a response of server-sent events, without its cost in the headers."""
    frames = tuple(endpoint.stream_answer(exchange))
    if exchange.request.model == "demo/error":
        half = len(frames) // 2
        frames = (*frames[:half], endpoint.format_failure(half))
    content = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    pause = PAUSE_SECONDS if exchange.request.model == "demo/slow" else 0.0
    return ServerResponse(200, {**content, **headers}, frames, is_stream=True, pause=pause)


def _report_usage(query: Mapping[str, list[str]], *, detail: bool) -> Json:
    """Return the spending of the key in the query's period; raise GatewayError for an invalid period."""
    end = datetime.now(UTC)
    window = {"start": _format_time(end - _parse_period(query.get("period", [""])[0])), "end": _format_time(end)}
    rows = [{"model": model, "spend": usd, "requests": count} for model, usd, count in _SPENDING]
    total = {"spend": sum(row[1] for row in _SPENDING), "currency": "USD", "requests": sum(row[2] for row in _SPENDING)}
    return {"api_key_prefix": None, **window, **total, **({"models": rows} if detail else {})}


def _parse_period(period: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", period)
    length = timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])}) if match else timedelta()
    if not timedelta() < length <= timedelta(days=MAX_DAYS):
        raise GatewayError(400, f"period must be a positive integer followed by h or d, and at most {MAX_DAYS} days")
    return length


def _format_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
