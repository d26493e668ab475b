"""What the audit log tells of sign-ins at the login page that were refused: little, however often somebody tries."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.engine import BrokerUnavailable
from jobs.engine.audit_log import Actor
from webapp.services import accounts, fleet

MINUTE = timedelta(minutes=1)
ADDRESSES_A_MINUTE = 30
"""So many addresses that are locked out within a minute get a line."""
STRANGER = "(no account)"
"""For any name that nobody has; it is not written down, for it may be a password."""


def failed(name: str, address: str) -> None:
    """Wrong words: a line for each account and minute, with how often that was and the latest address."""
    subject = _known(name)
    minute = int(datetime.now(UTC).timestamp() // MINUTE.total_seconds())
    line_id = hashlib.sha256(f"sign-in.failed {subject} {minute}".encode()).hexdigest()[:32]
    try:
        (count,) = fleet().notes.count([f"refused:{line_id}"], 2 * MINUTE)
    except BrokerUnavailable:
        return
    _write(line_id, count.number, "sign-in.failed", name, subject, {"address": address})


def locked_out(name: str, address: str, left: timedelta, *, is_account: bool) -> None:
    """One try too many, for an account or from an address: a line at the first one."""
    minutes = {"minutes": max(1, round(left.total_seconds() / 60)), "address": address}
    line_id = hashlib.sha256(f"{name} {address} {datetime.now(UTC)}".encode()).hexdigest()[:32]
    if is_account:
        return _write(line_id, 1, "sign-in.locked-out", name, _known(name), minutes)
    try:
        (count,) = fleet().notes.count(["refused:addresses"], MINUTE)
    except BrokerUnavailable:
        return None
    if count.number <= ADDRESSES_A_MINUTE:
        _write(line_id, 1, "sign-in.locked-out", name, f"address {address}", minutes)
    return None


def _known(name: str) -> str:
    return name if accounts().named(name) else STRANGER


def _write(line_id: str, number: int, action: str, name: str, target: str, after: dict[str, Any]) -> None:
    account = accounts().named(name)
    by = Actor(_known(name), "none", account.tenant if account else None, "page")
    fleet().audit.count(line_id, number, action=action, target=target, by=by, after=after)
