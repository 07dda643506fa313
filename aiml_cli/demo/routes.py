"""What each path answers: requests in, replies out, and no socket."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from aiml_cli.demo import chat_completions, models, responses, validation
from aiml_cli.demo.answers import make_answer
from aiml_cli.demo.body_validation import json_type
from aiml_cli.demo.errors import STATUSES, GatewayError, error_body
from aiml_cli.demo.exchange import DemoExchange, encode_json, new_identity
from aiml_cli.demo.question import DemoRequest, Json

PAUSE = 0.1  # seconds before each token of demo/slow
_LISTS = {"/v1/models", "/models", "/api/v1/models"}
BALANCE = {"current_balance": 12.5, "currency": "USD"}
MOST_DAYS = 92
_SPENT = (("demo/markdown", 0.75, 30), ("demo/echo", 0.5, 12))


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """Hold a request; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """Hold a reply. A stream has many frames, anything else at most one.

    `pause` is in seconds, before each frame. `cut` closes the connection in the middle.
    """

    status: int
    headers: Mapping[str, str]
    frames: tuple[bytes, ...] = ()
    streamed: bool = False
    pause: float = 0.0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """Gather what makes one of the two endpoints."""

    name: str
    parse_request: Callable[[Mapping[str, Json]], DemoRequest]
    json_answer: Callable[[DemoExchange], Json]
    stream_answer: Callable[[DemoExchange], Iterator[bytes]]
    failed_answer: Callable[[DemoExchange], Json]
    failure_event: Callable[[int], bytes]


CHAT = DemoEndpoint(
    "chat",
    chat_completions.parse_request,
    chat_completions.json_answer,
    chat_completions.stream_answer,
    chat_completions.failed_answer,
    chat_completions.failure_event,
)


RESPONSES = DemoEndpoint(
    "responses",
    responses.parse_request,
    responses.json_answer,
    responses.stream_answer,
    responses.failed_answer,
    responses.failure_event,
)


def error_response(status: int, message: str, target: str) -> ServerResponse:
    """Write an error in the gateway's shape."""
    body = error_body(status, message, target.partition("?")[0])
    headers = {"Content-Type": "application/problem+json; charset=utf-8", "x-request-id": body["requestId"]}
    return ServerResponse(status, headers, (encode_json(body),))


@dataclass
class Gateway:
    """Answer calls; `kept` holds the responses that were stored, by id, and `working` those in the background."""

    kept: dict[str, Json] = field(default_factory=dict)
    working: dict[str, Json] = field(default_factory=dict)

    def answer(self, call: ServerRequest) -> ServerResponse:
        """Answer one call."""
        try:
            _check_key(call)
            return self._routed(call)
        except GatewayError as fault:
            return error_response(fault.status, fault.message, call.target)
        except RecursionError:
            return error_response(400, "The body is nested too deeply", call.target)

    def _routed(self, call: ServerRequest) -> ServerResponse:
        path = _path(call.target)
        match call.method:
            case "POST" if path in {"/v1/chat/completions", "/chat/completions"}:
                return self._asked(call, CHAT)
            case "POST" if path == "/v1/responses":
                return self._asked(call, RESPONSES)
            case "GET" | "HEAD" if path in _LISTS:
                return _listed(call)
            case "GET" | "HEAD" if path == "/v2/billing":
                return _json(call, BALANCE)
            case "GET" | "HEAD" if path in {"/v2/usage", "/v2/usage/detail"}:
                return _json(call, usage_report(_query(call), detail=path.endswith("detail")))
            case "GET" | "HEAD" if path.startswith("/model/"):
                return _json(call, models.show_model(path.removeprefix("/model/"), _query(call)) or _missing("Model"))
            case "GET" | "HEAD" if path.startswith("/v1/responses/"):
                return _json(call, self._kept(path.removeprefix("/v1/responses/")))
            case "POST" if path.startswith("/v1/responses/") and path.endswith("/cancel"):
                return _json(call, self._cancelled(path.removeprefix("/v1/responses/").removesuffix("/cancel")))
        raise GatewayError(404, f"Cannot {call.method} {call.target}")

    def _asked(self, call: ServerRequest, endpoint: DemoEndpoint) -> ServerResponse:
        body = _object(call.body)
        model = _model(body, endpoint)
        if model.status:
            raise GatewayError(model.status, f"{STATUSES[model.status]} (demo/status-{model.status})")
        exchange = self._exchange(body, endpoint, model)
        if endpoint is RESPONSES and (body.get("store") or body.get("background")):
            self._keep(exchange)
        if body.get("background"):
            return _json(call, responses.queued_response(exchange))
        headers = {"x-inference-id": f"inf_demo_{exchange.identity}", **_request_ids(call)}
        write = _streamed if body.get("stream") else _at_once
        return replace(write(exchange, endpoint, headers), cut=model.id == "demo/cut")

    def _exchange(self, body: Mapping[str, Json], endpoint: DemoEndpoint, model: models.DemoModel) -> DemoExchange:
        earlier = body.get("previous_response_id") if endpoint is RESPONSES else None
        if earlier is not None and not self.kept.get(earlier, {}).get("store"):
            raise GatewayError(400, f"Previous response with id '{earlier}' not found.")
        question = replace(endpoint.parse_request(body), model=model.id)
        answers = tuple(make_answer(question, choice) for choice in range(question.choices))
        return DemoExchange(body, question, answers, int(time.time()), new_identity())

    def _keep(self, exchange: DemoExchange) -> None:
        done = responses.json_answer(exchange)
        self.kept[done["id"]] = done
        if exchange.body.get("background") and exchange.question.model == "demo/slow":
            self.working[done["id"]] = responses.working_response(exchange)

    def _kept(self, name: str) -> Json:
        """Give what is stored; slow work in the background is seen once at work, and then it is done."""
        return self.working.pop(name, None) or self.kept.get(name) or _missing("Response")

    def _cancelled(self, name: str) -> Json:
        """Stop work in the background; what has ended stays as it is."""
        kept = self.kept.get(name) or _missing("Response")
        if not kept["background"]:
            raise GatewayError(
                400, "Only responses created with the parameter background set to true can be cancelled."
            )
        if self.working.pop(name, None):
            self.kept[name] = {**kept, "status": "cancelled", "output": [], "output_text": "", "usage": None}
        return self.kept[name]


