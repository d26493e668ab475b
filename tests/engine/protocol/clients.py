"""Steps of those who enqueue and steer: new jobs, repeated calls, cancel, retry, pauses, what is due, retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs.engine import Conflict, Fleet, keys, views
from jobs.engine.client import NewJob
from jobs.engine.scripts import script
from tests.engine.protocol.model import UNREADABLE, Job
from tests.engine.protocol.snapshot import Snapshot
from tests.engine.protocol.world import QUEUES, TYPES, WHICH, World

TOKEN = "the-scheduler-of-the-test"
PAST = 1
HOW = st.sampled_from(["", "", "front", "delayed"])


class Clients(World):
    """Everything that a client, an operator or a scheduler does through the fleet's own classes and scripts."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.sent: dict[str, tuple[NewJob, Job]] = {}

    @rule(kinds=st.lists(st.integers(0, len(TYPES) - 1), min_size=1, max_size=5), value=st.integers(0, 1), how=HOW)
    def enqueue(self, kinds: list[int], value: int, how: str) -> None:
        """A batch of new jobs; their lock may be held."""
        self._send([self._prepare(kind, value, how) for kind in kinds])

    def _prepare(self, kind: int, value: int, how: str) -> str:
        declared, policy = TYPES[kind], TYPES[kind].policy
        options: Any = {"at_front": how == "front", "job_id": f"j{next(self.numbers):03}"}
        wait = timedelta(hours=1) if how == "delayed" else None
        (new,) = self.fleet.client.prepare(declared, [{"value": value}], wait=wait, options=options)
        lock = f"{declared.name}::{value}" if declared.unique else ""
        self.sent[new.view.id] = (
            new,
            Job(new.view.id, declared.name, policy.queue, policy.lane, lock, policy.retention.finished_count),
        )
        return new.view.id

    @precondition(lambda self: self.sent)
    @rule(which=WHICH)
    def send_again(self, which: int) -> None:
        """An enqueue whose reply was lost, however long ago."""
        known = [name for name in sorted(self.sent) if name not in self.model.jobs or not self.model.jobs[name].broken]
        if known:
            self._send([known[which % len(known)]])

    def _send(self, ids: list[str]) -> None:
        fresh = [self._copy(job_id) for job_id in ids]
        expected = [self.model.accept(job) for job in fresh]
        views = self.fleet.client.send([self.sent[job_id][0] for job_id in ids])
        assert [view.id for view in views] == expected
        if not any(self.model.jobs.get(job.id) is job for job in fresh):
            self.changes_nothing(self.before)

    def _copy(self, job_id: str) -> Job:
        new, first = self.sent[job_id]
        state: Any = "waiting" if new.view.scheduled_for is None else "delayed"
        return Job(first.id, first.type, first.queue, first.lane, first.lock, first.kept, state, new.view.status)

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, retry=st.booleans())
    def steer(self, which: int, retry: bool) -> None:
        """Cancel a job, or run it again, by hand."""
        if retry:
            self._retry(which)
        else:
            self._cancel(which)

    def _cancel(self, which: int) -> None:
        job = self.pick(which, "waiting", "running", "delayed", "ended", "aside")
        if job is None or job.broken in UNREADABLE:
            return
        word = self.model.cancel(job)
        if word == "refused":
            with pytest.raises(Conflict):
                self.fleet.jobs.cancel(job.id)
            self.changes_nothing(self.before)
            return
        assert self.fleet.jobs.cancel(job.id).status == ("cancelled" if word == "ended" else "started")
        listed = self.before.lists.get(f"queue:{job.queue}", []).count(job.id)
        if word == "ended":
            job.strays = self.before.entries(job.id) - min(1, listed)
            with pytest.raises(Conflict):
                self.fleet.jobs.cancel(job.id)

    def _retry(self, which: int) -> None:
        job = self.pick(which, "ended", "aside", "aside", "running", "waiting")
        if job is None or job.broken == "text":
            return
        if self.model.retry(job) == "again":
            assert self.fleet.jobs.retry(job.id).status == "queued"
        else:
            with pytest.raises(Conflict):
                self.fleet.jobs.retry(job.id)
            self.changes_nothing(self.before)

    @precondition(lambda self: self.model.of("delayed"))
    @rule(which=WHICH)
    def fall_due(self, which: int) -> None:
        """Time passes for one delayed job, and a scheduler that has the lock looks."""
        job = self.pick(which, "delayed")
        assert job is not None
        for registry in self.before.places(job.id, "scheduled"):
            self.client.zadd(f"{keys.PREFIX}:{registry}", {job.id: PAST})
            self.drain(registry.removeprefix("scheduled:"))

    def drain(self, queue: str) -> None:
        """Move what is due; a scheduler whose lock is another's moves nothing."""
        now = views.rfc3339(datetime.now(UTC))
        lock = f"{keys.PREFIX}:scheduler-lock:{queue}"
        arguments = (keys.PREFIX, TOKEN, queue, 100, now)
        before = Snapshot(self.client)
        assert script("drain")(self.client, *arguments)[0] == 0
        self.changes_nothing(before)
        self.client.set(lock, TOKEN)
        script("drain")(self.client, *arguments)
        for job in self.model.of("delayed"):
            score = before.value(f"scheduled:{queue}", {}).get(job.id)
            if score == PAST and job.broken not in UNREADABLE:
                job.state, job.status = "waiting", "queued"
        self.client.delete(lock)

    @rule(what=st.sampled_from(["resume", "resume", "suspend", *QUEUES]))
    def switch(self, what: str) -> None:
        """`rq suspend`, a queue paused, or everything resumed."""
        if what == "suspend":
            self.client.set(f"{keys.PREFIX}:suspended", 1)
        elif what == "resume":
            self.client.delete(f"{keys.PREFIX}:suspended", f"{keys.FLEET}:paused")
        else:
            self.client.sadd(f"{keys.FLEET}:paused", f"queue:{what}")

    @precondition(lambda self: self.model.of("ended"))
    @rule(which=WHICH)
    def outlive_retention(self, which: int) -> None:
        """Time passes for an ended job: its keys have expired, and somebody tidies up."""
        job = self.pick(which, "ended")
        assert job is not None
        if job.immortal or job.broken:
            return
        assert self.before.keys[f"job:{job.id}"].ttl >= 0
        self.client.delete(keys.job(job.id), keys.results(job.id), keys.log(job.id))
        for name in self.before.places(job.id, job.status):
            self.client.zadd(f"{keys.PREFIX}:{name}", {job.id: PAST})
        self.hosts[0].leases.maintain()
        job.vanish()
        after = Snapshot(self.client)
        assert [kind for kind in ("finished", "failed", "canceled") if after.places(job.id, kind)] == []
