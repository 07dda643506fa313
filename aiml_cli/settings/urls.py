"""Check the base URL, join paths to it, and find the server in a URL, to which a stored key belongs."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from aiml_cli.errors import UsageError

_PORTS = {"http": 80, "https": 443}
# URL parsers disagree on these characters, so a URL with one could send the key to another server.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[\w.:%-]*\w[\w.:%-]*")
# What people paste from an API reference in the place of the base URL.
_ENDPOINT_PATHS = re.compile(
    r"/+(?:chat/+completions|completions|responses|models|embeddings|messages|v2/+billing)/*\Z", re.IGNORECASE
)


def check_base_url(url: str) -> str:
    """Return a base URL; raise UsageError if no endpoint's path can follow it."""
    parts = _split_url(url)
    if "#" in url:
        raise UsageError("the server's address holds a fragment, which is never sent", "leave out the # and the rest")
    if match := _ENDPOINT_PATHS.search(parts.path):
        base = urlunsplit(parts._replace(path=parts.path[: match.start()], query=""))
        raise UsageError(
            f"the server's address ends with the path of an endpoint: {match[0].strip('/')}",
            f"base_url is what comes before it: {base}; aiml adds the path",
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


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_host = _HOST.fullmatch(parts.hostname or "") and not _AMBIGUOUS.search(url)
        is_valid = parts.scheme in _PORTS and parts.port != 0 and is_host
    except ValueError:
        parts, is_valid = urlsplit(""), None
    if "@" in (parts.netloc if is_valid else url):  # the URL is not shown, because it may contain a password
        raise UsageError("the server's address holds a user name or a password", "give it without")
    if not is_valid:
        raise UsageError(f"{url!r} is not the address of a server", "it begins with https:// and a host's name")
    return parts
