"""Steps of those who enqueue and steer: new jobs, repeated calls, cancel, retry, pauses, what is due, retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from jobs.engine import Conflict, Fleet, keys, views
from jobs.engine.client import NewJob
from jobs.engine.lanes import DEFAULT_LANE
from jobs.engine.scripts import script
from tests.engine.protocol.behind import rq_queue
from tests.engine.protocol.job import UNREADABLE, Job
from tests.engine.protocol.snapshot import Snapshot
from tests.engine.protocol.world import GATED, QUEUES, TYPES, WHICH, WINDOWS, World

TOKEN = "the-scheduler-of-the-test"
PAST, HOUR = 1, timedelta(hours=1)
FUNCTION = "tests.engine.foreign_functions.add"
ENDS = ("finished", "failed", "canceled")
UNIQUE = next(at for at, each in enumerate(TYPES) if each.unique)
KIND = st.sampled_from([*range(len(TYPES)), UNIQUE, UNIQUE])
HOW = st.sampled_from(["", "", "front", "delayed"])


class Clients(World):
    """Everything that a client, an operator or a scheduler does through the fleet's own classes and scripts."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.sent: dict[str, tuple[NewJob, Job]] = {}

    @initialize(kinds=st.lists(KIND, min_size=4, max_size=10))
    def begin(self, kinds: list[int]) -> None:
        """Some jobs are there from the start."""
        self._send([self._prepare(kind, at % 2, "") for at, kind in enumerate(kinds)])

    @rule(kinds=st.lists(KIND, min_size=1, max_size=5), value=st.integers(0, 1), how=HOW)
    def enqueue(self, kinds: list[int], value: int, how: str) -> None:
        """A batch of new jobs; their lock may be held."""
        self._send([self._prepare(kind, value, how) for kind in kinds])

    @rule(queue=st.sampled_from(QUEUES), how=HOW, count=st.integers(1, 3))
    def enqueue_plainly(self, queue: str, how: str, count: int) -> None:
        """New jobs of a plain RQ client, which knows neither types nor lanes."""
        for _ in range(count):
            job = Job(f"p{next(self.numbers):03}", "", queue, DEFAULT_LANE)
            if how == "delayed":
                rq_queue(self.client, queue).enqueue_in(HOUR, FUNCTION, 1, 2, job_id=job.id)
                job.state, job.status = "delayed", "scheduled"
            else:
                rq_queue(self.client, queue).enqueue(FUNCTION, 1, 2, job_id=job.id, at_front=how == "front")
            self.model.accept(job)

    def _prepare(self, kind: int, value: int, how: str) -> str:
        declared, policy = TYPES[kind], TYPES[kind].policy
        options: Any = {"at_front": how == "front", "job_id": f"j{next(self.numbers):03}"}
        wait = timedelta(hours=1) if how == "delayed" else None
        (new,) = self.fleet.client.prepare(declared, [{"value": value}], wait=wait, options=options)
        lock = f"{declared.name}::{value}" if declared.unique else ""
        gate = GATED.get(declared.name, "rated" if policy.lane in WINDOWS else "").format(value)
        kept = policy.retention.finished_count
        self.sent[new.view.id] = new, Job(new.view.id, declared.name, policy.queue, policy.lane, lock, kept, gate)
        return new.view.id

    def _send_again(self, which: int) -> None:
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
        return first.copy(state=state, status=new.view.status)

    @rule(which=WHICH, what=st.sampled_from(["cancel", "retry", "send again"]))
    def steer(self, which: int, what: str) -> None:
        """Cancel a job, or run it again, by hand; or an enqueue comes again, however long ago its reply was lost."""
        steps = {"cancel": self._cancel, "retry": self._retry, "send again": self._send_again}
        steps[what](which)

    def _cancel(self, which: int) -> None:
        job = self.pick(which, "waiting", "running", "delayed", "ended", "aside")
        if job is None or job.broken == "text" or (job.broken == "no status" and job.state != "aside"):
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
        job = self.pick(which // 4, *(("ended", "aside") if which % 4 else ("running", "waiting")))
        if job is None or job.broken == "text":
            return
        if self.model.retry(job) == "again":
            assert self.fleet.jobs.retry(job.id).status == "queued"
        else:
            with pytest.raises(Conflict):
                self.fleet.jobs.retry(job.id)
            self.changes_nothing(self.before)

    @rule(which=WHICH, what=st.sampled_from(["due", "due", "window", "retention"]))
    def let_time_pass(self, which: int, what: str) -> None:
        """Until a job is due, a rate window opens, or what an ended job left expires."""
        if what == "window":
            self.pass_window(1 + which % 2)
        elif what == "due" and (job := self.pick(which, "delayed")) is not None:
            self.fall_due(job)
        elif what == "retention" and (job := self.pick(which, "ended")) is not None:
            self.outlive_retention(job)

    def fall_due(self, job: Job) -> None:
        """A scheduler that has the lock meets a delayed job that is due."""
        for registry in self.before.places(job.id, "scheduled"):
            self.client.zadd(f"{keys.PREFIX}:{registry}", {job.id: PAST})
            self.drain(registry.removeprefix("scheduled:"))

    def drain(self, queue: str) -> None:
        """Move what is due; a scheduler whose lock is another's moves nothing."""
        now = datetime.now(UTC)
        lock = f"{keys.PREFIX}:scheduler-lock:{queue}"
        arguments = (keys.PREFIX, TOKEN, queue, 100, views.rfc3339(now), repr(now.timestamp()))
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

    @rule(what=st.sampled_from(["resume"] * 3 + ["suspend", "queue:default", "queue:low", "lane:audit", "worker:"]))
    def switch(self, what: str) -> None:
        """`rq suspend`, a queue, a lane or a worker paused, or everything resumed."""
        if what == "suspend":
            self.client.set(f"{keys.PREFIX}:suspended", 1)
        elif what == "resume":
            self.client.delete(f"{keys.PREFIX}:suspended", f"{keys.FLEET}:paused")
        else:
            self.client.sadd(f"{keys.FLEET}:paused", what + self.hosts[0].name if what == "worker:" else what)

    def pass_window(self, count: int) -> None:
        """An hour has passed since the first of a lane's last begins."""
        for lane in WINDOWS:
            times = keys.window(lane, HOUR)
            begins = [float(each) for each in self.client.lrange(times, 0, -1)]
            for at in range(max(0, len(begins) - count), len(begins)):
                self.client.lset(times, at, int(begins[at] - 2 * HOUR.total_seconds() * 1000))
            del self.model.windows.get(lane, [])[:count]

    def outlive_retention(self, job: Job) -> None:
        """The keys of an ended job have expired, and somebody tidies up."""
        if job.immortal or job.broken:
            return
        assert self.before.keys[f"job:{job.id}"].ttl >= 0
        self.client.delete(keys.job(job.id), keys.results(job.id), keys.log(job.id))
        for kind in ENDS:  # an earlier end stays in its registry when RQ enqueues the job again
            for name in self.before.places(job.id, kind):
                self.client.zadd(f"{keys.PREFIX}:{name}", {job.id: PAST})
        self.hosts[0].leases.maintain()
        job.vanish()
        after = Snapshot(self.client)
        assert [kind for kind in ENDS if after.places(job.id, kind)] == []
