"""Text from elsewhere, made safe to print: a file's name can hold what moves the cursor or turns the line around."""

from __future__ import annotations

import unicodedata

HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
KEPT = frozenset("\u200c\u200d")  # joiners, which words and emoji need
REPLACEMENT = "\ufffd"


def plain(text: str) -> str:
    """`text` of the same length, with a replacement character for each one that is not for reading."""
    return "".join(REPLACEMENT if _harmful(character) else character for character in text)


def _harmful(character: str) -> bool:
    return unicodedata.category(character) in HARMFUL and character not in KEPT
