"""Payload fields by whose values a durable job can be found for as long as its row is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from jobs.engine.errors import InvalidJob
from jobs.engine.limits import is_secret
from jobs.engine.payloads import Payload

LONGEST_NAME, LONGEST_VALUE = 100, 200


def check(name: str, payload_type: type[Payload], fields: Sequence[str], durable: bool) -> tuple[str, ...]:
    """The fields that `searchable=` names. Raises InvalidJob for what is no field of the payload, or a secret one."""
    if isinstance(fields, str):
        raise InvalidJob(f"{name}: searchable= takes a sequence of names, ({fields!r},)")
    if fields and not durable:
        raise InvalidJob(f"{name}: only a durable job type can be searchable")
    for field in fields:
        known = payload_type.model_fields.get(field)
        if known is None or len(field) > LONGEST_NAME:
            raise InvalidJob(f"{name}: searchable names {field!r}, which is no field of {payload_type.__name__}")
        if is_secret(known.annotation):
            raise InvalidJob(f"{name}: searchable names {field!r}, a secret whose values would stand in the ledger")
    return tuple(dict.fromkeys(fields))


def values_of(fields: Sequence[str], payload: Payload) -> tuple[tuple[str, str], ...]:
    """Each field with the text by which it is found; a value that is None is not."""
    values = payload.model_dump(mode="json", include=set(fields))
    return tuple((field, as_text(values[field])) for field in fields if values[field] is not None)


def as_text(value: Any) -> str:
    """A value as it is stored and looked for: text as it is, anything else as JSON, what is long by its sha256."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if len(text) <= LONGEST_VALUE and "\0" not in text:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
