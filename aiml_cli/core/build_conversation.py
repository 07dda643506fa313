"""Build the new messages of a request: --messages, tool results and the prompt, checked before anything is sent."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from aiml_cli import __version__
from aiml_cli.api.messages import AnyMessage, Conversation, Message, ToolResult
from aiml_cli.errors import UsageError
from aiml_cli.prompt.compose import Prompt, compose_prompt
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.transport.choose_transport import make_send, open_client

if TYPE_CHECKING:
    from aiml_cli.prompt.file_sources import FileContent, Notify
    from aiml_cli.prompt.loaders import Loaders
    from aiml_cli.prompt.message_parts import CheckText, InputText, PromptParts

    SeeInputs = Callable[[Sequence[InputText]], None]

MAX_ATTACHMENT_NAMES = 5
# Hardly any model rejects an input with fewer characters, so no catalog is read for it.
LONG_INPUT = 100_000
# The values of --fit that shorten the conversation, not the inputs.
CONVERSATION_FITS = ("oldest", "compact")


def build_conversation(
    words: Sequence[str],
    settings: Settings,
    endpoint: str,
    notify: "Notify",
    *,
    previous: Sequence[AnyMessage] | None = None,
    extra_files: "Sequence[FileContent]" = (),
    see_inputs: "SeeInputs | None" = None,
) -> Conversation:
    """Return the new messages; read files and standard input, and fetch URLs. Raises UsageError.

    Tool results may answer calls in the `previous` messages; with those the prompt may be empty. `see_inputs`
    receives the texts of files and standard input as they are sent.
    """
    options, texts = settings.options, list[tuple[str, str]]()
    messages = _read_messages(options, notify, previous or (), _append_to(texts))

    def fit(parts: "PromptParts") -> Sequence[str]:
        fitted = _fit_inputs(parts, settings, notify, (*(previous or ()), *messages))
        if see_inputs:
            see_inputs([item._replace(text=text) for item, text in zip(parts.inputs, fitted, strict=True)])
        return fitted

    prompt = compose_prompt(
        words,
        options.file or (),
        use_stdin=not options.no_stdin and options.messages != "-",
        notify=notify,
        fetch=lambda url: _fetch(url, options),
        check_text=_append_to(texts),
        detail=options.detail,
        texts=extra_files,
        may_be_empty=bool(messages) or previous is not None,
        stdin_wait_s=options.stdin_wait,
        loaders=make_loaders(options),
        fit_inputs=fit,
    )
    _confirm_secrets(texts, settings)
    if prompt.attachments:
        from aiml_cli.catalog.check_request import check_attachments  # plain text needs no catalog

        check_attachments(prompt.attachments, settings, endpoint)
        if not (options.dry_run or options.as_):
            notify(f"sends {_list_attachments(prompt)}")
    return Conversation((*messages, Message("user", prompt.parts)) if prompt.parts else messages)


def read_inputs(words: Sequence[str], settings: Settings, notify: "Notify") -> "list[InputText]":
    """Return the texts of files and standard input; raise UsageError for an input that is not text."""
    options, texts = settings.options, list[tuple[str, str]]()
    inputs: list[InputText] = []

    def collect_inputs(parts: "PromptParts") -> Sequence[str]:
        inputs.extend(parts.inputs)
        return [""] * len(parts.inputs)

    prompt = compose_prompt(
        words,
        options.file or (),
        use_stdin=not options.no_stdin,
        notify=notify,
        fetch=lambda url: _fetch(url, options),
        check_text=_append_to(texts),
        may_be_empty=True,
        stdin_wait_s=options.stdin_wait,
        loaders=make_loaders(options),
        fit_inputs=collect_inputs,
    )
    if prompt.attachments:
        raise UsageError(f"{prompt.attachments[0]} is not text and cannot be split into chunks")
    _confirm_secrets(texts, settings)
    return inputs


def _fit_inputs(
    parts: "PromptParts", settings: Settings, notify: "Notify", previous: Sequence[AnyMessage]
) -> Sequence[str]:
    """Return the texts to send: complete inputs, or what fits into the context with --fit head, tail or middle."""
    texts, options = [item.text for item in parts.inputs], settings.options
    if options.fit in CONVERSATION_FITS:
        return texts
    if not options.fit and (sum(map(len, texts)) < LONG_INPUT or options.quiet):
        return texts
    from aiml_cli.api.message_conversion import get_role_and_text
    from aiml_cli.core import context_window  # few inputs are so long

    if not options.fit:
        context_window.warn_if_too_long(parts, settings, notify)
        return texts
    system = options.system or ""
    other_texts = [text for _, text in _read_system_file(system)] or [system]
    other_texts += [get_role_and_text(message)[1] for message in previous]
    return context_window.fit_inputs(parts, settings, notify, "\n".join(other_texts))


def _append_to(texts: list[tuple[str, str]]) -> "CheckText":
    return lambda name, text: texts.append((name, text))


def _confirm_secrets(texts: Sequence[tuple[str, str]], settings: Settings) -> None:
    """Ask before text that looks like a secret is sent; the typed prompt is not searched."""
    if texts := [*texts, *_read_system_file(settings.options.system or "")]:
        from aiml_cli.core.confirm_secrets import confirm_secrets  # most prompts are typed words only

        confirm_secrets(texts, settings)


def _read_system_file(system: str) -> list[tuple[str, str]]:
    """Return the name and text of the file that the system text names; a pipe is not read: that works only once."""
    if not system.startswith("@"):
        return []
    from aiml_cli.prompt.file_sources import find_path, read_at_file

    path = find_path(system[1:])
    return [(system[1:], read_at_file(system))] if path and path.is_file() else []


def _read_messages(
    options: Options, notify: "Notify", previous: Sequence[AnyMessage], check_text: "CheckText"
) -> tuple[AnyMessage, ...]:
    if options.messages is None and not options.tool_result:
        return ()
    from aiml_cli.prompt.messages_file import collect_call_ids, read_messages_file  # for few calls only

    if options.messages == "-" and "-" in (options.file or ()):
        raise UsageError("--messages and --file cannot both be read from standard input")
    messages = read_messages_file(options.messages, notify, check_text) if options.messages is not None else ()
    results = options.tool_result or {}
    if results and not options.previous_response_id:
        _check_call_ids(results, collect_call_ids((*previous, *messages)))
    return (*messages, *(ToolResult(call_id, _read_result(value, check_text)) for call_id, value in results.items()))


def _check_call_ids(results: Iterable[str], call_ids: set[str]) -> None:
    """Raise UsageError for a result that belongs to no call: the server would reject it."""
    for call_id in results:
        if call_id not in call_ids:
            calls = f"the calls are {', '.join(sorted(call_ids))}"
            hint = calls if call_ids else "pass the turn with the call in --messages"
            raise UsageError(f"--tool-result {call_id}: there is no tool call with this id", hint)


def _read_result(value: str, check_text: "CheckText") -> str:
    """Return a tool result as text; `@FILE` reads a file, `@@x` is `@x`."""
    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@"):
        return value
    from aiml_cli.prompt.file_sources import read_at_file

    text = read_at_file(value)
    check_text(value[1:], text)
    return text


def _fetch(url: str, options: Options) -> tuple[bytes, str]:
    from aiml_cli.transport.choose_transport import fetch_url  # few prompts name a URL

    client, send = open_client(options, url), make_send(options, external=True)
    return fetch_url(url, f"aiml/{__version__}", client, send, seconds=options.timeout or 120)


def make_loaders(options: Options) -> "Loaders | None":
    """Return the commands of the config file that convert files to text, or None if there are none."""
    if not options.loaders:
        return None
    from aiml_cli.prompt.loaders import Loaders  # few users have loaders
    from aiml_cli.tools.tool import build_environment

    return Loaders(options.loaders, lambda: build_environment({}, "loaders"))


def _list_attachments(prompt: Prompt) -> str:
    more = len(prompt.attachments) - MAX_ATTACHMENT_NAMES
    names = ", ".join(map(str, prompt.attachments[:MAX_ATTACHMENT_NAMES]))
    return names + (f", and {more} more" if more > 0 else "")
