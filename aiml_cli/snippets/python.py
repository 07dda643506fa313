"""Write a request as a Python program; pure."""

from typing import Any

from aiml_cli.snippets.request_parts import AtTemplate, FileBody, SnippetRequest

_PYTHON = AtTemplate("""\
@{base64}import json
@{os}@{pathlib}import sys

import requests

@{encoded}body = @body

response = requests.@method(
    @url,
@{key}    json=body,
@{streamed})
if not response.ok:
    sys.exit(f"HTTP {response.status_code}: {response.text}")
@answer""")

_ENCODED = """\

def encoded(path):
    return base64.b64encode(pathlib.Path(path).read_bytes()).decode()


"""

_PYTHON_JSON = """\
print(json.dumps(response.json(), indent=2, ensure_ascii=False))
"""

_PYTHON_STREAM = AtTemplate("""\
for line in response.iter_lines():
    if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
        continue
    event = json.loads(line[5:])
@{text}print()
""")

_PYTHON_CHAT = """\
    if event.get("error"):
        sys.exit(json.dumps(event["error"]))
    for choice in event.get("choices") or []:
        print((choice.get("delta") or {}).get("content") or "", end="", flush=True)
"""

_PYTHON_RESPONSES = """\
    if event.get("type") in ("error", "response.failed"):
        sys.exit(json.dumps(event))
    if event.get("type") == "response.output_text.delta":
        print(event["delta"], end="", flush=True)
"""


def write_python(call: SnippetRequest) -> str:
    """Write a program that needs `requests`, as the vendor's examples do."""
    key = f'    headers={{"Authorization": "Bearer " + os.environ["{call.key_variable}"]}},\n'
    stream = _PYTHON_STREAM.substitute(text=_PYTHON_RESPONSES if call.on_responses else _PYTHON_CHAT)
    return _PYTHON.substitute(
        base64="import base64\n" if call.reads_files else "",
        pathlib="import pathlib\n" if call.reads_files else "",
        encoded=_ENCODED if call.reads_files else "",
        os="import os\n" if call.key_variable else "",
        body=_literal(call.body),
        method=call.method.lower(),
        url=_literal(call.url),
        key=key if call.key_variable else "",
        streamed="    stream=True,\n" if call.stream else "",
        answer=stream if call.stream else _PYTHON_JSON,
    )


def _literal(value: Any, indent: str = "") -> str:
    """Write a Python literal, one item a line."""
    deeper = indent + "    "
    match value:
        case {}:  # an object, empty or not
            items = [f"{_literal(key)}: {_literal(each, deeper)}" for key, each in value.items()]
            edges = "{}"
        case list() | tuple():
            items, edges = [_literal(each, deeper) for each in value], "[]"
        case FileBody(head, path):
            return f"{_literal(head)} + encoded({_literal(path)})" if head else f"encoded({_literal(path)})"
        case str() if '"' not in value:
            return '"' + repr("'" + value)[2:]  # a lone ' makes repr choose double quotes
        case _:
            return repr(value)
    lines = "".join(f"{deeper}{item},\n" for item in items)
    return f"{edges[0]}\n{lines}{indent}{edges[1]}" if items else edges
