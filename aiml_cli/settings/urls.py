"""Tell the server that a URL names: what a stored key belongs to."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from aiml_cli.errors import UsageError

_PORTS = {"http": 80, "https": 443}
# What parsers of URLs disagree about: a key must not depend on which of them is right.
_ODD = re.compile(r"[\x00-\x20\x7f\\]")


def host_of(url: str) -> str:
    """Name a URL's server: `api.aimlapi.com`, with its port where that is not the usual one.

    Raises UsageError for what is no http or https URL, and for one with a user name or a password.
    """
    parts = _parts(url)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


def origin_of(url: str) -> str:
    """Give what stands before a URL's path."""
    return f"{_parts(url).scheme}://{host_of(url)}"


def is_unencrypted(url: str) -> bool:
    """Say whether what goes to a URL can be read on the way."""
    return _parts(url).scheme == "http"


def is_local(url: str) -> bool:
    """Say whether a URL names this machine itself."""
    name = _parts(url).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0 and not _ODD.search(url)
    except ValueError:
        parts, usable = urlsplit(""), None
    if "@" in (parts.netloc if usable else url):  # the URL is not shown: a password may be in it
        raise UsageError("the server's address holds a user name or a password", "give it without")
    if not usable:
        raise UsageError(f"{url!r} is not the address of a server", "it begins with https:// and a host's name")
    return parts
