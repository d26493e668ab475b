"""The words of a text as full-text search sees them: folded, so that case, accents and plurals don't matter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
ALONE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # scripts without spaces: letter by letter
WORD = re.compile(rf"[{ALONE}]|(?:(?![{ALONE}])[^\W_])(?:(?![{ALONE}])[^\W_]|[{MARKS}])*")
LONGEST = 64
COMMON = frozenset(
    re.findall(
        r"\w+",
        """a about an and are as at be by can do does for from has have how i if in is it its me my not of on or our
        that the their there they this to was we were what when where which who why will with you your""",
    )
)


def terms(text: str) -> Iterator[tuple[str, int, int]]:
    """Each word of the text: its folded form, where it starts and where it ends (in characters of the text)."""
    for match in WORD.finditer(text):
        term = _folded(match.group())
        if term:
            yield term, match.start(), match.end()


def query_terms(query: str, limit: int = 32) -> list[str]:
    """The distinct words of a query, the first `limit`; words that are everywhere only when there are no others."""
    found = list(dict.fromkeys(term for term, _start, _end in terms(query[:10_000])))
    telling = [term for term in found if term not in COMMON]
    return (telling or found)[:limit]


def highlights(text: str, wanted: list[str], limit: int = 50) -> list[list[int]]:
    """Where the wanted terms stand in the text: at most `limit` pairs [start, end] of character offsets, in order."""
    sought = set(wanted)
    spans = ([start, end] for term, start, end in terms(text) if term in sought)
    return [span for span, _ in zip(spans, range(limit), strict=False)]


def storable(text: str) -> str:
    """The text with each NUL and lone surrogate replaced by U+FFFD, so that its length and offsets stay the same."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text


def _folded(word: str) -> str:
    if word.isascii():
        return _singular(word.lower())[:LONGEST]
    letters = unicodedata.normalize("NFKD", word).casefold()
    plain = "".join(letter for letter in letters if letter.isalnum())
    return _singular(plain)[:LONGEST]


def _singular(word: str) -> str:
    """The S stemmer of Harman, "How effective is suffixing?" (1991): the weakest that joins most English plurals."""
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
