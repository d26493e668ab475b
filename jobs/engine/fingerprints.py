"""Fingerprints of errors: the same for repeats of one error, whatever numbers, ids and paths its text names."""

from __future__ import annotations

import hashlib
import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from jobs.engine.errors import TimedOut

MOST_FRAMES = 3
LONGEST_TEXT = 2_000
"""Characters of an error's text that are looked at."""
LONGEST_LINE = 300
_IS_ONE = re.compile(r"[0-9a-f]{16}")
_PARTS = (
    (re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "<url>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w.-]+"), "<address>"),
    (re.compile(r"(?<![\w.@~+<:-])(?:[a-z]:)?[\w.@~+-]*(?:[\\/][\w.@~+-]+)+[\\/]?", re.IGNORECASE), "<path>"),
    (re.compile(r"(?<![\w.-])[+-]?\d+(?:[.,:]\d+)*(?:e[+-]?\d+)?(?![\w-])", re.IGNORECASE), "<n>"),
    (re.compile(r"(?<![\w-])(?:(?=[\w-]*\d)[\w-]+|[0-9a-f]{8,}(?![\w-]))", re.IGNORECASE), "<n>"),
    (re.compile(r"\s+"), " "),
)
"""What is no part of an error's identity: a word with a digit is taken for a number, and so is long hexadecimal."""
_LIBRARIES = tuple(f"{folder}/" for folder in (sysconfig.get_path("stdlib"), Path(__file__).parent))


def of(error: BaseException) -> str:
    """The fingerprint of an exception that was raised, from its type, its text and its innermost own frames."""
    return made_of(type(error).__name__, _text(error), _frames(error))


def made_of(error_type: str, message: str, frames: Sequence[str]) -> str:
    """Sixteen hexadecimal digits; `frames` are `module.function` names, innermost last."""
    parts = "\n".join([error_type, normalised(message), *frames])
    return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def normalised(message: str) -> str:
    """A message with a word in place of each address, path, id and number; at most 300 characters."""
    text = message[:LONGEST_TEXT]
    for pattern, word in _PARTS:
        text = pattern.sub(word, text)
    return text.strip()[:LONGEST_LINE].strip()


def line(error: BaseException) -> str:
    """The exception in one line, such as `ValueError: no such page`."""
    text = " ".join(_text(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_one(text: object) -> bool:
    """Whether this is a fingerprint."""
    return isinstance(text, str) and _IS_ONE.fullmatch(text) is not None


def _text(error: BaseException) -> str:
    """What the exception says; an exception may also fail at that."""
    try:
        return str(error)
    except Exception:
        return ""


def _frames(error: BaseException) -> list[str]:
    """The innermost frames outside libraries and the engine, or the very innermost where there is none.

    A timeout hits a job anywhere: where that was says nothing.
    """
    if isinstance(error, TimedOut):
        return []
    known: list[str] = []
    last = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        last = f"{frame.f_globals.get('__name__')}.{code.co_qualname}"
        if _is_own(code.co_filename):
            known.append(last)
    return known[-MOST_FRAMES:] or [last]


def _is_own(path: str) -> bool:
    installed = "/site-packages/" in path or "/dist-packages/" in path
    return not (installed or path.startswith(("<", *_LIBRARIES)))
