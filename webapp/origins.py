"""Where a request came from, as its Origin header says; whatever is no address is nobody's."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request


def is_own(origin: str, request: Request) -> bool:
    """Whether `origin` is a page of the host that is asked; false for anything that is no http(s) origin."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc != "" and parts.netloc == request.host
