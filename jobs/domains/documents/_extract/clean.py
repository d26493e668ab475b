"""Text as databases, searches and people want it: no control characters, one kind of space, composed letters."""

from __future__ import annotations

import re
import unicodedata

_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SPACES = re.compile("[ \t\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_AROUND_BREAKS = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")
_LONG_FOREIGN_RUN = re.compile("([^\x00-\u02ff]{64,})")
_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)


def clean(text: str) -> str:
    """Normalise whitespace and Unicode (NFC); drop control, invisible and direction-changing characters."""
    if not text.isascii():
        text = _composed(text.translate(_LIGATURES))
    text = _DROPPED.sub("", _BREAKS.sub("\n", text))
    text = _AROUND_BREAKS.sub("\n", _SPACES.sub(" ", text))
    return _EMPTY_LINES.sub("\n\n", text).strip()


def clean_line(text: str, longest: int = 200) -> str:
    """The same as one line of at most `longest` characters, for titles and names."""
    return " ".join(clean(text[: longest * 4]).split())[:longest].rstrip()


def _composed(text: str) -> str:
    """NFC in linear time: `normalize` is quadratic in a run of combining marks, so long runs go in slices."""
    parts = _LONG_FOREIGN_RUN.split(text)
    return "".join(
        _sliced(part) if index % 2 else unicodedata.normalize("NFC", part) for index, part in enumerate(parts)
    )


def _sliced(run: str) -> str:
    return "".join(unicodedata.normalize("NFC", run[start : start + 64]) for start in range(0, len(run), 64))
