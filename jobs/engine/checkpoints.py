"""What a long job has reached, kept in Redis over the end of its process, so that its next run goes on from there."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.errors import Permanent
from jobs.engine.idempotency.steps import RedisStore, Store
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

LARGEST = 256 * 1024
"""Bytes of JSON."""
KEPT = timedelta(days=7)
"""Since it was written; a job that ends takes it along."""


class Checkpoints:
    """The checkpoint of one run; one of a stock worker has no lease to be checked against."""

    __slots__ = ("_execution_id", "_fleet", "_is_leased", "_job_id")

    def __init__(self, fleet: Fleet, job_id: str, execution_id: str, *, is_leased: bool = True) -> None:
        self._fleet, self._job_id, self._execution_id, self._is_leased = fleet, job_id, execution_id, is_leased

    def load(self, nonce: str = "") -> Any:
        """What was saved last by the job that was accepted with this nonce, None when nothing was.

        Raises BrokerUnavailable.
        """
        with translate_errors():
            text: Any = self._fleet.redis.get(keys.checkpoint(self._job_id))
        of, _, saved = (text or b"").rpartition(b"\n")
        return json.loads(saved) if saved and of.decode() == nonce else None

    def steps(self, nonce: str = "") -> Store:
        """Where the steps are kept of the job that was accepted with this nonce."""
        about = self._fleet, self._job_id, self._execution_id
        return RedisStore(*about, nonce=nonce, is_leased=self._is_leased)

    def save(self, data: Any, nonce: str = "") -> bool:
        """Replace it; False when this run is no longer the job's. Raises Permanent for what is no JSON or too large.

        Raises BrokerUnavailable.
        """
        text = f"{nonce}\n{as_text(data)}" if nonce else as_text(data)
        about = (self._job_id, self._execution_id if self._is_leased else "", int(KEPT.total_seconds()))
        with translate_errors():
            word: bytes = script("checkpoint")(self._fleet.redis, keys.PREFIX, *about, text)
        return word == b"ok"


def as_text(data: Any) -> str:
    """A checkpoint as JSON. Raises Permanent for what is no JSON or too large."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Permanent(f"the checkpoint is no JSON: {error}") from None
    if len(text) > LARGEST:
        raise Permanent("the checkpoint is over 256 KiB: store the data and keep its key in the checkpoint")
    return text
