"""File names as people may see them; never used as a path or a key."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

MAX_BYTES = 255
JOINERS = "\u200c\u200d"
"""Zero-width joiners: format characters that Persian, Indic scripts and emoji need."""
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display_name(name: str) -> str:
    """The last path part of `name` without control, direction or other unseen characters, at most 255 bytes of UTF-8.

    An over-long name keeps its extension; one of which nothing is left becomes "unnamed".
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    seen = "".join(letter for letter in last if not misleads(letter))
    clean = unicodedata.normalize("NFC", seen).strip()
    return _shortened(clean) if clean.strip("." + JOINERS) else "unnamed"


def misleads(text: str) -> bool:
    """Whether the text holds a control, direction or other unseen character, which `display_name` would leave out."""
    return any(letter not in JOINERS and unicodedata.category(letter) in UNSEEN for letter in text)


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    extension = PurePosixPath(name).suffix
    if len(extension.encode()) > 20:
        extension = ""
    room = MAX_BYTES - len(extension.encode())
    return name.removesuffix(extension).encode()[:room].decode(errors="ignore").rstrip() + extension
