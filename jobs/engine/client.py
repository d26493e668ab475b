"""Enqueueing: payloads are checked, signed and sent as one script call, which can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobs.engine import new_jobs, payloads, preparing, registry
from jobs.engine.broker import translate_errors
from jobs.engine.errors import IdempotencyConflict, InvalidJob
from jobs.engine.heads import Heads
from jobs.engine.job_types import JobType, Options
from jobs.engine.keys import PREFIX
from jobs.engine.middleware.protocol import Enqueueing
from jobs.engine.new_jobs import NewJob, Sent
from jobs.engine.scripts import script
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction

BATCH = 250
EXISTS = 0


class Client:
    """Puts jobs on their queues for one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.heads = Heads(fleet)

    def enqueue(
        self,
        job_type: JobType[Any],
        values: Iterable[Any],
        *,
        wait: timedelta | None = None,
        when: datetime | None = None,
        options: Options | None = None,
    ) -> Sequence[JobView]:
        """Send a batch of one type; see `JobType.enqueue` for what is returned and raised."""
        return self._enqueue(self._call(job_type, values, wait, when, options))

    def prepare(
        self,
        job_type: JobType[Any],
        values: Iterable[Any],
        *,
        wait: timedelta | None = None,
        when: datetime | None = None,
        options: Options | None = None,
        flow: str = "",
    ) -> list[NewJob]:
        """Check and sign a batch of one type for `send`, a workflow (`flow`) or a transaction; nothing is written."""
        call = self._call(job_type, values, wait, when, options)
        call.flow = flow
        return list(self._prepare(call))

    def enqueue_by_name(self, name: str, values: Any, options: Options | None = None) -> JobView:
        """Send one job by its type's name. Raises UnknownJob besides."""
        return self.enqueue(registry.get(name), [values], options=options)[0]

    def send(self, new: Sequence[NewJob], session: AnyTransaction | None = None) -> Sequence[JobView]:
        """Write prepared jobs in one round trip; what was there already is returned as it is.

        Durable jobs are written to the ledger, in the transaction of `session` where one is given, and sent once that
        is committed. After BrokerUnavailable part of a large batch may have been written; sending the same jobs again
        is safe. Raises InvalidJob for jobs that are not durable with a session, and for a mixture.
        """
        durable = sum(each.head.durable for each in new)
        if durable and durable == len(new):
            return self._fleet.ledger.accept(new, session)
        if durable or (session is not None and new):
            raise InvalidJob("only durable job types can be enqueued in a session, or together with durable ones")
        batches = [new[at : at + BATCH] for at in range(0, len(new), BATCH)]
        calls = [(PREFIX, *new_jobs.arguments(batch)) for batch in batches]
        with translate_errors():
            answers = script("enqueue").many(self._fleet.redis, calls)
        known: dict[int, JobView] = {}
        for first, answer in zip(range(0, len(new), BATCH), answers, strict=True):
            for place, code, job_id in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
                at = first + place - 1
                known[at] = self._known(new[at], code, job_id.decode())
        return Sent(new, known)

    def _call(
        self,
        job_type: JobType[Any],
        values: Iterable[Any],
        wait: timedelta | None,
        when: datetime | None,
        options: Options | None,
    ) -> Enqueueing:
        due = preparing.due_at(wait, when)
        job_type = registry.get(job_type.name)
        valid = [payloads.validate(job_type.payload_type, each) for each in values]
        return Enqueueing(job_type, valid, options or {}, due)

    @cached_property
    def _prepare(self) -> Callable[[Enqueueing], Sequence[NewJob]]:
        return self._fleet.middleware.around_enqueue(self._sign)

    @cached_property
    def _enqueue(self) -> Callable[[Enqueueing], Sequence[JobView]]:
        return self._fleet.middleware.around_enqueue(
            lambda call: self.send(self._sign(call), call.options.get("session"))
        )

    def _sign(self, call: Enqueueing) -> list[NewJob]:
        return preparing.prepare(call, self.heads, self._fleet.keys)

    def _known(self, new: NewJob, code: int, job_id: str) -> JobView:
        if code == EXISTS and new.digests:
            stored = self._stored_digest(job_id)
            if stored is not None and stored not in new.digests:
                raise IdempotencyConflict("this idempotency key was used before with another payload")
        known = self._fleet.jobs.get(job_id)
        if known.tenant != new.head.view.tenant:
            raise IdempotencyConflict("this job id is taken")
        return known

    def _stored_digest(self, job_id: str) -> str | None:
        with translate_errors():
            stored: Any = self._fleet.redis.hget(f"{PREFIX}:job:{job_id}", "digest")
        return None if stored is None else stored.decode()
