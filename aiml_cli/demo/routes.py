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
from aiml_cli.demo.answers import answer
from aiml_cli.demo.errors import STATUSES, Refused, problem
from aiml_cli.demo.exchange import Exchange, encoded, new_identity
from aiml_cli.demo.question import Json, Question
from aiml_cli.demo.value_checks import received

PAUSE = 0.1  # seconds before each token of demo/slow
_LISTS = {"/v1/models", "/models", "/api/v1/models"}
BALANCE = {"current_balance": 12.5, "currency": "USD"}
MOST_DAYS = 92
_SPENT = (("demo/markdown", 0.75, 30), ("demo/echo", 0.5, 12))


@dataclass(frozen=True, slots=True)
class Call:
    """Hold a request; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
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
class Endpoint:
    """Gather what makes one of the two endpoints."""

    name: str
    read: Callable[[Mapping[str, Json]], Question]
    whole: Callable[[Exchange], Json]
    stream: Callable[[Exchange], Iterator[bytes]]
    broken: Callable[[Exchange], Json]
    failure: Callable[[int], bytes]


CHAT = Endpoint(
    "chat",
    chat_completions.read,
    chat_completions.whole,
    chat_completions.stream,
    chat_completions.broken,
    chat_completions.failure,
)


RESPONSES = Endpoint(
    "responses", responses.read, responses.whole, responses.stream, responses.broken, responses.failure
)


def refusal(status: int, message: str, target: str) -> Reply:
    """Write an error in the gateway's shape."""
    body = problem(status, message, target.partition("?")[0])
    headers = {"Content-Type": "application/problem+json; charset=utf-8", "x-request-id": body["requestId"]}
    return Reply(status, headers, (encoded(body),))


@dataclass
class Gateway:
    """Answer calls; `kept` holds the responses that were stored, by id, and `working` those in the background."""

    kept: dict[str, Json] = field(default_factory=dict)
    working: dict[str, Json] = field(default_factory=dict)

    def answer(self, call: Call) -> Reply:
        """Answer one call."""
        try:
            _check_key(call)
            return self._routed(call)
        except Refused as fault:
            return refusal(fault.status, fault.message, call.target)
        except RecursionError:
            return refusal(400, "The body is nested too deeply", call.target)

    def _routed(self, call: Call) -> Reply:
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
                return _json(call, spent(_query(call), detail=path.endswith("detail")))
            case "GET" | "HEAD" if path.startswith("/model/"):
                return _json(call, models.one(path.removeprefix("/model/"), _query(call)) or _missing("Model"))
            case "GET" | "HEAD" if path.startswith("/v1/responses/"):
                return _json(call, self._kept(path.removeprefix("/v1/responses/")))
            case "POST" if path.startswith("/v1/responses/") and path.endswith("/cancel"):
                return _json(call, self._cancelled(path.removeprefix("/v1/responses/").removesuffix("/cancel")))
        raise Refused(404, f"Cannot {call.method} {call.target}")

    def _asked(self, call: Call, endpoint: Endpoint) -> Reply:
        body = _object(call.body)
        model = _model(body, endpoint)
        if model.status:
            raise Refused(model.status, f"{STATUSES[model.status]} (demo/status-{model.status})")
        exchange = self._exchange(body, endpoint, model)
        if endpoint is RESPONSES and (body.get("store") or body.get("background")):
            self._keep(exchange)
        if body.get("background"):
            return _json(call, responses.queued(exchange))
        headers = {"x-inference-id": f"inf_demo_{exchange.identity}", **_request_ids(call)}
        write = _streamed if body.get("stream") else _at_once
        return replace(write(exchange, endpoint, headers), cut=model.id == "demo/cut")

    def _exchange(self, body: Mapping[str, Json], endpoint: Endpoint, model: models.Model) -> Exchange:
        earlier = body.get("previous_response_id") if endpoint is RESPONSES else None
        if earlier is not None and not self.kept.get(earlier, {}).get("store"):
            raise Refused(400, f"Previous response with id '{earlier}' not found.")
        question = replace(endpoint.read(body), model=model.id)
        answers = tuple(answer(question, choice) for choice in range(question.choices))
        return Exchange(body, question, answers, int(time.time()), new_identity())

    def _keep(self, exchange: Exchange) -> None:
        done = responses.whole(exchange)
        self.kept[done["id"]] = done
        if exchange.body.get("background") and exchange.question.model == "demo/slow":
            self.working[done["id"]] = responses.working(exchange)

    def _kept(self, name: str) -> Json:
        """Give what is stored; slow work in the background is seen once at work, and then it is done."""
        return self.working.pop(name, None) or self.kept.get(name) or _missing("Response")

    def _cancelled(self, name: str) -> Json:
        """Stop work in the background; what has ended stays as it is."""
        kept = self.kept.get(name) or _missing("Response")
        if not kept["background"]:
            raise Refused(400, "Only responses created with the parameter background set to true can be cancelled.")
        if self.working.pop(name, None):
            self.kept[name] = {**kept, "status": "cancelled", "output": [], "output_text": "", "usage": None}
        return self.kept[name]


