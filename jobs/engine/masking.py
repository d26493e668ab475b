"""What of a job's data may be shown: its payload, with secret fields and credentials struck out."""

from __future__ import annotations

import json
from typing import Any

from jobs.engine import envelope
from jobs.engine.envelope import PERFORM
from jobs.engine.errors import Untrusted
from jobs.engine.log_redaction import STRUCK, redact


def shown_payload(data: bytes) -> dict[str, Any] | None:
    """The payload of a job of ours, free of credentials; the arguments of plain RQ jobs are nobody's business here."""
    try:
        call = envelope.decode(data)
        values = json.loads(call.args[1]) if call.function == PERFORM else None
        return redact(_without_secrets(values)) if isinstance(values, dict) else None
    except (Untrusted, ValueError, IndexError, TypeError, RecursionError):
        return None


def _without_secrets(value: Any) -> Any:
    """Encrypted fields are of no use to anybody who looks."""
    if isinstance(value, dict):
        return STRUCK if set(value) == {"$secret"} else {name: _without_secrets(part) for name, part in value.items()}
    return [_without_secrets(part) for part in value] if isinstance(value, list) else value
