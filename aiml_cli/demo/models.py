"""The demo's models, and the answers of `GET /v1/models`, `GET /v1/models/ID` and `GET /model/ID`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiml_cli.demo.exchange import INPUT_PRICE, OUTPUT_PRICE, PRICE_UNIT
from aiml_cli.demo.parsed_request import STATUSES, Json

# The list has one row for each endpoint of a model. The second name is in the vendor's generator files and in
# the live list (2026-08, 2026-09).
ENDPOINTS = ("openai/chat-completions", "openai/responses/submit")
SECTIONS = ("modalities", "capabilities", "pricing")
_CAPABILITIES = ("file_input", "parallel_tool_calls", "streaming", "structured_output", "tools", "vision")
_RELEASED = datetime(2026, 9, 1, tzinfo=UTC)
_NOTE = "No model runs behind it, and the price is play money."
_PRICES = [
    {"name": "token", "measure": measure, "content": "text", "origin": origin, "price": price, "per": PRICE_UNIT}
    for measure, origin, price in (("input", "provided", INPUT_PRICE), ("output", "generated", OUTPUT_PRICE))
]


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model; `does` describes its behavior."""

    id: str
    name: str
    does: str
    capabilities: tuple[str, ...] = _CAPABILITIES
    context: int = 128_000  # tokens
    output_limit: int = 16_000

    @property
    def alias(self) -> str:
        """Return the other name that the gateway accepts for the model."""
        return self.id.replace("/", "-")

    @property
    def status(self) -> int | None:
        """Return the HTTP status with which the model rejects requests, or None for a model that answers."""
        number = self.id.removeprefix("demo/status-")
        return int(number) if number.isdigit() else None


MODELS = (
    DemoModel("demo/echo", "Echo", "Answers in a line or two with your prompt, its length and its language."),
    DemoModel(
        "demo/markdown", "Markdown", "Answers with a page of headings, a list, a table and code, about your prompt."
    ),
    DemoModel(
        "demo/small",
        "Small",
        "Has a context of 4,000 tokens and answers with a page, so a conversation is soon too long for it.",
        context=4000,
        output_limit=500,
    ),
    DemoModel("demo/slow", "Slow", "Answers like demo/echo, with a pause before each token."),
    DemoModel("demo/tool", "Tool", "Calls the first function, or get_time; answers with text to its result."),
    DemoModel(
        "demo/tools", "Tools", "Calls the tools that the prompt names, or the first one, and quotes what they return."
    ),
    DemoModel(
        "demo/reasoning", "Reasoning", "Reasons first, then answers like demo/echo.", (*_CAPABILITIES, "reasoning")
    ),
    DemoModel("demo/refusal", "Refusal", "Refuses to answer, in the refusal field."),
    DemoModel("demo/cut", "Cut", "Closes the connection in the middle of the answer."),
    DemoModel("demo/length", "Length", "Ends in the middle, as if the token limit was reached."),
    DemoModel("demo/filter", "Filter", "Ends in the middle, as if a content filter had stopped it."),
    DemoModel("demo/error", "Error", "Fails in the middle of the answer, with status 200."),
    *(
        DemoModel(
            f"demo/status-{status}", f"Status {status}", f"Rejects every request with status {status}: {sentence}."
        )
        for status, sentence in STATUSES.items()
    ),
)


def find_demo_model(name: str) -> DemoModel | None:
    """Return the model with this id or alias, None if there is none."""
    return next((model for model in MODELS if name in {model.id, model.alias}), None)


def list_models(query: Mapping[str, list[str]]) -> Json:
    """Return the list of models that match a query."""
    rows = [row for model in MODELS for row in _build_rows(model) if _matches(row, query)]
    return {"object": "list", "data": [_select_sections(row, query) for row in rows]}


def show_model(name: str, query: Mapping[str, list[str]]) -> Json | None:
    """Return one model by its id or alias, ignoring case, or None if there is none."""
    model = find_demo_model(name.lower())
    return {"object": "model", "data": _select_sections(_build_rows(model)[0], query)} if model else None


def get_model(name: str) -> Json | None:
    """Return one model like the OpenAI API, with everything in the list about it; None if there is none."""
    model = find_demo_model(name)
    if model is None:
        return None
    return {**_build_rows(model)[0], "object": "model", "created": int(_RELEASED.timestamp()), "owned_by": "aiml"}


def _build_rows(model: DemoModel) -> list[dict[str, Json]]:
    return [
        {
            "id": model.id,
            "info": _build_info(model),
            "type": endpoint,
            "aliases": [model.alias],
            "tags": ["demo"],
            "modalities": {"input": ["document", "image", "text"], "output": ["text"]},
            "capabilities": list(model.capabilities),
            "pricing": {"kind": "fixed", "currency": "USD", "units": _PRICES},
        }
        for endpoint in ENDPOINTS
    ]


def _build_info(model: DemoModel) -> Json:
    return {
        "releasedAt": f"{_RELEASED:%Y-%m-%d}",
        "name": f"Demo: {model.name}",
        "developer": "aiml",
        "description": f"{model.does} {_NOTE}",
        "contextLength": model.context,
        "outputMax": model.output_limit,
        **dict.fromkeys(("cutoffAt", "url", "docsUrl", "docsJson"), ""),
    }


def _select_sections(row: Mapping[str, Json], query: Mapping[str, list[str]]) -> Json:
    """Leave out the sections that the query does not include; unknown sections are ignored."""
    included = _split(query.get("include", []))
    everything = "all" in included or "true" in _split(query.get("details", []))
    return {name: value for name, value in row.items() if everything or name not in SECTIONS or name in included}


def _matches(row: Mapping[str, Json], query: Mapping[str, list[str]]) -> bool:
    """True if a row passes every filter; a filter of several values accepts any of them."""
    modalities = row["modalities"]
    row_values = {
        "id": (row["id"], *row["aliases"]),
        "type": (row["type"],),
        "tags": row["tags"],
        "modalities": (*modalities["input"], *modalities["output"]),
        "input_modalities": modalities["input"],
        "output_modalities": modalities["output"],
        "capabilities": row["capabilities"],
    }
    return all(_split(query[key]) & {value.lower() for value in row_values[key]} for key in row_values.keys() & query)


def _split(values: Iterable[str]) -> set[str]:
    return {word.strip().lower() for value in values for word in value.split(",")}
