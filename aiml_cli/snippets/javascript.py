"""Write a request as a JavaScript program, for Node, Deno and Bun; pure."""

import json
import re
from typing import Any

from aiml_cli.snippets.request_parts import AtTemplate, FileBody, SnippetRequest, as_json, mark_files

LARGEST = 2**53 - 1  # whole numbers beyond it lose their last digits

_JAVASCRIPT = AtTemplate("""\
@{encoded}const body = @body;

@{show}async function main() {
  const response = await fetch(@url, {
    method: @method,
    headers: {
@{key}      "Content-Type": "application/json",
    },
    body: @sent,
  });
  if (!response.ok) {
    throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  }
@answer}

main();
""")

_ENCODED = """\
const { readFileSync } = process.getBuiltinModule("node:fs");
const encoded = (path) => readFileSync(path, "base64");

"""

_JAVASCRIPT_JSON = """\
  const data = await response.json();
  console.log(JSON.stringify(data, null, 2));
"""

_JAVASCRIPT_STREAM = """\
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split(/\\r?\\n/);
    rest = lines.pop();
    lines.forEach(show);
  }
  show(rest);
  console.log();
"""

_SHOW = AtTemplate("""\
function show(line) {
  if (!line.startsWith("data:") || line.endsWith("[DONE]")) return;
  const event = JSON.parse(line.slice(5));
@text}

""")

_JAVASCRIPT_CHAT = """\
  if (event.error) throw new Error(JSON.stringify(event.error));
  for (const choice of event.choices ?? []) {
    process.stdout.write(choice.delta?.content ?? "");
  }
"""

_JAVASCRIPT_RESPONSES = """\
  if (["error", "response.failed"].includes(event.type)) throw new Error(JSON.stringify(event));
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
"""


def write_javascript(call: SnippetRequest) -> str:
    """Write a program that needs nothing but a runtime; Node 20.16 or later where it reads files."""
    show = _SHOW.substitute(text=_JAVASCRIPT_RESPONSES if call.on_responses else _JAVASCRIPT_CHAT)
    literal = _is_javascript(call.body)
    return _JAVASCRIPT.substitute(
        encoded=_ENCODED if call.reads_files else "",
        body=_body(call.body, literal=literal),
        show=show if call.stream else "",
        url=as_json(call.url),
        method=as_json(call.method),
        key=f'      "Authorization": `Bearer ${{process.env.{call.key_variable}}}`,\n' if call.key_variable else "",
        sent="JSON.stringify(body)" if literal else "body",
        answer=_JAVASCRIPT_STREAM if call.stream else _JAVASCRIPT_JSON,
    )


def _body(body: dict[str, Any], *, literal: bool) -> str:
    """Write an object, or else JSON's text as a string; files are read where they stand in it."""
    found, mark, files = mark_files(body)
    text = as_json(found if literal else json.dumps(found))
    text = re.sub(f'{mark}([0-9]+){mark}"', lambda place: f'" + {_encoded(files, place)}', text)
    text = re.sub(f"{mark}([0-9]+){mark}", lambda place: f'" + {_encoded(files, place)} + "', text)
    return text.replace('"" + encoded', "encoded")


def _encoded(files: list[FileBody], place: re.Match[str]) -> str:
    return f"encoded({as_json(files[int(place[1])].path)})"


def _is_javascript(value: Any) -> bool:
    """Say whether an object literal keeps this value; JSON's text as a string keeps any."""
    match value:
        case {}:
            return "__proto__" not in value and all(map(_is_javascript, value.values()))
        case list() | tuple():
            return all(map(_is_javascript, value))
        case int():  # or a switch
            return abs(value) <= LARGEST
        case _:  # a file too
            return True
