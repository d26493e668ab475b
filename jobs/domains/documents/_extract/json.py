"""JSON documents and JSON lines, as lines of `path: value`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from jobs.domains.documents._extract.decode import blocks, lines
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step, Unreadable

_SECTION_CHARS = 4_000
_LONGEST_KEY = 100
_KEYS_SHOWN = 3


def read(path: Path, limits: Limits) -> Reading:
    """Read a JSON document, or one JSON value a line."""
    return Reading(None, _line_steps(path, limits) if _is_json_lines(path) else _document_steps(path, limits))


def _is_json_lines(path: Path) -> bool:
    first = [line for _, line in islice(lines(path), 10) if line.strip()][:2]
    try:
        return len(first) == 2 and all(isinstance(_parsed(line), dict | list) for line in first)
    except (ValueError, RecursionError):
        return False


def _parsed(text: str) -> Any:
    """Numbers stay the text they are written as, so that none is too large or loses digits."""
    return json.loads(text, strict=False, parse_int=str, parse_float=str, parse_constant=str)


def _line_steps(path: Path, limits: Limits) -> Iterator[Step]:
    for number, (done, line) in enumerate(lines(path), start=1):
        if line.strip():
            try:
                value = _parsed(line)
            except ValueError as error:
                raise Unreadable(f"line {number:,} of the file is not valid JSON") from error
            yield Step(done, Section("\n".join(_flat(value, limits))))


def _document_steps(path: Path, limits: Limits) -> Iterator[Step]:
    try:
        value = _parsed(_whole(path, limits))
    except json.JSONDecodeError as error:
        raise Unreadable(f"the JSON is not valid at line {error.lineno:,}: {error.msg}") from error
    if isinstance(value, dict) and any(isinstance(inner, dict | list) for inner in value.values()):
        parts: Iterator[tuple[str | None, Any]] = ((key, {key: inner}) for key, inner in value.items())
        count = len(value)
    else:
        items = value if isinstance(value, list) else [value]
        parts, count = ((None, item) for item in items), len(items)
    for index, (title, part) in enumerate(parts, start=1):
        for text in _batches(_flat(part, limits)):
            yield Step(index / count, Section(text, title=title))


def _whole(path: Path, limits: Limits) -> str:
    pieces, size = [], 0
    for _, block in blocks(path):
        size += len(block)
        if size > limits.max_text_chars:
            raise Unreadable(f"the JSON is longer than {limits.max_text_chars:,} characters")
        pieces.append(block)
    return "".join(pieces).lstrip("\ufeff")


def _batches(flat: Iterator[str]) -> Iterator[str]:
    batch: list[str] = []
    size = 0
    for line in flat:
        batch.append(line)
        size += len(line)
        if size > _SECTION_CHARS:
            yield "\n".join(batch)
            batch, size = [], 0
    if batch:
        yield "\n".join(batch)


def _flat(value: Any, limits: Limits) -> Iterator[str]:
    """Every value with the last keys that lead to it, depth first and without recursion."""
    waiting: list[Iterator[tuple[tuple[str, ...], Any]]] = [iter([((), value)])]
    while waiting:
        path, inner = next(waiting[-1], ((), waiting))
        if inner is waiting:
            waiting.pop()
            yield ""
        elif isinstance(inner, dict):
            waiting.append(_keyed(path, inner))
        elif isinstance(inner, list) and any(isinstance(item, dict | list) for item in inner):
            waiting.append(zip(repeat(path), inner))
        else:
            yield _line(path, _scalar(inner))
        if len(waiting) > limits.max_nesting:
            raise Unreadable(f"the JSON is nested more than {limits.max_nesting} levels deep")


def _keyed(path: tuple[str, ...], inner: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    return (((*path, key[:_LONGEST_KEY])[-_KEYS_SHOWN:], item) for key, item in inner.items())


def _line(path: tuple[str, ...], value: str) -> str:
    return f"{'.'.join(path)}: {value}" if path and value else value


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_scalar, value))
    return {True: "true", False: "false", None: ""}.get(value, "") if not isinstance(value, str) else value
