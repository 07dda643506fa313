"""What the Responses endpoint demands beyond the table: input items, tools, text."""

from collections.abc import Mapping

from aiml_cli.demo.chat_form import FORMATS, TOOL_CHOICES, content, function
from aiml_cli.demo.checks import MISSING, Issues, Json, counted, has, one_of, typed

ROLES = ("user", "assistant", "system", "developer")
_PARTS: Mapping[str, Mapping[str, str]] = {
    "input_text": {"text": "string"},
    "input_image": {},
    "input_file": {},
    "output_text": {"text": "string"},
    "refusal": {"refusal": "string"},
}
# The items that are no messages, each with what it requires.
_ITEMS: Mapping[str, Mapping[str, str]] = {
    "function_call": {"arguments": "string", "call_id": "string", "name": "string"},
    "function_call_output": {"call_id": "string", "output": "string"},
    "reasoning": {"id": "string", "summary": "array"},
    "item_reference": {"id": "string"},
    "web_search_call": {"id": "string", "status": "string"},
    "code_interpreter_call": {"code": "string", "id": "string", "outputs": "array", "container_id": "string"},
    "mcp_list_tools": {"id": "string", "server_label": "string", "tools": "array"},
    "mcp_approval_request": {"arguments": "string", "id": "string", "name": "string", "server_label": "string"},
    "mcp_approval_response": {"approval_request_id": "string", "approve": "boolean"},
    "mcp_call": {"arguments": "string", "id": "string", "name": "string", "server_label": "string"},
}
# The tools that are run elsewhere, each with what it requires; models differ in which of them they have.
_HOSTED: Mapping[str, Mapping[str, str]] = {
    "web_search_preview": {},
    "web_search_preview_2025_03_11": {},
    "web_search": {},
    "x_search": {},
    "local_shell": {},
    "code_interpreter": {},
    "mcp": {"server_label": "string", "server_url": "string"},
}
_CHOSEN = (
    "function", "web_search_preview", "web_search_preview_2025_03_11", "computer_use_preview", "code_interpreter",
    "mcp",
)  # fmt: skip


def responses_form(body: Mapping[str, Json]) -> Issues:
    """Judge the form of a Responses request whose types the table has judged."""
    yield from _input(body.get("input", MISSING))
    if "tools" in body:
        yield from _tools(body["tools"])
    if "tool_choice" in body:
        yield from _tool_choice(body["tool_choice"])
    if "text" in body:
        yield from _text(body["text"])
    if body.get("prompt") is not None:
        yield from has("prompt", body["prompt"], {"id": "string"})


def _input(said: Json) -> Issues:
    yield from typed("input", said, "string", "array")
    if isinstance(said, list):
        yield from counted("input", said, 1)
        for index, item in enumerate(said):
            yield from _item(f"input.{index}", item)


def _item(path: str, item: Json) -> Issues:
    """Judge one item; a message needs no type, anything else has one."""
    wrong = list(typed(path, item, "object"))
    yield from wrong
    if wrong:
        return
    if item.get("type", "message") == "message":
        yield from one_of(f"{path}.role", item.get("role", MISSING), *ROLES)
        yield from content(f"{path}.content", item.get("content", MISSING), _PARTS)
    else:
        unknown = list(one_of(f"{path}.type", item["type"], "message", *_ITEMS))
        yield from unknown or has(path, item, _ITEMS[item["type"]])


def _tools(tools: Json) -> Issues:
    wrong = list(counted("tools", tools, 0))
    yield from wrong
    for index, tool in enumerate([] if wrong else tools):
        yield from _tool(f"tools.{index}", tool)


def _tool(path: str, tool: Json) -> Issues:
    wrong = list(has(path, tool, {"type": "string"}))
    wrong = wrong or list(one_of(f"{path}.type", tool["type"], "function", *_HOSTED))
    if wrong:
        yield from wrong
    elif tool["type"] == "function":
        yield from function(path, tool, {"parameters": "object", "strict": "boolean"})
    else:
        yield from has(path, tool, _HOSTED[tool["type"]])
        if tool["type"] == "code_interpreter":
            yield from typed(f"{path}.container", tool.get("container", MISSING), "string", "object")


def _tool_choice(choice: Json) -> Issues:
    if isinstance(choice, str):
        yield from one_of("tool_choice", choice, *TOOL_CHOICES)
        return
    wrong = list(one_of("tool_choice.type", choice.get("type", MISSING), *_CHOSEN))
    yield from wrong
    if not wrong and choice["type"] == "function":
        yield from function("tool_choice", choice, {})


def _text(text: Json) -> Issues:
    wrong = list(has("text", text, {"format": "object"}))
    wrong = wrong or list(one_of("text.format.type", text["format"].get("type", MISSING), *FORMATS))
    yield from wrong
    if not wrong and text["format"]["type"] == "json_schema":
        yield from function("text.format", text["format"], {"schema": "object"})
