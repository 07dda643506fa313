"""Questions that an MCP server asks while it runs a call: a form, asked field by field on the terminal."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from aiml_cli.system.questions import ask_line

MAX_WAITING, MAX_FIELDS, MAX_OPTIONS, MAX_TRIES, MAX_TEXT = 5, 20, 100, 3, 2000
_ONE_FORM = Lock()  # one form at a time, for all servers
_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "yes or no",
    "choice": "a number from the list",
    "choices": "numbers from the list, separated by commas",
}
Content = dict[str, Any]


class FormOption(NamedTuple):
    """A value that can be chosen, and how it is shown."""

    value: str
    label: str


class FormField(NamedTuple):
    """A field of a form. `kind` is one of `_WORDS`; `default` is None if there is none."""

    name: str
    kind: str
    schema: Mapping[str, Any]
    options: tuple[FormOption, ...]
    is_required: bool
    default: Any = None

    def describe(self) -> str:
        """Return the server's description of the field, its options, and the meaning of an empty line."""
        title, description = self.schema.get("title"), self.schema.get("description")
        lines = [str(title or self.name), *([str(description)] if description else [])]
        lines = [line[:MAX_TEXT] for line in lines]
        lines += [f"{number}. {option.label[:200]}" for number, option in enumerate(self.options, 1)]
        if self.default is not None:
            lines.append(f"(an empty line means: {_show_value(self.default)[:200]})")
        elif not self.is_required:
            lines.append("(an empty line skips this)")
        return "\n".join(lines)

    def parse(self, line: str) -> Any:
        """Return the value of a line, None if it skips the field; raise ValueError with a message."""
        if not line.strip():
            if self.default is None and self.is_required:
                raise ValueError("a value is required")
            return self.default
        match self.kind:
            case "boolean":
                return _parse_boolean(line)
            case "choice":
                return self._choose(line)
            case "choices":
                chosen = [self._choose(part) for part in line.split(",") if part.strip()]
                self._require_size(len(chosen), "minItems", "maxItems")
                return chosen
            case "number" | "integer":
                return self._parse_number(line)
            case _:
                self._require_size(len(line), "minLength", "maxLength")
                _check_format(line.strip(), self.schema.get("format"))
                return line

    def _choose(self, text: str) -> str:
        text = text.strip()
        for number, option in enumerate(self.options, 1):
            if text in (str(number), option.value, option.label):
                return option.value
        raise ValueError(f"choose from 1 to {len(self.options)}")

    def _parse_number(self, line: str) -> int | float:
        try:
            value = int(line) if self.kind == "integer" else float(line)
        except ValueError:
            raise ValueError(f"this is not {_WORDS[self.kind]}") from None
        self._require_size(value, "minimum", "maximum")
        return value

    def _require_size(self, value: float, low_name: str, high_name: str) -> None:
        low, high = self.schema.get(low_name), self.schema.get(high_name)
        if isinstance(low, int | float) and not value >= low:
            raise ValueError(f"the minimum is {low:g}")
        if isinstance(high, int | float) and not value <= high:
            raise ValueError(f"the maximum is {high:g}")


