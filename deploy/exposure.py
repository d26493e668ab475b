"""Where the web server may listen: what is meant for this machine alone is not served to others."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from jobs.settings import DEVELOPMENT_SECRET, Settings

Address = str | tuple[str | int, ...]


def host_of(settings: Settings) -> str:
    """The address to listen on: all in production, else this machine's own."""
    return "0.0.0.0" if settings.production else "127.0.0.1"  # noqa: S104


def refusal(settings: Settings, addresses: Iterable[Address]) -> str | None:
    """Why the server must not listen there, for people; None when it may."""
    known_secret = settings.secret_key == DEVELOPMENT_SECRET
    if known_secret and settings.environment != "development":
        return "SECRET_KEY must be set, or everybody could sign in; make one with: openssl rand -hex 32"
    if all(_is_local(address) for address in addresses):
        return None
    if known_secret:
        return "Without a SECRET_KEY of its own the server listens on this machine only, where nobody else signs in."
    if settings.environment == "test":
        return "ENVIRONMENT=test has a sign-in for tests, so the server listens on this machine only."
    return None


def _is_local(address: Address) -> bool:
    """Whether nobody else reaches it; a path is a socket of this machine."""
    if isinstance(address, str):
        return True
    try:
        return ipaddress.ip_address(str(address[0])).is_loopback
    except ValueError:
        return address[0] == "localhost"
