"""Answer `aiml config …`: show and change settings, store the key, check that all is in order."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiml_cli import __version__
from aiml_cli.errors import AimlError, Misuse, NotAllowed, RequestRefused
from aiml_cli.hosts import host_of, is_local, origin_of
from aiml_cli.screen import output
from aiml_cli.screen.output import say
from aiml_cli.screen.safe import visible
from aiml_cli.settings.options import ROWS, Option, value_of
from aiml_cli.settings.resolve import Said, Settings, Source, from_file, lasting, resolve
from aiml_cli.store import config, modes, paths
from aiml_cli.store import key as keys

Flags = Mapping[str, Said]

NONE: Flags = {}
MOST_BYTES = 1 << 16


def show_all(flags: Flags = NONE) -> int:
    """Show every lasting setting, its value and who said it; of the key only where it is."""
    settings = _settled(flags)
    if settings.options.json:
        facts = {row.name: _facts(settings, row.name) for row in lasting()}
        facts["api_key"] = {"value": None, "source": _key_words(settings), "hides": []}
        output.show(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
        return 0
    lines = [_line(row.name, **_facts(settings, row.name)) for row in lasting()]
    output.show("\n".join([*lines, visible(f"api_key = {_key_words(settings)}\n")]))
    return 0


def get(name: str, flags: Flags = NONE) -> int:
    """Print the value of a setting as `set` would take it, and nothing for one that nobody set."""
    row = ROWS[_known(name)]
    output.show("".join(f"{text}\n" for text in _texts(row, value_of(_settled(flags, row.name).options, row))))
    return 0


def set_(name: str, value: str, profile: str | None = None) -> int:
    """Set a setting in the config file, and say when something stronger hides it."""
    name = _known(name)
    config.put(name, value, profile)
    with suppress(Misuse):  # what else is wrong there is told by the command that uses it
        spoken = config.layers(NONE, os.environ)
        stronger = [spoken[Source.ENVIRONMENT], {} if profile else spoken[Source.PROFILE]]
        for said in (said[name] for said in stronger if name in said):
            say(f"aiml: {said.speaker} hides this value")
    return 0


def unset(name: str, profile: str | None = None) -> int:
    """Take a setting out of the config file."""
    if not config.drop(_spelled(name), profile):
        say(f"aiml: {_spelled(name)} was not set in {paths.config_file()}")
    return 0


def path() -> int:
    """Print where the config file is, or would be."""
    output.show(f"{paths.needed(paths.config_file())}\n")
    return 0


def edit() -> int:
    """Open the config file in an editor; it is replaced only by one that is in order.

    Raises Misuse naming file, line and column of a fault, and where the working copy is kept.
    """
    from aiml_cli.store import draft as drafts  # only for those who edit

    draft = drafts.begin()
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    drafts.write_in(draft, editor)
    while fault := drafts.fault_in(draft):
        if not _again(fault):
            raise Misuse(fault.message, f"the config file is as it was; {drafts.kept(draft)}")
        drafts.write_in(draft, editor)
    if not drafts.finish(draft):
        say("aiml: nothing was changed")
    return 0


def _again(fault: Misuse) -> bool:
    """Ask whether to go on editing; without a terminal nobody can be asked."""
    if not (output.is_terminal(0) and output.is_terminal(2)):
        return False
    say(f"aiml: {fault.message}")
    output.tell("edit it again? [Y/n] ")
    answer = sys.stdin.readline()
    return bool(answer) and not answer.strip().lower().startswith("n")


def key(remove: bool, from_stdin: bool, flags: Flags = NONE) -> int:
    """Store the key for the host of the base URL, or remove it; raise Misuse when nobody can be asked for it."""
    host = host_of(_settled(flags, "base_url").options.base_url or "")
    if remove:
        say(f"aiml: the key for {host} is removed" if keys.forget(host) else f"aiml: no key is stored for {host}")
        return 0
    where = keys.remember(host, _read_key(host, from_stdin))
    say(f"aiml: the key for {host} is stored in {where}")
    if variable := next(filter(os.environ.get, ROWS["api_key"].variables), ""):
        say(f"aiml: {variable} is set and hides it")
    return 0


def _read_key(host: str, from_stdin: bool) -> str:
    """Read the key from standard input, or ask for it without showing it."""
    if from_stdin:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(MOST_BYTES).decode("utf-8", "replace").strip()
    if not output.is_terminal(0):
        raise Misuse("there is no terminal to type the key on", "pipe it in: … | aiml config key --stdin")
    from getpass import getpass

    try:
        return getpass(f"API key for {host} (not shown): ").strip()
    except EOFError:
        raise Misuse("no key was typed") from None


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold a line of `check`: what was found, and the exit code that it means (0: in order)."""

    words: str
    code: int = 0


def check(flags: Flags = NONE) -> int:
    """Look at config file, file modes, key and server, a line each; give the worst exit code."""
    worst = 0
    for finding in _findings(flags):
        output.show(f"{'not ok' if finding.code else 'ok':<8}{visible(' '.join(finding.words.split()))}\n")
        worst = max(worst, finding.code)
    return worst


