"""Check the base URL, join paths to it, return the host of a URL, and find URLs in a JSON value."""

import json
import re
import unicodedata
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from aiml_cli.errors import UsageError

_PORTS = {"http": 80, "https": 443}
# URL parsers disagree on these characters, so a URL with one could send the key to another server.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[.:%-]*\w[\w.:%-]*")
# Endpoint paths, which users copy from an API reference together with the base URL.
_ENDPOINT_PATHS = r"(?i)(?<!/)/+(?:chat/+completions|completions|responses|models|embeddings|messages|v2/+billing)/*\Z"
# Names of properties (as returned by `simplify_name`) that make a server connect to another one.
_ADDRESS_NAMES = (
    "mcp|connectorid|serverurl|networkpolicy|(?:authorization|headers?|apikey|accesstoken|credentials?|cookies?|webhook"
    "|callback)$"
)
_ADDRESS_TEXT_NAMES = r"(?:url|uri|endpoint|host|hostname|baseurl|proxy|server)$"
_REMOTE_TYPES = "mcp|connector|remote|openapi|plugin"
_URL = r"(?i)\s*(?:[a-z][a-z0-9+.-]*:)?//\S+\s*"
# Parts of a JSON Schema: maps whose keys are chosen by the user, and strings that only a model reads.
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_MODEL_TEXT_KEYS = frozenset({
    "description", "title", "$schema", "$id", "$ref", "$comment", "examples", "example", "default", "enum", "const",
    "pattern", "content", "text", "instructions", "prompt", "required",
})  # fmt: skip


def check_base_url(url: str) -> str:
    """Return the base URL unchanged; raise UsageError if the path of an endpoint cannot be appended to it."""
    parts = _split_url(url)
    if "#" in url:
        raise UsageError("the server's URL has a fragment, which is never sent", "remove the # and what follows it")
    if match := re.search(_ENDPOINT_PATHS, parts.path):
        base = urlunsplit(parts._replace(path=parts.path[: match.start()], query=""))
        raise UsageError(
            f"the server's URL ends with the path of an endpoint: {match[0].strip('/')}",
            f"use the part before it: {base}; aiml adds the path",
        )
    return url


def join_url(base_url: str, path: str) -> str:
    """Return the URL of a path (with or without a query) below a base URL; the base URL's query comes first."""
    base, _, base_query = base_url.partition("?")
    path, _, query = path.partition("?")
    queries = "&".join(filter(None, (base_query, query)))
    return base.rstrip("/") + path + (f"?{queries}" if queries else "")


def path_below(url: str, base_url: str) -> str:
    """Return the path that `join_url` added to a base URL; the complete path and query if the base is another one."""
    base, _, base_query = base_url.partition("?")
    address, _, query = url.partition("?")
    base, query = base.rstrip("/"), query.removeprefix(base_query).removeprefix("&")
    path = address.removeprefix(base) if address.startswith(f"{base}/") else urlsplit(address).path
    return f"{path}?{query}" if query else path


def root_of(base_url: str) -> str:
    """Return a base URL without its path, for other URLs of the same server."""
    return join_url(origin_of(base_url), f"?{base_url.partition('?')[2]}")


def host_of(url: str) -> str:
    """Return the host of a URL, such as `api.aimlapi.com`, with the port if it is not the default one.

    Raises UsageError if it is not an http or https URL, and if it contains a user name or a password.
    """
    parts = _split_url(url)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


def origin_of(url: str) -> str:
    """Return the scheme and host of a URL, such as `https://api.aimlapi.com`."""
    return f"{_split_url(url).scheme}://{host_of(url)}"


def is_unencrypted(url: str) -> bool:
    """True for an http URL, whose requests others on the network can read."""
    return _split_url(url).scheme == "http"


def is_local(url: str) -> bool:
    """True if the host of a URL is this machine."""
    name = _split_url(url).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def simplify_name(name: str) -> str:
    """Return the name of a property without case, separators and accents: `serverurl` for server_url and Server-URL."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", name).casefold())


def find_address(value: Any) -> str:
    """Return the first property that makes the API connect to a server, or contains credentials for one; else "".

    JSON inside a string is searched too; the properties that a JSON Schema describes are not.
    """
    try:
        return next(_find_addresses(value, "", in_schema_map=False), "")
    except RecursionError:
        return "a value that is nested too deeply"


def _find_addresses(value: Any, name: str, *, in_schema_map: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            is_described = in_schema_map and isinstance(item, dict | bool)
            if not is_described and _is_address(key, item):
                yield key
            yield from _find_addresses(item, key, in_schema_map=key in _SCHEMA_MAPS and not in_schema_map)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _find_addresses(item, name, in_schema_map=False)
    elif isinstance(value, str):
        if re.fullmatch(_URL, value) and name not in _MODEL_TEXT_KEYS:
            yield name or value
        if value.lstrip().startswith(("{", "[", '"')):
            yield from _find_addresses(_parse_json(value), name, in_schema_map=False)


def _is_address(name: str, value: Any) -> bool:
    plain = simplify_name(name)
    if plain == "type" and isinstance(value, str) and re.search(_REMOTE_TYPES, simplify_name(value)):
        return True
    return bool(re.search(_ADDRESS_NAMES, plain) or (isinstance(value, str) and re.search(_ADDRESS_TEXT_NAMES, plain)))


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_host = _HOST.fullmatch(parts.hostname or "") and not _AMBIGUOUS.search(url)
        is_valid = parts.scheme in _PORTS and parts.port != 0 and is_host
    except ValueError:
        parts, is_valid = urlsplit(""), None
    if "@" in (parts.netloc if is_valid else url):  # the URL is not shown, because it may contain a password
        raise UsageError("the server's URL has a user name or a password", "remove it")
    if not is_valid:
        raise UsageError(f"{url!r} is not the URL of a server", "a URL begins with https:// and a host name")
    return parts
