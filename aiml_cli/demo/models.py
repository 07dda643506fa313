"""The demo's models, as `GET /v1/models` lists and filters them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiml_cli.demo.errors import STATUSES
from aiml_cli.demo.exchange import INPUT_PRICE, OUTPUT_PRICE, PER

Json = Any

# One row of the list for each endpoint that has the model. The second name is in the vendor's own generator
# files and in what other clients read from the live list (2026-08, 2026-09).
ENDPOINTS = ("openai/chat-completions", "openai/responses/submit")
SECTIONS = ("modalities", "capabilities", "pricing")
_CAPABILITIES = ("file_input", "parallel_tool_calls", "streaming", "structured_output", "tools", "vision")
_NOTE = "No model runs behind it, and the price is play money."


@dataclass(frozen=True, slots=True)
class DemoModel:
    """Describe one model: its id, its name, what it does."""

    id: str
    name: str
    does: str
    capabilities: tuple[str, ...] = _CAPABILITIES

    @property
    def alias(self) -> str:
        """Give the other name under which the gateway knows it."""
        return self.id.replace("/", "-")

    @property
    def status(self) -> int | None:
        """Give the HTTP status that the model stands for, if it stands for one."""
        number = self.id.removeprefix("demo/status-")
        return int(number) if number.isdigit() else None


MODELS = (
    DemoModel("demo/echo", "Echo", "Answers in a line or two: what you said, how long it is, in which language."),
    DemoModel(
        "demo/markdown", "Markdown", "Answers with a page of headings, a list, a table and code, about your prompt."
    ),
    DemoModel("demo/slow", "Slow", "Answers as demo/echo does, with a pause before each token."),
    DemoModel("demo/tool", "Tool", "Calls the first function given, or get_time; answers in words to its result."),
    DemoModel(
        "demo/reasoning", "Reasoning", "Thinks first, then answers as demo/echo does.", (*_CAPABILITIES, "reasoning")
    ),
    DemoModel("demo/refusal", "Refusal", "Refuses to answer, in the field that a refusal has."),
    DemoModel("demo/cut", "Cut", "Closes the connection in the middle of the answer."),
    DemoModel("demo/length", "Length", "Ends in the middle, as if the cap on tokens was reached."),
    DemoModel("demo/filter", "Filter", "Ends in the middle, as if a content filter had stopped it."),
    DemoModel("demo/error", "Error", "Fails in the middle of the answer, under status 200."),
    *(
        DemoModel(
            f"demo/status-{status}", f"Status {status}", f"Refuses every request with status {status}: {sentence}."
        )
        for status, sentence in STATUSES.items()
    ),
)


def find_demo_model(name: str) -> DemoModel | None:
    """Find a model by its id or its alias."""
    return next((model for model in MODELS if name in {model.id, model.alias}), None)


def list_models(query: Mapping[str, list[str]]) -> Json:
    """List the rows that a query asks for."""
    rows = [row for model in MODELS for row in _rows(model) if _asked_for(row, query)]
    return {"object": "list", "data": [_shown(row, query) for row in rows]}


def show_model(name: str, query: Mapping[str, list[str]]) -> Json | None:
    """Show one model by its id or alias, in any case of letters."""
    model = find_demo_model(name.lower())
    return {"object": "model", "data": _shown(_rows(model)[0], query)} if model else None


def _rows(model: DemoModel) -> list[dict[str, Json]]:
    return [
        {
            "id": model.id,
            "info": _info(model),
            "type": endpoint,
            "aliases": [model.alias],
            "tags": ["demo"],
            "modalities": {"input": ["document", "image", "text"], "output": ["text"]},
            "capabilities": list(model.capabilities),
            "pricing": {"kind": "fixed", "currency": "USD", "units": [_unit("input"), _unit("output")]},
        }
        for endpoint in ENDPOINTS
    ]


def _info(model: DemoModel) -> Json:
    return {
        "releasedAt": "2026-09-01",
        "name": f"Demo: {model.name}",
        "developer": "aiml",
        "description": f"{model.does} {_NOTE}",
        "contextLength": 128_000,
        "outputMax": 16_000,
        "cutoffAt": "",
        "url": "",
        "docsUrl": "",
        "docsJson": "",
    }


def _unit(measure: str) -> Json:
    given = measure == "input"
    return {
        "name": "token",
        "measure": measure,
        "content": "text",
        "origin": "provided" if given else "generated",
        "price": INPUT_PRICE if given else OUTPUT_PRICE,
        "per": PER,
    }


def _shown(row: Mapping[str, Json], query: Mapping[str, list[str]]) -> Json:
    """Leave out the sections that nobody asked for; unknown ones are no error."""
    asked = _split(query.get("include", []))
    everything = "all" in asked or "true" in _split(query.get("details", []))
    return {name: value for name, value in row.items() if everything or name not in SECTIONS or name in asked}


def _asked_for(row: Mapping[str, Json], query: Mapping[str, list[str]]) -> bool:
    """Hold a row against every filter: several values of one mean any, several filters mean all."""
    modalities = row["modalities"]
    values = {
        "id": (row["id"], *row["aliases"]),
        "type": (row["type"],),
        "tags": row["tags"],
        "modalities": (*modalities["input"], *modalities["output"]),
        "input_modalities": modalities["input"],
        "output_modalities": modalities["output"],
        "capabilities": row["capabilities"],
    }
    return all(_split(query[name]) & {each.lower() for each in has} for name, has in values.items() if name in query)


def _split(values: Iterable[str]) -> set[str]:
    return {word.strip().lower() for value in values for word in value.split(",")}
