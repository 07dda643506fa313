"""Write a request as a Python program."""

from typing import Any

from aiml_cli.snippets.request_parts import AtTemplate, FileBody, SnippetRequest

_PYTHON = AtTemplate("""\
@{base64}import json
@{os}@{pathlib}import sys

import requests

@{encoded}body = @body

response = requests.@method(
    @url,
@{headers}    json=body,
@{streamed})
if not response.ok:
    sys.exit(f"HTTP {response.status_code}: {response.text}")
@answer""")

_ENCODED = """\

def encoded(path):
    return base64.b64encode(pathlib.Path(path).read_bytes()).decode()


"""

_PYTHON_JSON = """\
data = response.json()
print(json.dumps(data, indent=2, ensure_ascii=False))
if data.get("error"):
    sys.exit(1)
"""

_PYTHON_STREAM = AtTemplate("""\
finish, refusal, calls = None, "", {}
for line in response.iter_lines():
    if not line.startswith(b"data:"):
        continue
    if line.strip().endswith(b"[DONE]"):
        @done
    event = json.loads(line[5:])
@{events}print()
for call in calls.values():
    print(json.dumps(call))
if refusal:
    sys.exit(f"refused: {refusal}")
if @incomplete:
    sys.exit(f"the answer is incomplete: {finish or 'the stream was cut off'}")
""")

_PYTHON_CHAT = {
    "done": """finish = finish or "stop"
        break""",
    "events": """\
    if event.get("error"):
        sys.exit(json.dumps(event["error"]))
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        print(delta.get("content") or "", end="", flush=True)
        refusal += delta.get("refusal") or ""
        for part in delta.get("tool_calls") or []:
            function = part.get("function") or {}
            new = {"id": part.get("id"), "name": function.get("name"), "arguments": ""}
            call = calls.setdefault(part.get("index"), new)
            call["arguments"] += function.get("arguments") or ""
        finish = choice.get("finish_reason") or finish
""",
    "incomplete": 'finish in (None, "length", "content_filter")',
}

_PYTHON_RESPONSES = {
    "done": "break",
    "events": """\
    kind = event.get("type")
    if kind in ("error", "response.failed") or event.get("error"):
        sys.exit(json.dumps(event))
    if kind == "response.output_text.delta":
        print(event["delta"], end="", flush=True)
    elif kind == "response.refusal.delta":
        refusal += event["delta"]
    elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
        calls[event["item"]["call_id"]] = event["item"]
    elif kind in ("response.completed", "response.incomplete"):
        finish = event["response"].get("status") or kind.removeprefix("response.")
""",
    "incomplete": 'finish != "completed"',
}


def write_python(request: SnippetRequest) -> str:
    """Write a program that needs `requests`, as the vendor's examples do."""
    stream = _PYTHON_STREAM.substitute(_PYTHON_RESPONSES if request.is_responses else _PYTHON_CHAT)
    return _PYTHON.substitute(
        base64="import base64\n" if request.has_files else "",
        pathlib="import pathlib\n" if request.has_files else "",
        encoded=_ENCODED if request.has_files else "",
        os="import os\n" if request.key_variable else "",
        body=_write_literal(request.body),
        method=request.method.lower(),
        url=_write_literal(request.url),
        headers=_write_headers(request),
        streamed="    stream=True,\n" if request.stream else "",
        answer=stream if request.stream else _PYTHON_JSON,
    )


def _write_headers(request: SnippetRequest) -> str:
    """Write the argument with the headers: on one line if the key is the only header."""
    key = f'"Authorization": "Bearer " + os.environ["{request.key_variable}"]' if request.key_variable else ""
    if not request.headers:
        return f"    headers={{{key}}},\n" if key else ""
    lines = [key] if key else []
    lines += [f"{_write_literal(name)}: {_write_literal(value)}" for name, value in request.headers.items()]
    return "    headers={\n" + "".join(f"        {line},\n" for line in lines) + "    },\n"


def _write_literal(value: Any, indent: str = "") -> str:
    deeper = indent + "    "
    match value:
        case {}:  # any dict, not only an empty one
            items = [f"{_write_literal(key)}: {_write_literal(item, deeper)}" for key, item in value.items()]
            brackets = "{}"
        case list() | tuple():
            items, brackets = [_write_literal(item, deeper) for item in value], "[]"
        case FileBody(head, path):
            call = f"encoded({_write_literal(path)})"
            return f"{_write_literal(head)} + {call}" if head else call
        case str() if '"' not in value:
            return '"' + repr("'" + value)[2:]  # a lone ' makes repr choose double quotes
        case _:
            return repr(value)
    lines = "".join(f"{deeper}{item},\n" for item in items)
    return f"{brackets[0]}\n{lines}{indent}{brackets[1]}" if items else brackets
