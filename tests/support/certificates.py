"""Certificates for servers on loopback, created when a test needs them."""

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import trustme

NAMES = ("127.0.0.1", "localhost", "api.example.test")


@cache
def get_authority() -> trustme.CA:
    """Return the authority that signs all certificates."""
    return trustme.CA()


def write_bundle(folder: Path) -> str:
    """Write the authority's certificate; return its path."""
    path = folder / "ca.pem"
    get_authority().cert_pem.write_to_path(path)
    return str(path)


def build_context(*names: str, expired: bool = False, signed_by: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the context of a server with a certificate for these names."""
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    since = datetime(2019, 1, 1, tzinfo=UTC) if expired else None
    leaf = (signed_by or get_authority()).issue_cert(*(names or NAMES), not_before=since, not_after=until)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context
