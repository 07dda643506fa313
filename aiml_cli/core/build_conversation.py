"""Gather what is asked: a file's turns, the results of tools, then the prompt; checked before it costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiml_cli import __version__
from aiml_cli.api.messages import AnyMessage, Conversation, Message, ToolResult
from aiml_cli.core.confirm_secrets import SecretGuard
from aiml_cli.errors import UsageError
from aiml_cli.prompt.compose import InputText, Prompt, PromptParts, compose_prompt, read_at_file
from aiml_cli.prompt.file_sources import FileContent, existing_path
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings

Notify = Callable[[str], None]
MOST_NAMED = 5
# Less than so many characters of input hardly any model refuses: no catalogue is read for it.
LONG = 100_000


def build_conversation(
    words: Sequence[str],
    settings: Settings,
    endpoint: str,
    tell: Notify,
    *,
    before: Sequence[AnyMessage] | None = None,
    texts: Sequence[FileContent] = (),
) -> Conversation:
    """Make what is said now; reads files and standard input, and fetches addresses. Raises UsageError.

    `before` is what was said before, which the results of tools may belong to; then nothing need be said now.
    `texts` go along with the files.
    """
    options = settings.options
    guard = SecretGuard(settings)
    turns = _earlier(options, tell, before or (), guard)
    prompt = compose_prompt(
        words,
        options.file or (),
        use_stdin=not options.no_stdin and options.messages != "-",
        tell=tell,
        fetch=lambda url: _fetch(url, options),
        see=guard.check,
        detail=options.detail,
        texts=texts,
        may_be_empty=bool(turns) or before is not None,
        fit=lambda parts: _fitting(parts, settings, tell, (*(before or ()), *turns)),
    )
    _see_system(options.system or "", guard)
    guard.confirm()
    if prompt.attached:
        _check(prompt, settings, endpoint)
        if not (options.dry_run or options.as_):
            tell(f"sends {_listed(prompt)}")
    said = (Message("user", prompt.parts),) if prompt.parts else ()
    return Conversation((*turns, *said))


def read_inputs(words: Sequence[str], settings: Settings, tell: Notify) -> list[InputText]:
    """Read what is not typed, files and standard input; raise UsageError for what is no text."""
    options, guard = settings.options, SecretGuard(settings)
    found: list[InputText] = []

    def take(parts: PromptParts) -> Sequence[str]:
        found.extend(parts.inputs)
        return [""] * len(parts.inputs)

    prompt = compose_prompt(
        words,
        options.file or (),
        use_stdin=not options.no_stdin,
        tell=tell,
        fetch=lambda url: _fetch(url, options),
        see=guard.check,
        may_be_empty=True,
        fit=take,
    )
    if prompt.attached:
        raise UsageError(f"{prompt.attached[0]} is no text, and cannot be cut into pieces", "nothing was sent")
    _see_system(options.system or "", guard)
    guard.confirm()
    return found


def _fitting(parts: PromptParts, settings: Settings, tell: Notify, earlier: Sequence[AnyMessage]) -> Sequence[str]:
    """Give what is sent of the inputs: all of it, or with --fit what the model's context holds."""
    texts = [each.text for each in parts.inputs]
    if not settings.options.fit and (sum(map(len, texts)) < LONG or settings.options.quiet):
        return texts
    from aiml_cli.api.message_conversion import role_and_text
    from aiml_cli.core import context_window  # few inputs are so long

    if not settings.options.fit:
        context_window.warn_if_too_long(parts, settings, tell)
        return texts
    said = [role_and_text(turn)[1] for turn in earlier]
    return context_window.fit_inputs(parts, settings, tell, "\n".join([_system(settings.options), *said]))


def _system(options: Options) -> str:
    """Give the system text; what can be read only once is left to its one reader."""
    text = options.system or ""
    path = existing_path(text[1:]) if text.startswith("@") else None
    return read_at_file(text) if path and path.is_file() else text


def _see_system(system: str, guard: SecretGuard) -> None:
    """Look at the file of the system text; what can be read only once (a pipe) is left to its one reader."""
    if system.startswith("@") and (path := existing_path(system[1:])) and path.is_file():
        guard.check(system[1:], read_at_file(system))


def _earlier(
    options: Options, tell: Notify, before: Sequence[AnyMessage], guard: SecretGuard
) -> tuple[AnyMessage, ...]:
    """Give the turns that come before the prompt."""
    if options.messages is None and not options.tool_result:
        return ()
    from aiml_cli.prompt.messages_file import collect_call_ids, read_messages_file

    if options.messages == "-" and "-" in (options.file or ()):
        raise UsageError("standard input cannot be both --messages and --file")
    given = read_messages_file(options.messages, tell, guard.check) if options.messages is not None else ()
    results = options.tool_result or {}
    if results and not options.previous_response_id:
        _see_that_there_are(results, collect_call_ids((*before, *given)))
    return (*given, *(ToolResult(call_id, _output(value, guard)) for call_id, value in results.items()))


def _see_that_there_are(results: Mapping[str, Any], ids: set[str]) -> None:
    """Raise UsageError for a result that answers no call: the server would refuse it."""
    for call_id in results:
        if call_id not in ids:
            hint = f"the calls are {', '.join(sorted(ids))}" if ids else "the turn with the call comes with --messages"
            raise UsageError(f"--tool-result {call_id}: there is no such call to answer", hint)


def _output(value: str, guard: SecretGuard) -> str:
    """Give a result as text: the file that `@FILE` names, `@@x` as `@x`."""
    if value.startswith("@@"):
        return value[1:]
    text = read_at_file(value)
    if value.startswith("@"):
        guard.check(value[1:], text)
    return text


def _fetch(url: str, options: Options) -> tuple[bytes, str]:
    from aiml_cli.transport.choose_transport import make_send, open_client
    from aiml_cli.transport.fetch_url import fetch_url  # few prompts come with an address

    return fetch_url(url, f"aiml/{__version__}", open_client(options, url), make_send(options, elsewhere=True))


def _listed(prompt: Prompt) -> str:
    more = len(prompt.attached) - MOST_NAMED
    named = ", ".join(map(str, prompt.attached[:MOST_NAMED]))
    return named + (f", and {more} more" if more > 0 else "")


def _check(prompt: Prompt, settings: Settings, endpoint: str) -> None:
    from aiml_cli.catalog.capabilities import check_attachments  # a text needs no catalogue

    check_attachments(prompt.attached, settings, endpoint)
