"""Steps of those who know nothing of the fleet: RQ's tools, other clients, and people who write to Redis."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.engine.protocol import behind
from tests.engine.protocol.job import Broken, Job, State
from tests.engine.protocol.world import QUEUES, WHICH, World

LIVE: tuple[State, ...] = ("waiting", "running", "delayed")
TOOLS: dict[str, tuple[State, ...]] = {
    "cancel": LIVE,
    "delete": (*LIVE, "ended", "aside"),
    "requeue": ("ended",),
    "enqueue": (*LIVE, "ended"),
    "push": (*LIVE, "ended", "aside", "gone"),
    "spoil": ("waiting", "running"),
    "miscount": ("waiting",),
}
"""What is done to jobs, and in which states."""
BREAKS: list[Broken] = ["text", "no status", "no data", "results"]
COUNTERS = ["attempts", "deaths", "worker_deaths"]
NONSENSE = ["nobody", "bad:id", "", "é"]


class Strangers(World):
    """What happens behind the fleet's back."""

    @rule(
        tool=st.sampled_from([*TOOLS, "miscount", "nonsense", "clean"]),
        which=WHICH,
        queue=st.sampled_from(QUEUES),
        how=WHICH,
    )
    def meddle(self, tool: str, which: int, queue: str, how: int) -> None:
        """`Job.cancel()`, `Job.delete()`, a registry's `requeue`, `Queue.enqueue_job()` of a job that is there, RQ's
        clean-up; somebody pushes an id anywhere, breaks a hash or what belongs to it, or makes a counter nonsense."""
        self.meddled = True
        if tool == "clean":
            behind.clean(self.client, queue)
            self.changes_nothing(self.before)
        elif tool == "nonsense":
            behind.push(self.client, queue, NONSENSE[how % len(NONSENSE)], at_front=True)
        elif (job := self.pick(which, *TOOLS[tool])) is not None:
            if tool == "push":
                behind.push(self.client, queue, job.id, at_front=bool(how % 2))
                job.strays += 1
            elif not job.broken:
                self._use(tool, job, how)

    def _use(self, tool: str, job: Job, how: int) -> None:
        if tool == "cancel":
            behind.cancel(self.client, job, self.before)
        elif tool == "delete":
            behind.delete(self.client, job, self.before)
        elif tool == "spoil":
            behind.spoil(self.client, job, BREAKS[how % len(BREAKS)])
        elif tool == "miscount":
            behind.miscount(self.client, job, COUNTERS[how % len(COUNTERS)])
        elif tool == "enqueue":
            behind.enqueue_again(self.client, job, at_front=bool(how % 2))
            self.model.revive(job)
        elif job.status != "finished":
            behind.requeue(self.client, job, self.before, at_front=bool(how % 2))
            self.model.revive(job)