def _path(target: str) -> str:
    try:
        return unquote(urlsplit(target).path)
    except ValueError:
        raise Refused(400, "The address of the request cannot be read") from None


def _query(call: Call) -> Mapping[str, list[str]]:
    return parse_qs(urlsplit(call.target).query)


def _missing(what: str) -> Json:
    raise Refused(404, f"{what} not found")


def _check_key(call: Call) -> None:
    """Refuse the one key that is bad, and what is no bearer token; none is needed here."""
    given = call.headers.get("authorization")
    if given is not None and (given == "Bearer bad-key" or not re.fullmatch(r"Bearer \S+", given)):
        raise Refused(401, STATUSES[401])


def _object(body: bytes) -> Mapping[str, Json]:
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except ValueError as fault:
        raise Refused(400, f"The body is not valid JSON: {fault}") from None
    if not isinstance(value, dict):
        raise Refused(400, f"{validation.TITLE}\nExpected object, received {received(value)}")
    return value


def _no_constant(word: str) -> Json:
    raise ValueError(f"unexpected {word}")


def _model(body: Mapping[str, Json], endpoint: Endpoint) -> models.Model:
    """Find the model, and hold the body against the endpoint's rules.

    The model comes first: there the rules belong to it.
    """
    name = body.get("model")
    model = models.find(name) if isinstance(name, str) else None
    if isinstance(name, str) and model is None:
        raise Refused(404, f"Model not found: {name} (aiml models --demo lists those that there are)")
    validation.check(body, endpoint.name)
    return model or _missing("Model")


def _request_ids(call: Call) -> Mapping[str, str]:
    """Name the request; a client's own id comes back where it is valid, else it is dropped silently."""
    own = call.headers.get("x-client-request-id", "")
    valid = re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", own)
    return {"x-request-id": new_identity(), **({"x-client-request-id": own} if valid else {})}


def _json(call: Call, value: Json) -> Reply:
    headers = {"Content-Type": "application/json; charset=utf-8", **_request_ids(call)}
    return Reply(200, headers, (encoded(value),))


def _listed(call: Call) -> Reply:
    """Give the list, or 304 to who has it already."""
    reply = _json(call, models.listed(_query(call)))
    etag = f'W/"{hashlib.sha256(reply.frames[0]).hexdigest()[:32]}"'
    headers = {**reply.headers, "ETag": etag, "Cache-Control": "max-age=60"}
    known = [each.strip() for each in call.headers.get("if-none-match", "").split(",")]
    return Reply(304, headers) if etag in known else replace(reply, headers=headers)


def _at_once(exchange: Exchange, endpoint: Endpoint, headers: Mapping[str, str]) -> Reply:
    """Reply with one JSON object, and with its cost in the headers."""
    broken = exchange.question.model == "demo/error"
    body = endpoint.broken(exchange) if broken else endpoint.whole(exchange)
    cost = {
        "x-aimlapi-credits-used": str(exchange.credits),
        "x-aimlapi-usd-spent": f"{exchange.usd:.9f}".rstrip("0"),
        "x-aimlapi-model": exchange.question.model,
        "x-aimlapi-provider": "demo",
    }
    content = {"Content-Type": "application/json; charset=utf-8"}
    pause = PAUSE * exchange.output_tokens if exchange.question.model == "demo/slow" else 0.0
    return Reply(200, {**content, **headers, **cost}, (encoded(body),), pause=pause)


def _streamed(exchange: Exchange, endpoint: Endpoint, headers: Mapping[str, str]) -> Reply:
    """Reply with server-sent events; these carry no cost in the headers."""
    frames = tuple(endpoint.stream(exchange))
    if exchange.question.model == "demo/error":
        half = len(frames) // 2
        frames = (*frames[:half], endpoint.failure(half))
    content = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    pause = PAUSE if exchange.question.model == "demo/slow" else 0.0
    return Reply(200, {**content, **headers}, frames, streamed=True, pause=pause)


def spent(query: Mapping[str, list[str]], *, detail: bool) -> Json:
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
        raise Refused(400, f"period must be a positive integer followed by h or d, and at most {MOST_DAYS} days")
    return length


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
