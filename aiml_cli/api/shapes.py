"""Turn tools, tool choices and answer formats into the form of either endpoint: nested on chat, flat on responses."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiml_cli.errors import Misuse

Form = Callable[[Mapping[str, Any]], dict[str, Any]]
WORDS = ("none", "auto", "required")
HOSTED = (
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "computer_use_preview",
    "code_interpreter",
    "file_search",
    "mcp",
)


def tools(found: Any, form: Form) -> list[dict[str, Any]] | None:
    """Give each tool in an endpoint's form; one alone is a list of one. Raises Misuse for what is no tool."""
    if found is None:
        return None
    return [form(_tool(tool)) for tool in (found if isinstance(found, list) else [found])]


def _tool(tool: Any) -> Mapping[str, Any]:
    if isinstance(tool, dict) and isinstance(tool.get("function", {}), dict):
        return tool
    raise Misuse(
        f"--tools: {json.dumps(tool, ensure_ascii=False)[:60]} is no tool", 'a tool is {"type": "function", …}'
    )


def nested_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Give a function in chat's form: its facts under `function`, with `parameters` always there."""
    if tool.get("type") != "function":
        return dict(tool)
    facts = tool.get("function") or {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": {"parameters": _anything(), **facts}}


def flat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Give a function in the form of responses, with `parameters` and `strict` always there."""
    if tool.get("type") != "function":
        return dict(tool)
    facts = tool.get("function") or tool
    strict = {"strict": bool(facts.get("strict"))}
    return {"parameters": _anything(), **facts, **strict, "type": "function"}


def _anything() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


def nested_choice(chosen: Any) -> Any:
    """Give a tool choice in chat's form; a word that is none of the API's own names a function."""
    if isinstance(chosen, str):
        return chosen if chosen in WORDS else {"type": "function", "function": {"name": chosen}}
    if isinstance(chosen, dict) and chosen.get("type") == "function" and "name" in chosen:
        return {"type": "function", "function": {"name": chosen["name"]}}
    return chosen


def flat_choice(chosen: Any) -> Any:
    """Give a tool choice in the form of responses; hosted tools are chosen by their type."""
    if isinstance(chosen, str):
        if chosen in WORDS:
            return chosen
        return {"type": chosen} if chosen in HOSTED else {"type": "function", "name": chosen}
    if isinstance(chosen, dict) and isinstance(chosen.get("function"), dict):
        return {"type": "function", **chosen["function"]}
    return chosen


def nested_format(wanted: Any) -> Any:
    """Give an answer format in chat's form."""
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and "json_schema" not in wanted:
        return {"type": "json_schema", "json_schema": {k: v for k, v in wanted.items() if k != "type"}}
    return wanted


def flat_format(wanted: Any) -> Any:
    """Give an answer format in the form of responses."""
    if isinstance(wanted, dict) and isinstance(wanted.get("json_schema"), dict):
        return {"type": "json_schema", **wanted["json_schema"]}
    return wanted