def _findings(flags: Flags) -> Iterator[Finding]:
    yield from (Finding(words, 0 if fine else Misuse.exit_code) for words, fine in modes.look())
    try:
        settings = _settled(flags)
        url = origin_of(settings.options.base_url or "") + "/v2/billing"
    except AimlError as fault:
        yield _bad(fault)
        return
    yield Finding("the settings are in order")
    try:
        key = keys.find(settings, url)
        keys.guard(url, key)
    except AimlError as fault:
        yield _bad(fault)
        key = None
    else:
        yield _of_key(settings, url, key)
    yield from _of_server(settings, url, key)


def _of_key(settings: Settings, url: str, key: keys.Key | None) -> Finding:
    if key:
        return Finding(f"the key comes from: {key.source}")
    if is_local(url):
        return Finding("there is no key, and a server on this machine needs none")
    return Finding(f"{keys.why_none(settings, url)} (store one with: aiml config key)", NotAllowed.exit_code)


def _of_server(settings: Settings, url: str, key: keys.Key | None) -> Iterator[Finding]:
    """Ask the server for the balance: it costs nothing, and needs the key."""
    from aiml_cli.api.faults import refused

    try:
        status, headers, body = _asked(settings, url, key)
    except AimlError as fault:
        yield _bad(fault, key)
        return
    yield Finding(f"{host_of(url)} answers")
    told = refused(status, headers, body)
    if status < 300 and key and (balance := _balance(body)):  # noqa: PLR2004
        yield Finding(f"the key is accepted; the balance is {balance}")
    elif status < 300 or isinstance(told, RequestRefused):  # noqa: PLR2004
        yield Finding(f"whether it takes the key, it does not say (status {status})")
    elif key or not isinstance(told, NotAllowed):
        yield _bad(told, key)


def _asked(settings: Settings, url: str, key: keys.Key | None) -> tuple[int, Mapping[str, str], bytes]:
    from aiml_cli.api.client import Request, connect, send  # httpx costs a fifth of a second

    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    timeout, body = settings.options.timeout or 120, b""
    with (
        connect(url, timeout, settings.options.ca_bundle) as client,
        send(client, Request("GET", url, headers)) as reply,
    ):
        for chunk in reply.chunks:
            body += chunk
            if len(body) > MOST_BYTES:
                break
        return reply.status, reply.headers, body


def _balance(body: bytes) -> str:
    """Read the balance, with its currency; "" when the answer has none."""
    try:
        found = json.loads(body)
        return f"{float(found['current_balance']):.2f} {found.get('currency') or 'USD'}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def _bad(fault: AimlError, key: keys.Key | None = None) -> Finding:
    words = f"{fault.message} ({fault.hint})" if fault.hint else fault.message
    return Finding(keys.masked(words, key), fault.exit_code)


def _settled(flags: Flags, *names: str) -> Settings:
    """Settle the settings, or only these: a fault in another does not matter then."""
    spoken = config.layers(flags, os.environ)
    if names:
        spoken = {source: {name: said[name] for name in names if name in said} for source, said in spoken.items()}
    return resolve(spoken)


def _spelled(name: str) -> str:
    """Take `--max-tokens` for `max_tokens`."""
    return name.removeprefix("--").replace("-", "_")


def _known(name: str) -> str:
    """Name a setting that the config file may hold; raise Misuse with the likely one."""
    return next(iter(from_file({_spelled(name): ""}, "config")))


def _facts(settings: Settings, name: str) -> dict[str, Any]:
    return {
        "value": value_of(settings.options, ROWS[name]),
        "source": _source(settings, name),
        "hides": list(settings.hides.get(name, ())),
    }


def _source(settings: Settings, name: str) -> str | None:
    """Name who said a setting; None when nobody did."""
    match settings.sources.get(name):
        case None:
            return None
        case Source.PROFILE:
            return f"profile {settings.options.profile}"
        case Source.DEFAULT | Source.FILE as source:
            return str(source.value)
        case source:
            return f"{source.value} {settings.speakers[name]}"


def _line(name: str, value: Any, source: str | None, hides: list[str]) -> str:
    if source is None:
        return f"{name} is not set"
    text = visible(", ".join(_texts(ROWS[name], value)).replace("\n", "\\n"))
    return f"{name} = {text}  ({source}{', hides ' + ', '.join(hides) if hides else ''})"


def _texts(row: Option[Any], value: Any) -> list[str]:
    """Give a value as `set` would take it; of KEY=VALUE settings each pair."""
    match value:
        case None:
            return []
        case bool():
            return ["on" if value else "off"]
        case tuple():
            return [",".join(value)]
        case Mapping() if row.kind.many:
            return [_pair(row, key, each) for key, each in value.items()]
        case _:
            return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]


def _pair(row: Option[Any], name: str, value: Any) -> str:
    """Write a pair; a text that would be read as JSON gets its quotes."""
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    same = row.kind.parse(f"{name}={plain}") == {name: value}
    return f"{name}={plain if same else json.dumps(value, ensure_ascii=False)}"


def _key_words(settings: Settings) -> str:
    """Say where the key is, without running a command for it."""
    url = settings.options.base_url or ""
    try:
        key = keys.held(settings, url)
        if key:
            return f"set ({key.source})"
        return "printed by key_command" if keys.asks(settings, url) else f"not set: {keys.why_none(settings, url)}"
    except AimlError as fault:
        return f"not usable: {fault.message}"