class ElicitationForm:
    """Asks the user the questions of a server. One Ctrl-D ends all questions, until `begin` for the next call.

    `can_ask` is False where no question may be asked, such as in a run over many rows.
    """

    def __init__(self, server: str, *, can_ask: bool = True) -> None:
        self._server, self._waiting, self._is_refused, self._can_ask = server, 0, False, can_ask

    def begin(self) -> None:
        """Let the server ask again."""
        self._is_refused = False

    async def ask(self, message: str, schema: Mapping[str, Any]) -> tuple[str, Content | None]:
        """Show a form to the user; return accept with the content, decline or cancel."""
        fields = list(read_fields(schema))
        if not self._can_ask or self._is_refused or self._waiting >= MAX_WAITING or not 0 < len(fields) <= MAX_FIELDS:
            return "decline", None
        self._waiting += 1
        stop, loop = Event(), asyncio.get_running_loop()
        answer: asyncio.Future[Content | None] = loop.create_future()

        def settle(content: Content | None) -> None:
            if not answer.done():
                answer.set_result(content)

        def run() -> None:
            with _ONE_FORM:
                content = None if stop.is_set() or self._is_refused else self._ask_fields(message, fields, stop)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, content)

        Thread(target=run, name=f"mcp question of {self._server}", daemon=True).start()
        try:
            content = await answer
        finally:
            stop.set()
            self._waiting -= 1
        return ("cancel", None) if content is None else ("accept", content)

    def _ask_fields(self, message: str, fields: list[FormField], stop: Event) -> Content | None:
        """Ask for all fields; None if the user leaves one unanswered."""
        content: Content = {}
        for index, field in enumerate(fields):
            text = field.describe() if index else f"{message[:MAX_TEXT]}\n{field.describe()}"
            count = f" ({index + 1} of {len(fields)})" if len(fields) > 1 else ""
            title = f"aiml: the MCP server {self._server} asks{count}; Ctrl-D skips the question:"
            answer = _ask_field(title, text, field, stop)
            if answer is None:
                self._is_refused = True
                return None
            content.update(answer)
        return content


def _ask_field(title: str, text: str, field: FormField, stop: Event) -> Content | None:
    """Return the field with its value, or nothing if it is skipped; None if the user does not answer."""
    for _ in range(MAX_TRIES):
        line = ask_line(title, text, f"{_WORDS[field.kind]}: ", stop.is_set)
        if line is None:
            return None
        try:
            value = field.parse(line)
        except ValueError as error:
            title = f"aiml: {error}:"
            continue
        return {} if value is None else {field.name: value}
    return None


def read_fields(schema: Mapping[str, Any]) -> Iterable[FormField]:
    """Yield the fields of a form's schema; an unknown type is a string."""
    properties, required = schema.get("properties"), schema.get("required")
    for name, entry in properties.items() if isinstance(properties, dict) else ():
        part = entry if isinstance(entry, dict) else {}
        is_list = part.get("type") == "array"
        options = tuple(_read_options(part.get("items") if is_list else part))[:MAX_OPTIONS]
        given = part.get("type")
        kind = ("choices" if is_list else "choice") if options else given if given in _WORDS else "string"
        is_required = isinstance(required, list) and name in required
        yield FormField(str(name), str(kind), part, options, is_required, part.get("default"))


def _read_options(part: Any) -> Iterable[FormOption]:
    part = part if isinstance(part, dict) else {}
    values = part.get("enum")
    if isinstance(values, list):
        labels = part.get("enumNames")
        labels = labels if isinstance(labels, list) and len(labels) == len(values) else values
        yield from (FormOption(str(value), str(label)) for value, label in zip(values, labels, strict=True))
    for choice in part.get("oneOf") or part.get("anyOf") or ():
        if isinstance(choice, dict) and "const" in choice:
            yield FormOption(str(choice["const"]), str(choice.get("title") or choice["const"]))


def _parse_boolean(line: str) -> bool:
    word = line.strip().lower()
    if word in ("y", "yes", "true"):
        return True
    if word in ("n", "no", "false"):
        return False
    raise ValueError("answer yes or no")


def _check_format(text: str, name: object) -> None:
    """Raise ValueError for a string that does not match a format; unknown formats are ignored."""
    try:
        if name == "date":
            date.fromisoformat(text)
        elif name == "date-time":
            datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write it like 2026-01-31" + ("T12:00:00Z" if name == "date-time" else "")) from None
    if name == "email" and not all(text.rpartition("@")):
        raise ValueError("this is not an e-mail address")
    if name == "uri" and not all(text.partition(":")):
        raise ValueError("this is not a URI")


def _show_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
