"""What must be so: each job's one place, its runs, charges, locks and counters, as plain Python says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.engine.protocol.host import Ended
from tests.engine.protocol.job import (
    DEATHS_BEFORE_ALONE,
    DEATHS_OF_ITS_OWN,
    DEATHS_OF_WORKERS,
    LIVE,
    STATUS,
    UNREADABLE,
    Job,
    State,
)
from tests.engine.protocol.snapshot import Snapshot


class Model:
    """All jobs, the unique locks and the counters."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.locks: dict[str, str] = {}
        self.counters: Counter[str] = Counter()
        self.windows: dict[str, list[str]] = {}
        self.adrift: set[str] = set()

    def of(self, *states: State) -> list[Job]:
        """The jobs in these states, in the order of their ids."""
        return [job for _, job in sorted(self.jobs.items()) if job.state in states]

    def holder(self, lock: str) -> str | None:
        """The live job that a unique lock names."""
        job = self.jobs.get(self.locks.get(lock, ""))
        return job.id if job is not None and job.state in LIVE and job.broken not in UNREADABLE else None

    def accept(self, job: Job) -> str:
        """A job is enqueued: what the answer must be, an id."""
        known = self.jobs.get(job.id)
        if known is not None and known.state != "gone":
            return job.id
        held = self.holder(job.lock) if job.lock else None
        if held is not None:
            return held
        if known is not None:
            job.strays, job.ghosts, job.accepted, job.shadow = known.strays, known.ghosts, known.accepted, known.shadow
        self.jobs[job.id] = job
        self._lock(job)
        return job.id

    def lease(self, host: str, request: str, before: Snapshot, after: Snapshot) -> list[str]:
        """What a lease call did to those that waited; the members of the leases that it made."""
        begun = []
        for job in self.of("waiting"):
            now = after.job(job.id)
            member = f"{job.id}:{now.get('execution', '')}"
            if now.get("status") == "started" and member in after.leases:
                assert now["execution"].startswith(request)
                assert not job.unusable, f"{job.id} has {job.broken} and runs"
                assert job.execution not in job.ghosts, f"{job.id} runs again while its last run goes on"
                job.begin(now["execution"], host)
                begun.append((job.execution, member))
                self.windows.setdefault(job.lane, []).append(member)
            elif job.id in after.quarantine - before.quarantine or (job.unusable and not after.entries(job.id)):
                assert job.broken, f"{job.id} was set aside for nothing"
                assert job.id in after.quarantine, f"{job.id} was dropped"
                self._set_aside(job)
            elif now.get("status") == "scheduled":
                assert job.execution in job.ghosts, f"{job.id} was put off for nothing"
                self.adrift.add(f"{job.id}:{job.execution}")
                job.state, job.status = "delayed", "scheduled"
        for job in self.of("running"):  # given before, in a reply that was lost, and unreadable since
            is_again = job.broken in UNREADABLE and job.execution.startswith(request)
            if is_again and f"{job.id}:{job.execution}" not in after.leases:
                job.state = "gone"
        for job in self.of("gone"):
            if job.broken and job.id in after.quarantine - before.quarantine:
                self._set_aside(job)
        return [member for _, member in sorted(begun)]

    def settle(self, ended: Ended) -> str:
        """The word that an outcome must be answered with, and what follows from it."""
        job, execution, kind = self.jobs[ended.run.job_id], ended.run.execution_id, str(ended.outcome.kind)
        if job.state != "running" or job.execution != execution:
            if execution in job.ghosts and self._is_spoiled_for(job, execution):
                return self._refuse(job, execution)
            if execution in job.ghosts and job.state not in LIVE:
                self._unlock(job)
            job.ghosts.discard(execution)
            return "again" if job.settled == execution and job.broken != "text" else "stale"
        assert execution not in job.accepted, f"a second outcome of {job.id}:{execution}"
        if self._is_spoiled_for(job, execution):
            return self._refuse(job, execution)
        if job.cancelling and kind in ("retry", "released", "lost"):
            kind = "cancelled"
        if job.broken == "results" and kind in (*STATUS, "retry"):
            return self._refuse(job, execution)
        job.accepted.add(execution)
        job.settled = execution
        self.counters[f"{kind}:{job.type}"] += 1
        job.cancelling = False
        self._write(job, kind, bool(ended.outcome.wait), ended.kept)
        return "ok"

    def reap(self, execution: str, job: Job, alone: bool, quarantined: bool) -> str:
        """The word for a run whose lease has passed."""
        if (
            job.broken == "no status"
            and job.execution == execution
            and (job.state == "running" or execution in job.ghosts)
        ):
            self._refuse(job, execution)
            return "quarantined"
        if job.state != "running" or job.execution != execution or job.broken in UNREADABLE:
            job.ghosts.discard(execution)
            if job.broken in UNREADABLE and job.state == "running":
                job.state = "gone"
            return "dropped"
        job.worker_deaths += 1
        if quarantined:
            assert alone, f"{job.id} was set aside for the death of another"
            assert job.worker_deaths >= DEATHS_OF_WORKERS, f"{job.id} was set aside too soon"
            self._set_aside(job)
            return "quarantined"
        job.wait(charged=False)
        return "requeued"

    def cancel(self, job: Job) -> str:
        """Cancelled by hand: ended, asked or refused."""
        if job.state == "running":
            job.cancelling = True
            return "asked"
        if job.state not in ("waiting", "delayed", "aside"):
            return "refused"
        job.end("canceled")
        self._unlock(job)
        self.counters[f"cancelled:{job.type}"] += 1
        return "ended"

    def retry(self, job: Job) -> str:
        """Run again by hand: again or refused."""
        if not (job.state == "aside" or (job.state == "ended" and job.status != "finished")):
            return "refused"
        if job.execution in job.ghosts or (job.lock and self.holder(job.lock) not in (None, job.id)):
            return "refused"
        job.begin_anew()
        self._lock(job)
        return "again"

    def revive(self, job: Job) -> None:
        """RQ put it on its queue, whatever it was: behind our back, so without its lock."""
        if job.state == "waiting":
            job.strays += 1
        job.shadow = job.shadow or job.state == "delayed"
        job.lose_run()
        job.wait(charged=True)
        job.immortal = False

    def held(self) -> Counter[str]:
        """How many runs hold a place in each limit."""
        runs: Counter[str] = Counter()
        for job in self.jobs.values():
            runs[job.gate] += job.runs()
        return runs

    def live_with(self, lock: str) -> list[str]:
        """The live jobs that had a unique lock when they were enqueued or run again."""
        return [job.id for job in self.of(*LIVE) if job.lock == lock and job.locked]

    def untouched(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that nobody wrote to a list or broke: their order means something. Suspects wait apart."""
        known = [self.jobs[each] for each in ids if each in self.jobs]
        suspects = {job.id for job in known if job.worker_deaths >= DEATHS_BEFORE_ALONE}
        return [job.id for job in known if not (job.strays or job.broken or job.gate or job.id in suspects)]

    def _write(self, job: Job, kind: str, wait: bool, keep: bool) -> None:
        if kind in STATUS:
            job.end(STATUS[kind])
            self._unlock(job)
            if not keep:
                job.vanish()
        elif kind == "retry":
            job.wait(charged=True)
            if wait:
                job.state, job.status = "delayed", "scheduled"
        elif kind == "released":
            job.wait(charged=False)
        else:
            job.deaths += kind == "lost"
            if kind == "quarantined" or job.deaths >= DEATHS_OF_ITS_OWN:
                self._set_aside(job)
            else:
                job.wait(charged=False)

    def _is_spoiled_for(self, job: Job, execution: str) -> bool:
        return job.broken == "text" or (job.broken == "no status" and job.execution == execution)

    def _refuse(self, job: Job, execution: str) -> str:
        job.ghosts.discard(execution)
        self._set_aside(job)
        return "refused"

    def _set_aside(self, job: Job) -> None:
        job.set_aside()
        if job.broken != "text":
            self._unlock(job)

    def _lock(self, job: Job) -> None:
        if job.lock:
            self.locks[job.lock] = job.id
            job.locked = True

    def _unlock(self, job: Job) -> None:
        if self.locks.get(job.lock) == job.id:
            del self.locks[job.lock]
