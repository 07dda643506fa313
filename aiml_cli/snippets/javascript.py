"""Write a request as a JavaScript program for Node, Deno and Bun."""

import json
import re
from typing import Any

from aiml_cli.snippets.request_parts import AtTemplate, SnippetRequest, as_json, mark_files

MAX_SAFE_INTEGER = 2**53 - 1  # larger integers lose their last digits

_JAVASCRIPT = AtTemplate("""\
@{encoded}const body = @body;

@{show}async function main() {
  const response = await fetch(@url, {
    method: @method,
    headers: {
@{key}@{headers}      "Content-Type": "application/json",
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
  if (data.error) process.exitCode = 1;
"""

# Node's fetch reports no error if the connection breaks: only the last event shows that an answer is complete.
_JAVASCRIPT_STREAM = AtTemplate("""\
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split(/\\r?\\n/);
    rest = lines.pop();
    lines.forEach(show);
  }
  show(rest);
  console.log();
  for (const call of Object.values(calls)) console.log(JSON.stringify(call));
  if (refusal) throw new Error(`refused: ${refusal}`);
  if (@incomplete) {
    throw new Error(`the answer is incomplete: ${finish ?? "the stream was cut off"}`);
  }
""")

_SHOW = AtTemplate("""\
let finish;
let refusal = "";
const calls = {};

function show(line) {
  if (!line.startsWith("data:")) return;
  if (line.trim().endsWith("[DONE]")) @done
  const event = JSON.parse(line.slice(5));
@events}

""")

_JAVASCRIPT_CHAT = {
    "done": """{
    finish ??= "stop";
    return;
  }""",
    "events": """\
  if (event.error) throw new Error(JSON.stringify(event.error));
  for (const { delta, finish_reason } of event.choices ?? []) {
    process.stdout.write(delta?.content ?? "");
    refusal += delta?.refusal ?? "";
    for (const { index, id, function: part } of delta?.tool_calls ?? []) {
      calls[index] ??= { id, name: part?.name, arguments: "" };
      calls[index].arguments += part?.arguments ?? "";
    }
    finish = finish_reason || finish;
  }
""",
    "incomplete": '[undefined, "length", "content_filter"].includes(finish)',
}

_JAVASCRIPT_RESPONSES = {
    "done": "return;",
    "events": """\
  const { type, delta, item, response } = event;
  if (["error", "response.failed"].includes(type) || event.error) throw new Error(JSON.stringify(event));
  if (type === "response.output_text.delta") process.stdout.write(delta);
  if (type === "response.refusal.delta") refusal += delta;
  if (type === "response.output_item.done" && item.type === "function_call") calls[item.call_id] = item;
  if (["response.completed", "response.incomplete"].includes(type)) finish = response.status ?? type.slice(9);
""",
    "incomplete": 'finish !== "completed"',
}


def write_javascript(request: SnippetRequest) -> str:
    """Write a program without dependencies; it needs Node 20.16 or later if it reads files."""
    events = _JAVASCRIPT_RESPONSES if request.is_responses else _JAVASCRIPT_CHAT
    is_literal = _is_literal(request.body)
    variable = request.key_variable
    return _JAVASCRIPT.substitute(
        encoded=_ENCODED if request.has_files else "",
        body=_write_body(request.body, as_literal=is_literal),
        show=_SHOW.substitute(events) if request.stream else "",
        url=as_json(request.url),
        method=as_json(request.method),
        key=f'      "Authorization": `Bearer ${{process.env.{variable}}}`,\n' if variable else "",
        headers="".join(f"      {as_json(name)}: {as_json(value)},\n" for name, value in request.headers.items()),
        sent="JSON.stringify(body)" if is_literal else "body",
        answer=_JAVASCRIPT_STREAM.substitute(events) if request.stream else _JAVASCRIPT_JSON,
    )


def _write_body(body: dict[str, Any], *, as_literal: bool) -> str:
    """Write an object literal, or a string of JSON, in which each file is a call that reads it."""
    value, mark, files = mark_files(body)

    def write_call(match: re.Match[str]) -> str:
        return f"encoded({as_json(files[int(match[1])].path)})"

    text = as_json(value if as_literal else json.dumps(value))
    text = re.sub(f'{mark}([0-9]+){mark}"', lambda match: f'" + {write_call(match)}', text)
    text = re.sub(f"{mark}([0-9]+){mark}", lambda match: f'" + {write_call(match)} + "', text)
    return text.replace('"" + encoded', "encoded")


def _is_literal(value: Any) -> bool:
    """True if an object literal represents this value exactly; JSON in a string represents any."""
    match value:
        case {}:
            return "__proto__" not in value and all(map(_is_literal, value.values()))
        case list() | tuple():
            return all(map(_is_literal, value))
        case int():  # includes booleans
            return abs(value) <= MAX_SAFE_INTEGER
        case _:  # includes files
            return True
