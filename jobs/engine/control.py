"""Looking at jobs and steering them: get, cancel, retry, log, wait."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis

from jobs.engine import cascade as chains
from jobs.engine import durability, keys, registry, views, waiting
from jobs.engine.broker import translate_errors
from jobs.engine.changes import Change
from jobs.engine.errors import BrokerUnavailable, Conflict, NotFound, UnknownJob
from jobs.engine.events import Subscription
from jobs.engine.output import MOST_LINES
from jobs.engine.policy import Policy
from jobs.engine.scripts import script
from jobs.engine.views import JobView, LogLine
from jobs.engine.waiting import Waiting

if TYPE_CHECKING:
    from jobs.engine.dead_letters.actions import Done
    from jobs.engine.fleet import Fleet

LOOK_AGAIN = timedelta(seconds=5)
REMEMBERED = 1000
AT_ONCE = 100
"""Jobs that are cancelled in a round trip."""
ON_ITS_WAY, LOOK_SOON = timedelta(seconds=0.5), timedelta(seconds=0.05)
"""So long a cancel waits for a job that is being pushed, and looks whether it has come."""
SEEN = timedelta(minutes=1)
"""How long a cancelled job is kept at least, so that who cancelled it can see it."""


class Jobs:
    """The jobs of one fleet. Where a tenant is given, another tenant's job is as good as none."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.seen_ended: deque[str] = deque(maxlen=REMEMBERED)
        """The ids of jobs of which this process has lately found in Redis that they had ended."""

    def get(self, job_id: str, tenant: str | None = None) -> JobView:
        """One job. Raises NotFound, BrokerUnavailable."""
        view = self.get_many([job_id])[0]
        if view is None or (tenant is not None and view.tenant != tenant):
            raise NotFound(f"there is no job {job_id}")
        return view

    def get_many(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Several jobs in one round trip, None for each that is unknown or has expired.

        Durable ones are told by the ledger where Redis knows nothing of them (yet, or any more) or is away. Raises
        BrokerUnavailable where that knows nothing of one of them either.
        """
        try:
            views = in_redis(self._fleet.redis, job_ids)
        except BrokerUnavailable:
            views = self._in_ledger(job_ids, [None] * len(job_ids))
            if None in views:
                raise
            return views
        self.seen_ended.extend(view.id for view in views if view is not None and view.ended)
        return self._in_ledger(job_ids, views) if None in views else views

    def cancel(
        self, job_id: str, tenant: str | None = None, *, cascade: bool = False, done: Done | None = None
    ) -> JobView:
        """Cancel a job: at once while it waits or is delayed, by asking its worker (then killing) while it runs.

        With `cascade` also what waits for it, directly or not: up to 10,000 jobs, of the tenant where one is given; it
        may be repeated. A `done` that is handed in tells what became of those that wait for it, however this ends.
        Raises NotFound; BrokerUnavailable, also for what is being pushed just now and does not come; Conflict when it
        has ended (with `cascade`: otherwise than cancelled) or has too many dependents.
        """
        view = self.get(job_id, tenant)
        try:
            self._cancel_in_redis(view, tenant, cascade, done)
        except BrokerUnavailable:
            if view.queued != "ledger" or not self._fleet.ledger.cancel(job_id):
                raise
        return self.get(job_id, tenant)

    def _cancel_in_redis(self, view: JobView, tenant: str | None, cascade: bool, done: Done | None) -> None:
        job_id = view.id
        with translate_errors():
            dependents = chains.dependents(self._fleet.redis, job_id, tenant) if cascade else []
            (word,) = self._cancel([(job_id, view.type)])
            if word == "missing" and not view.ended:
                word = self._cancel_unknown(view)
            if word not in ("cancelled", "asked") and not (cascade and word == "canceled"):
                raise Conflict(f"the job is {views.WORDS.get(word, word)} and can't be cancelled")
            self._cancel_waiting([each for each in dependents if each.status != "cancelled"], done)

    def _cancel_waiting(self, dependents: Sequence[chains.Dependent], done: Done | None) -> None:
        for at in range(0, len(dependents), AT_ONCE):
            batch = dependents[at : at + AT_ONCE]
            if done is not None:
                done.begin(Change(each.job_id, each.tenant, each.status, "cancelled") for each in batch)
            words = self._cancel([(each.job_id, each.job_type) for each in batch])
            for each, word in zip(batch, words, strict=True):
                if done is not None:
                    refusal = "" if word in ("cancelled", "asked") else views.WORDS.get(word, word)
                    done.end(each.job_id, refusal, "stopping" if word == "asked" else "")

    def _cancel_unknown(self, view: JobView) -> str:
        """Cancel in the ledger what Redis does not have; the word about it.

        Each `view` is of before Redis was asked: what had been pushed by then is lost, and ends here. What somebody is
        about to push is waited for: it may come yet, and is cancelled in Redis then.
        """
        word, give_up = "missing", time.monotonic() + ON_ITS_WAY.total_seconds()
        while word == "missing" and not view.ended:
            if self._fleet.ledger.cancel(view.id, lost=view.queued == "redis"):
                return "cancelled"
            if time.monotonic() > give_up:
                raise BrokerUnavailable("the job is on its way to Redis: cancel it again in a moment")
            time.sleep(LOOK_SOON.total_seconds())
            view = self.get(view.id)
            (word,) = self._cancel([(view.id, view.type)])
        return "cancelled" if word == "missing" and view.status == "cancelled" else word

    def _cancel(self, jobs: Sequence[tuple[str, str]]) -> list[str]:
        """Cancel jobs (id, type), a hundred a round trip; the script's word about each."""
        now = views.rfc3339(datetime.now(UTC))
        windows = " ".join(self._fleet.windows.values())
        calls = [
            (keys.PREFIX, job_id, now, int(self._kept(job_type).total_seconds()), windows) for job_id, job_type in jobs
        ]
        parts = [calls[at : at + AT_ONCE] for at in range(0, len(calls), AT_ONCE)]

        def ask() -> list[str]:
            with translate_errors():
                return [word.decode() for part in parts for word in script("cancel").many(self._fleet.redis, part)]

        return durability.cancel(self._fleet, jobs, ask)

    def retry(self, job_id: str, tenant: str | None = None, *, by: str = "") -> JobView:
        """Run a failed, cancelled or quarantined job again, with all its retries; `by` says who wants it.

        Raises NotFound, Conflict in any other state, BrokerUnavailable (of a durable job without the database too).
        """
        view = self.get(job_id, tenant)
        policy = policy_of(self._fleet, view.type)
        now = views.rfc3339(datetime.now(UTC))
        said = (keys.PREFIX, job_id, now, policy.retry.max_retries, "", by)

        def ask() -> list[str]:
            with translate_errors():
                return [script("retry")(self._fleet.redis, *said).decode()]

        (word,) = durability.run_again(self._fleet, [(job_id, view.type)], ask)
        if word.startswith("held:"):
            raise Conflict(f"job {word.removeprefix('held:')} is doing the same already")
        if word == "part":
            raise Conflict("the job is part of a workflow: replay that from its node")
        if word != "again":
            raise Conflict(f"the job is {views.WORDS.get(word, word)}; only an ended one can be run again")
        return self.get(job_id, tenant)

    def why(self, job_id: str, tenant: str | None = None) -> Waiting | None:
        """Why a job waits, or None when it does not. Raises NotFound, BrokerUnavailable."""
        self.get(job_id, tenant)
        with translate_errors():
            reply = script("why")(self._fleet.redis, keys.PREFIX, job_id, " ".join(self._fleet.windows.values()))
        return waiting.of_reply(json.loads(reply)) if reply else None

    def log(self, job_id: str, tenant: str | None = None, after: str | None = None) -> list[LogLine]:
        """What a job printed and logged, oldest first: the newest 1,002 lines, or as many after line `after`.

        Raises NotFound, ValueError for an id that is none, BrokerUnavailable.
        """
        self.get(job_id, tenant)
        redis: Any = self._fleet.redis
        with translate_errors():
            if after is None:
                lines = redis.xrevrange(keys.log(job_id), count=MOST_LINES)[::-1]
            else:
                lines = redis.xrange(keys.log(job_id), min=f"({line_id(after)}", count=MOST_LINES)
        return [views.of_line(line_id, fields) for line_id, fields in lines]

    def wait(
        self,
        job_id: str,
        tenant: str | None,
        timeout: timedelta,
        holding: Callable[[Subscription], AbstractContextManager[object]] = nullcontext,
    ) -> JobView:
        """The job once it has ended, or as it is when the time is up; woken by its events.

        `holding` makes what surrounds the waiting; closing the subscription that it is given ends it early.
        """
        view = self.get(job_id, tenant)
        give_up = time.monotonic() + timeout.total_seconds()
        if view.ended or timeout <= timedelta(0):
            return view
        subscription = self._fleet.events.subscribe([f"job:{job_id}"], tenant=view.tenant)
        with subscription, holding(subscription):
            view = self.get(job_id, tenant)
            while not view.ended and not subscription.closed and (left := give_up - time.monotonic()) > 0:
                subscription.get(min(left, LOOK_AGAIN.total_seconds()))
                view = self.get(job_id, tenant)
        return view

    def _in_ledger(self, job_ids: Sequence[str], views: list[JobView | None]) -> list[JobView | None]:
        if not registry.any_durable():
            return views
        found = self._fleet.ledger.views(
            [job_id for job_id, view in zip(job_ids, views, strict=True) if view is None and job_id]
        )
        return [view or found.get(job_id) for job_id, view in zip(job_ids, views, strict=True)]

    def _kept(self, job_type: str) -> timedelta:
        return max(SEEN, policy_of(self._fleet, job_type).retention.finished)


def policy_of(fleet: Fleet, job_type: str) -> Policy:
    """The policy of the type of that name; the default for one that this release does not know."""
    try:
        return fleet.policy(registry.get(job_type))
    except UnknownJob:
        return Policy()


def in_redis(client: redis.Redis, job_ids: Sequence[str]) -> list[JobView | None]:
    """Several jobs in one round trip, as Redis alone knows them. Raises BrokerUnavailable."""
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
            pipe.xrevrange(keys.results(job_id), count=1)
        replies = pipe.execute(raise_on_error=False)
    return [_view(job_id, replies[2 * n], replies[2 * n + 1]) for n, job_id in enumerate(job_ids)]


def _view(job_id: str, raw: Any, latest: Any) -> JobView | None:
    if not isinstance(raw, Mapping) or not raw:
        return None
    result = None
    if isinstance(latest, list) and latest and raw.get(b"status") == b"finished":
        result = _result(latest[0][1])
    return views.of_hash(job_id, raw, result)


def _result(fields: Mapping[bytes, bytes]) -> Any:
    try:
        return json.loads(b64decode(fields.get(b"return_value", b"")) or b"null")
    except ValueError:
        return None


def line_id(text: str) -> str:
    """A line's id that somebody sent us. Raises ValueError for what is none."""
    parts = text.split("-")
    if not (1 <= len(parts) <= 2 and all(part.isdigit() and len(part) < 19 for part in parts)):
        raise ValueError(f"{text!r} is no line id")
    return text