def _path(target: str) -> str:
    try:
        return unquote(urlsplit(target).path)
    except ValueError:
        raise GatewayError(400, "The address of the request cannot be read") from None


def _query(call: ServerRequest) -> Mapping[str, list[str]]:
    return parse_qs(urlsplit(call.target).query)


def _missing(what: str) -> Json:
    raise GatewayError(404, f"{what} not found")


def _check_key(call: ServerRequest) -> None:
    """Refuse the one key that is bad, and what is no bearer token; none is needed here."""
    given = call.headers.get("authorization")
    if given is not None and (given == "Bearer bad-key" or not re.fullmatch(r"Bearer \S+", given)):
        raise GatewayError(401, STATUSES[401])


def _object(body: bytes) -> Mapping[str, Json]:
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except ValueError as fault:
        raise GatewayError(400, f"The body is not valid JSON: {fault}") from None
    if not isinstance(value, dict):
        raise GatewayError(400, f"{validation.TITLE}\nExpected object, received {json_type(value)}")
    return value


def _no_constant(word: str) -> Json:
    raise ValueError(f"unexpected {word}")


def _model(body: Mapping[str, Json], endpoint: DemoEndpoint) -> models.DemoModel:
    """Find the model, and hold the body against the endpoint's rules.

    The model comes first: there the rules belong to it.
    """
    name = body.get("model")
    model = models.find_demo_model(name) if isinstance(name, str) else None
    if isinstance(name, str) and model is None:
        raise GatewayError(404, f"Model not found: {name} (aiml models --demo lists those that there are)")
    validation.check_body(body, endpoint.name)
    return model or _missing("Model")


def _request_ids(call: ServerRequest) -> Mapping[str, str]:
    """Name the request; a client's own id comes back where it is valid, else it is dropped silently."""
    own = call.headers.get("x-client-request-id", "")
    valid = re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", own)
    return {"x-request-id": new_identity(), **({"x-client-request-id": own} if valid else {})}


def _json(call: ServerRequest, value: Json) -> ServerResponse:
    headers = {"Content-Type": "application/json; charset=utf-8", **_request_ids(call)}
    return ServerResponse(200, headers, (encode_json(value),))


def _listed(call: ServerRequest) -> ServerResponse:
    """Give the list, or 304 to who has it already."""
    reply = _json(call, models.list_models(_query(call)))
    etag = f'W/"{hashlib.sha256(reply.frames[0]).hexdigest()[:32]}"'
    headers = {**reply.headers, "ETag": etag, "Cache-Control": "max-age=60"}
    known = [each.strip() for each in call.headers.get("if-none-match", "").split(",")]
    return ServerResponse(304, headers) if etag in known else replace(reply, headers=headers)


def _at_once(exchange: DemoExchange, endpoint: DemoEndpoint, headers: Mapping[str, str]) -> ServerResponse:
    """Reply with one JSON object, and with its cost in the headers."""
    broken = exchange.question.model == "demo/error"
    body = endpoint.failed_answer(exchange) if broken else endpoint.json_answer(exchange)
    cost = {
        "x-aimlapi-credits-used": str(exchange.credits),
        "x-aimlapi-usd-spent": f"{exchange.usd:.9f}".rstrip("0"),
        "x-aimlapi-model": exchange.question.model,
        "x-aimlapi-provider": "demo",
    }
    content = {"Content-Type": "application/json; charset=utf-8"}
    pause = PAUSE * exchange.output_tokens if exchange.question.model == "demo/slow" else 0.0
    return ServerResponse(200, {**content, **headers, **cost}, (encode_json(body),), pause=pause)


def _streamed(exchange: DemoExchange, endpoint: DemoEndpoint, headers: Mapping[str, str]) -> ServerResponse:
    """Reply with server-sent events; these carry no cost in the headers."""
    frames = tuple(endpoint.stream_answer(exchange))
    if exchange.question.model == "demo/error":
        half = len(frames) // 2
        frames = (*frames[:half], endpoint.failure_event(half))
    content = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    pause = PAUSE if exchange.question.model == "demo/slow" else 0.0
    return ServerResponse(200, {**content, **headers}, frames, streamed=True, pause=pause)


def usage_report(query: Mapping[str, list[str]], *, detail: bool) -> Json:
    """Report what a key spent in the window that a query names; raise Refused for one that is none."""
    end = datetime.now(UTC)
    window = {"start": _moment(end - _window(query.get("period", [""])[0])), "end": _moment(end)}
    models = [{"model": model, "spend": usd, "requests": count} for model, usd, count in _SPENT]
    total = {"spend": sum(usd for _, usd, _ in _SPENT), "currency": "USD", "requests": sum(n for _, _, n in _SPENT)}
    return {"api_key_prefix": None, **window, **total, **({"models": models} if detail else {})}


def _window(period: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", period)
    length = timedelta(**{"days" if found[2] == "d" else "hours": int(found[1])}) if found else timedelta()
    if not timedelta() < length <= timedelta(days=MOST_DAYS):
        raise GatewayError(400, f"period must be a positive integer followed by h or d, and at most {MOST_DAYS} days")
    return length


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
