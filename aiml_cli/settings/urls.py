"""Check the base URL, join paths to it, and find the server in a URL, or an address in a JSON value."""

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
# What people paste from an API reference in the place of the base URL.
_ENDPOINT_PATHS = r"(?i)(?<!/)/+(?:chat/+completions|completions|responses|models|embeddings|messages|v2/+billing)/*\Z"
# Names of properties, as `simplify_name` writes them, that make a server connect to another one.
_ADDRESS_NAMES = (
    "mcp|connectorid|serverurl|networkpolicy|(?:authorization|headers?|apikey|accesstoken|credentials?|cookies?|webhook"
    "|callback)$"
)
_ADDRESS_TEXT_NAMES = r"(?:url|uri|endpoint|host|hostname|baseurl|proxy|server)$"
_REMOTE_TYPES = "mcp|connector|remote|openapi|plugin"
_URL = r"(?i)\s*(?:[a-z][a-z0-9+.-]*:)?//\S+\s*"
# Parts of a JSON Schema: maps from names that mean nothing to a server, and texts that a model may read.
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_PROSE = frozenset({
    "description", "title", "$schema", "$id", "$ref", "$comment", "examples", "example", "default", "enum", "const",
    "pattern", "content", "text", "instructions", "prompt", "required",
})  # fmt: skip


def check_base_url(url: str) -> str:
    """Return a base URL; raise UsageError if no endpoint's path can follow it."""
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
    """Return the URL of a path (with or without a query) below a base URL, whose own query comes first."""
    base, _, base_query = base_url.partition("?")
    path, _, query = path.partition("?")
    queries = "&".join(filter(None, (base_query, query)))
    return base.rstrip("/") + path + (f"?{queries}" if queries else "")


def path_below(url: str, base_url: str) -> str:
    """Return what `join_url` added to a base URL; the whole path and query if the URL has another base."""
    base, _, base_query = base_url.partition("?")
    address, _, query = url.partition("?")
    base, query = base.rstrip("/"), query.removeprefix(base_query).removeprefix("&")
    path = address.removeprefix(base) if address.startswith(f"{base}/") else urlsplit(address).path
    return f"{path}?{query}" if query else path


def root_of(base_url: str) -> str:
    """Return a base URL without its path, for what a server has beside its endpoints."""
    return join_url(origin_of(base_url), f"?{base_url.partition('?')[2]}")


def host_of(url: str) -> str:
    """Return the server of a URL: `api.aimlapi.com`, with the port if it is not the default one.

    Raises UsageError if it is not an http or https URL, and if it contains a user name or a password.
    """
    parts = _split_url(url)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


def origin_of(url: str) -> str:
    """Return the scheme and server of a URL: `https://api.aimlapi.com`."""
    return f"{_split_url(url).scheme}://{host_of(url)}"


def is_unencrypted(url: str) -> bool:
    """True if others on the network can read what is sent to a URL."""
    return _split_url(url).scheme == "http"


def is_local(url: str) -> bool:
    """True if a URL names this machine."""
    name = _split_url(url).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def simplify_name(name: str) -> str:
    """Return the name of a property without what spellings differ in: `serverurl` for server_url and Server-URL."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", name).casefold())


def find_address(value: Any) -> str:
    """Return the first property of a JSON value that names a server for the API to use, or its credentials; else "".

    JSON in a text counts; the properties that a JSON Schema describes do not.
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
        if re.fullmatch(_URL, value) and name not in _PROSE:
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
        raise UsageError(f"{url!r} is not the URL of a server", "it must begin with https:// and a host name")
    return parts
