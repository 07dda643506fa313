"""Find the server in a URL, to which a stored key belongs."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from aiml_cli.errors import UsageError

_PORTS = {"http": 80, "https": 443}
# URL parsers disagree on these characters, so a URL with one could send the key to another server.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


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
        is_valid = parts.scheme in _PORTS and parts.hostname and parts.port != 0 and not _AMBIGUOUS.search(url)
    except ValueError:
        parts, is_valid = urlsplit(""), None
    if "@" in (parts.netloc if is_valid else url):  # the URL is not shown, because it may contain a password
        raise UsageError("the server's address holds a user name or a password", "give it without")
    if not is_valid:
        raise UsageError(f"{url!r} is not the address of a server", "it begins with https:// and a host's name")
    return parts
