"""Certificates for servers on loopback, made when a test needs them."""

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import trustme

NAMES = ("127.0.0.1", "localhost", "api.example.test")


@cache
def authority() -> trustme.CA:
    """Give the one that signs."""
    return trustme.CA()


def bundle(place: Path) -> str:
    """Write the authority's certificate; give the path."""
    path = place / "ca.pem"
    authority().cert_pem.write_to_path(path)
    return str(path)


def context(*names: str, expired: bool = False, signed_by: trustme.CA | None = None) -> ssl.SSLContext:
    """Make the context of a server with a certificate for these names."""
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    since = datetime(2019, 1, 1, tzinfo=UTC) if expired else None
    leaf = (signed_by or authority()).issue_cert(*(names or NAMES), not_before=since, not_after=until)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(made)
    return made
