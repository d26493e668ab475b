"""Steps of those who know nothing of the fleet: RQ's tools, other clients, and people who write to Redis."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.engine.protocol import behind
from tests.engine.protocol.model import Broken, Job, State
from tests.engine.protocol.world import QUEUES, WHICH, World

LIVE: tuple[State, ...] = ("waiting", "running", "delayed")
BREAKS: list[Broken] = ["text", "no status", "no data", "results"]
COUNTERS = ["attempts", "deaths", "worker_deaths"]
NONSENSE = ["nobody", "bad:id", "", "é"]


class Strangers(World):
    """What happens behind the fleet's back."""

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, tool=st.sampled_from(["cancel", "delete", "requeue", "enqueue"]), front=st.booleans())
    def rq_tool(self, which: int, tool: str, front: bool) -> None:
        """`Job.cancel()`, `Job.delete()`, a registry's `requeue`, `Queue.enqueue_job()` of a job that is there."""
        states: dict[str, tuple[State, ...]] = {
            "cancel": LIVE,
            "delete": (*LIVE, "ended", "aside"),
            "requeue": ("ended",),
            "enqueue": (*LIVE, "ended"),
        }
        job = self.pick(which, *states[tool])
        if job is not None and not job.broken:
            self._use(tool, job, front)

    def _use(self, tool: str, job: Job, front: bool) -> None:
        if tool == "cancel":
            behind.cancel(self.client, job, self.before)
        elif tool == "delete":
            behind.delete(self.client, job, self.before)
        elif tool == "enqueue":
            behind.enqueue_again(self.client, job, front)
            self.model.revive(job)
        elif job.status != "finished":
            behind.requeue(self.client, job, self.before, front)
            self.model.revive(job)

    @rule(
        which=WHICH, nonsense=st.sampled_from([""] * 4 + NONSENSE), queue=st.sampled_from(QUEUES), front=st.booleans()
    )
    def push(self, which: int, nonsense: str, queue: str, front: bool) -> None:
        """Somebody pushes the id of any job, or what is none, to any queue."""
        job = self.pick(which, *LIVE, "ended", "aside", "gone")
        if job is None or nonsense:
            behind.push(self.client, queue, nonsense, front)
        else:
            behind.push(self.client, queue, job.id, front)
            job.strays += 1

    @precondition(lambda self: self.model.of("waiting", "running"))
    @rule(which=WHICH, how=st.sampled_from([*BREAKS, *COUNTERS]))
    def spoil(self, which: int, how: str) -> None:
        """A hash, or what belongs to it, becomes unreadable; a counter becomes nonsense."""
        job = self.pick(which, "waiting", "running")
        if job is not None and not job.broken:
            if how in COUNTERS:
                behind.miscount(self.client, job, how)
            else:
                behind.spoil(self.client, job, BREAKS[BREAKS.index(how)])

    @rule(queue=st.sampled_from(QUEUES))
    def rq_cleans(self, queue: str) -> None:
        """RQ's clean-up of registries: nothing of ours has been abandoned."""
        behind.clean(self.client, queue)
        self.changes_nothing(self.before)
