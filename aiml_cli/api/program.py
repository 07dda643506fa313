"""Write a request down as a program that sends it: curl, Python or JavaScript; or as plain JSON; pure."""

import json
from dataclasses import dataclass
from shlex import quote
from string import Template
from typing import Any
from urllib.parse import urlsplit

LONGEST_ARGUMENT = 100_000  # bytes; Linux takes 128 KiB
LARGEST_IN_JAVASCRIPT = 2**53 - 1  # whole numbers beyond it lose their last digits there


def program(
    language: str, method: str, url: str, body: dict[str, Any], *, key_variable: str | None, stream: bool
) -> str:
    """Give the program's text, which ends in a newline.

    `language` is curl, python, javascript or json. The key's value is in none of them: `key_variable`
    names the environment variable that holds it; with None no key is sent. The program prints the
    JSON of the answer, or, with `stream`, the text as it comes (curl: the events).
    """
    return _WRITERS[language](_Call(method, url, body, key_variable, stream))


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: str
    body: dict[str, Any]
    key_variable: str | None
    stream: bool

    @property
    def on_responses(self) -> bool:
        return urlsplit(self.url).path.rstrip("/").endswith("/responses")


def _json(value: Any, escaped: str = "") -> str:
    r"""Write readable JSON; what cannot be seen, and the characters `escaped`, as `\uXXXX`."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    hard = {char for char in set(text) if char in escaped or not (char.isprintable() or char == "\n")}
    return text.translate({ord(char): _escape(char) for char in hard}) if hard else text


def _escape(char: str) -> str:
    pairs = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[at : at + 2].hex()}" for at in range(0, len(pairs), 2))


def _as_json(call: _Call) -> str:
    headers = {"Content-Type": "application/json"}
    if call.key_variable:
        headers["Authorization"] = f"Bearer ${call.key_variable}"
    return _json({"method": call.method, "url": call.url, "headers": headers, "body": call.body}) + "\n"


def _as_curl(call: _Call) -> str:
    r"""Write a command for any POSIX shell.

    The body needs no quoting of the shell's: JSON can say `'` and `!` as `\u0027` and `\u0021`. Old
    versions of bash look for `!` even inside single quotes, from their second line on.
    """
    body = _json(call.body, escaped="'!")
    long = len(body.encode()) > LONGEST_ARGUMENT
    lines = [
        f"curl --silent --show-error --fail-with-body{' --no-buffer' if call.stream else ''} {quote(call.url)}",
        *([] if call.method == "POST" else [f"--request {quote(call.method)}"]),
        *([f'--header "Authorization: Bearer ${call.key_variable}"'] if call.key_variable else []),
        "--header 'Content-Type: application/json'",
        # No line of JSON can be the word that ends it.
        f"--data-binary @- <<'JSON'\n{body}\nJSON" if long else f"--data '{body}'",
    ]
    return " \\\n  ".join(lines) + "\n"


class _Template(Template):
    """Fill `@name`; `$` means something in the languages written here."""

    delimiter = "@"


_PYTHON = _Template("""\
import json
@{os}import sys

import requests

body = @body

response = requests.@method(
    @url,
@{key}    json=body,
@{streamed})
if not response.ok:
    sys.exit(f"HTTP {response.status_code}: {response.text}")
@answer""")

_PYTHON_JSON = """\
print(json.dumps(response.json(), indent=2, ensure_ascii=False))
"""

_PYTHON_STREAM = _Template("""\
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
    if event["type"] in ("error", "response.failed"):
        sys.exit(json.dumps(event))
    if event["type"] == "response.output_text.delta":
        print(event["delta"], end="", flush=True)
"""


def _as_python(call: _Call) -> str:
    key = f'    headers={{"Authorization": "Bearer " + os.environ["{call.key_variable}"]}},\n'
    stream = _PYTHON_STREAM.substitute(text=_PYTHON_RESPONSES if call.on_responses else _PYTHON_CHAT)
    return _PYTHON.substitute(
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
        case str() if '"' not in value:
            return '"' + repr("'" + value)[2:]  # a lone ' makes repr choose double quotes
        case _:
            return repr(value)
    lines = "".join(f"{deeper}{item},\n" for item in items)
    return f"{edges[0]}\n{lines}{indent}{edges[1]}" if items else edges


_JAVASCRIPT = _Template("""\
const body = @body;

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

_SHOW = _Template("""\
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


def _as_javascript(call: _Call) -> str:
    show = _SHOW.substitute(text=_JAVASCRIPT_RESPONSES if call.on_responses else _JAVASCRIPT_CHAT)
    literal = _is_javascript(call.body)
    return _JAVASCRIPT.substitute(
        body=_json(call.body if literal else json.dumps(call.body)),
        show=show if call.stream else "",
        url=_json(call.url),
        method=_json(call.method),
        key=f'      "Authorization": `Bearer ${{process.env.{call.key_variable}}}`,\n' if call.key_variable else "",
        sent="JSON.stringify(body)" if literal else "body",
        answer=_JAVASCRIPT_STREAM if call.stream else _JAVASCRIPT_JSON,
    )


def _is_javascript(value: Any) -> bool:
    """Say whether an object literal keeps this value; JSON's text as a string keeps any."""
    match value:
        case {}:
            return "__proto__" not in value and all(map(_is_javascript, value.values()))
        case list() | tuple():
            return all(map(_is_javascript, value))
        case int():  # or a switch
            return abs(value) <= LARGEST_IN_JAVASCRIPT
        case _:
            return True


_WRITERS = {"curl": _as_curl, "python": _as_python, "javascript": _as_javascript, "json": _as_json}
