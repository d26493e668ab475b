"""What may stand in a log line: values made plain for JSON, with credentials struck out."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

STRUCK = "***"
_PLAIN = frozenset((bool, int, type(None)))
_NUMBERS = _PLAIN | {float}
LONGEST_TEXT = 32 * 1024
DEEPEST, LONGEST = 6, 200
_SECRET_NAME = re.compile(
    r"passw|secret|token|authori[sz]ation|(?:api|private|signing|encryption|access)[_-]?key|credential|cookie|bearer"
    r"|^(?:auth|jwt|dsn|ticket)$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_ASSIGNED = re.compile(
    r"((?:passw(?:or)?d|secret|token|authori[sz]ation|api[_-]?key|signature|ticket|cookie)[\w-]{0,20}[\"']?\s{0,3}[=:]"
    r"\s{0,3}[\"'\[({]{0,3})(?:(?:bearer|basic)\s+)?(?!\d+\b)[^\s&\"',;)}\]]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer)\s+[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_known: deque[str] = deque(maxlen=100)
_told: list[Callable[[list[str]], None]] = []
SHORTEST_KNOWN = 6
"""Characters; a shorter secret would be struck out of ordinary words."""
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that json.dumps takes: values of keys like `password` and credentials inside texts are struck out."""
    return {str(name): _field(str(name), value, 0) for name, value in fields.items()}


def strike(secret: str) -> None:
    """From now on this very text is struck out wherever it stands; the latest hundred are known."""
    if len(secret) >= SHORTEST_KNOWN and secret not in _known:
        _known.append(secret)
        for tell in _told:
            tell(list(_known))


@contextmanager
def telling(tell: Callable[[list[str]], None]) -> Iterator[None]:
    """Have somebody told of all that is struck out, whenever that is more."""
    _told.append(tell)
    try:
        yield
    finally:
        _told.remove(tell)


def scrub(text: str) -> str:
    """The text without a URL's userinfo, values of `token=...` and the like, bearer tokens, JWTs, what to `strike`."""
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "… (cut)"
    for secret in tuple(_known):
        if secret in text:
            text = text.replace(secret, STRUCK)
    if ":" in text or "=" in text:
        text = _USERINFO.sub(f"{STRUCK}@", text)
        text = _ASSIGNED.sub(rf"\1{STRUCK}", text)
    if "earer" in text or "EARER" in text:
        text = _BEARER.sub(rf"\1 {STRUCK}", text)
    if "eyJ" in text:
        text = _JWT.sub(STRUCK, text)
    return text


def _field(name: str, value: Any, depth: int) -> Any:
    if _is_secret(name) and type(value) not in _NUMBERS:
        return STRUCK
    return _plain(value, depth)


@lru_cache(maxsize=2048)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return scrub(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= DEEPEST and isinstance(value, Mapping | Sequence | Set) and not isinstance(value, str | bytes):
        return "…"
    if isinstance(value, Mapping):
        return {str(name): _field(str(name), part, depth + 1) for name, part in list(value.items())[:LONGEST]}
    if isinstance(value, list | tuple | Set):
        return [_plain(part, depth + 1) for part in list(value)[:LONGEST]]
    return _described(value)


def _described(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return f"<{type(value).__name__}>"
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int):
        return int(value)
    try:
        if isinstance(value, BaseException):
            return scrub(f"{type(value).__name__}: {value}")
        return scrub(str(value) if isinstance(value, str | UUID | PurePath | Enum) else repr(value))
    except Exception:
        return f"<{type(value).__name__}>"
