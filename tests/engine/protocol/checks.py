"""Holds what is in Redis to the model: one place a job, at most one live lease, order, locks, counters, lifetimes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.engine import keys
from jobs.engine.worker.leasing import SLOT
from tests.engine.protocol.job import UNREADABLE, Job
from tests.engine.protocol.model import Model
from tests.engine.protocol.snapshot import Snapshot

GATES = {"limit:protocol.limited:value:0": 1, "limit:protocol.limited:value:1": 1, "limit:protocol.fair": 2}
WINDOWS = {"exports": 2}
"""How many runs of a limit may hold a place, and how many of a lane may begin in an hour."""
STATE = {"finished": "finished", "failed": "failed", "canceled": "cancelled"}


def check(model: Model, now: Snapshot) -> None:
    """Everything that holds after every step. Raises AssertionError."""
    batches = {name.removeprefix("fleet:batch:") for name in now.keys if name.startswith("fleet:batch:")}
    assert batches == set(now.value("fleet:batches", {})) == set(now.batches.values()), "a batch that holds nothing"
    assert not set(now.batches) & set(now.value("fleet:leases", {})), "a run has two leases"
    for job in model.jobs.values():
        if job.broken in UNREADABLE:
            _is_bounded(job, now)
        else:
            _is_in_its_place(job, now)
    for lock in {job.lock for job in model.jobs.values() if job.lock}:
        assert len(model.live_with(lock)) <= 1, f"{model.live_with(lock)} share a unique lock"
        assert now.value(f"fleet:unique:{lock}") == model.locks.get(lock), f"lock {lock}"
    runs = model.held()
    assert [(gate, runs[gate]) for gate, most in GATES.items() if runs[gate] > most] == []
    begun = {lane: len(model.windows.get(lane, [])) for lane in WINDOWS}
    assert [(lane, begun[lane]) for lane, most in WINDOWS.items() if begun[lane] > most] == []
    adrift = {member for name, key in now.keys.items() if name.startswith("fleet:held:") for member in key.value}
    assert adrift - now.leases - model.adrift == set(), "a place is held for no run"
    counted = {name: int(value) for name, value in now.value("fleet:counters", {}).items() if value != "0"}
    assert counted == dict(model.counters)


def _is_bounded(job: Job, now: Snapshot) -> None:
    leases = now.executions(job.id)
    assert now.entries(job.id) <= 1 + job.strays
    assert leases <= job.ghosts | ({job.execution} if job.state == "running" else set())


def _is_in_its_place(job: Job, now: Snapshot) -> None:
    about = f"{job} is {now.job(job.id)}"
    _may_be_trimmed(job, now)
    entries, leases, hash_ = now.entries(job.id), now.executions(job.id), now.job(job.id)
    must = 1 if job.state == "waiting" else 0
    assert must <= entries <= must + job.strays, f"{entries} entries of {about}"
    running = {job.execution} if job.state == "running" else set()
    assert running <= leases <= running | job.ghosts, f"leases {leases} of {about}"
    scheduled = now.places(job.id, "scheduled")
    assert len(scheduled) == 1 if job.state == "delayed" else job.shadow or not scheduled, f"{scheduled} of {about}"
    assert job.id in now.quarantine if job.state == "aside" else job.shadow or job.id not in now.quarantine, about
    assert bool(hash_) == (job.state != "gone"), about
    if job.state == "running":
        assert hash_["execution"] == job.execution, about
    if job.state not in ("gone", "aside"):
        assert hash_["status"] == job.status, about
        assert job.attempts is None or int(hash_.get("attempts") or 0) == job.attempts, about
    if job.state == "ended":
        assert now.places(job.id, job.status), f"in no registry: {about}"
        assert (job.status == "failed") <= (job.id in now.value("fleet:dead-letters", {})), f"no dead letter: {about}"
    _lives_as_long(job, now, about)
    job.strays = entries - must
    job.ghosts &= leases


def _may_be_trimmed(job: Job, now: Snapshot) -> None:
    """Of some types only the newest are kept."""
    if job.state == "ended" and not now.job(job.id):
        state = STATE[job.status]
        newer = now.value(
            f"fleet:finished:{job.type}" if state == "finished" else f"fleet:ended:{state}:{job.type}", {}
        )
        assert len(newer) >= job.kept, f"{job} is gone"
        job.vanish()


def _lives_as_long(job: Job, now: Snapshot, about: str) -> None:
    if job.state == "gone":
        return
    expires = now.keys[f"job:{job.id}"].ttl >= 0
    if job.state in ("ended", "aside"):
        assert expires or job.immortal, f"is kept for ever: {about}"
    else:
        assert not expires or job.mortal, f"may expire before it has run: {about}"


def check_order(model: Model, before: Snapshot, after: Snapshot, queues: Sequence[str], worker: str = "") -> None:
    """No job went ahead of one that waits longer in the same queue and lane, and those that wait keep their order."""
    for queue in queues:
        was, still = before.line(queue, worker), after.line(queue, worker)
        clear = set(model.untouched(was)) & {job.id for job in model.of("waiting", "running")}
        for lane in {before.lane(each) for each in was}:
            ours = [each for each in was if each in clear and before.lane(each) == lane]
            stay = [each for each in ours if model.jobs[each].state == "waiting"]
            assert ours[len(ours) - len(stay) :] == stay, f"{queue}, {lane}: of {ours} only {stay} still wait"
            kept = [each for each in still if each in stay]
            assert kept == stay, f"{queue}, {lane}: {stay} wait as {kept}"


def check_all_seen(
    model: Model, now: Snapshot, worker: str, room: dict[str, int], open_queues: Iterable[str], idle: bool
) -> None:
    """A worker that got less than it asked for has left nothing that it could have had, but what a gate let through
    at the end of the call: that rings its doorbell."""
    let_through = {job.id for job in model.of("waiting") if job.gate}
    for queue in open_queues:
        for name in (f"queue:{queue}", f"fleet:inbox:{worker}:{queue}"):
            left = set(now.lists.get(name, [])) - let_through
            assert not left, f"{name} still holds {left}"
        for lane, free in room.items() | {("!alone", SLOT if idle else 0)}:
            filed = now.lists.get(f"fleet:overflow:{queue}:{lane}", [])
            assert free < SLOT or not filed, f"{lane} has room for {filed}"


def check_in_front(model: Model, before: Snapshot, now: Snapshot, given_back: Sequence[str]) -> None:
    """What lost its run stands before all that was not given back, woke a worker that died, or came through a gate."""
    ahead = {each for name, ids in before.lists.items() if name.startswith("fleet:inbox:") for each in ids}
    ahead |= set(given_back) | {job.id for job in model.of("waiting") if job.gate or job.strays or job.broken}
    for job_id in (each for each in given_back if not model.jobs[each].strays):
        lines = [ids for name, ids in now.lists.items() if name.startswith("queue:") and job_id in ids]
        for ids in lines:
            others = [each for each in ids[: ids.index(job_id)] if each not in ahead]
            assert others == [], f"{job_id} was given back, and {others} stand before it"


def check_nothing_leaks(model: Model, now: Snapshot) -> None:
    """After everything has ended no key of ours lives for ever but the bounded ones, and no list holds anything."""
    allowed = ("fleet:ended:", "fleet:finished:", "fleet:quarantine", "fleet:overflowed:", "fleet:dead-letters")
    named = {
        "fleet:workers",
        "fleet:worker-queues",
        "fleet:dead",
        "fleet:reaper",
        "fleet:counters",
        "fleet:event-clock",
        "fleet:exhausted",
    }
    lasting = {name for name, key in now.keys.items() if name.startswith(("fleet:", "events:")) and key.ttl < 0}
    unbounded = [name for name in lasting - named if not name.startswith(allowed)]
    assert unbounded == [], unbounded
    assert now.lists == {}, now.lists
    assert now.leases == set(), now.leases
    records = ("wip:", "execution:", "executions:")
    left = [name for name in now.keys if name.startswith(records) or name.endswith(":executions")]
    assert left == [], {name: now.value(name) for name in left}
    states = {job.id: job.state for job in model.jobs.values()}
    assert set(states.values()) <= {"ended", "aside", "gone"}, states
    for lock in {job.lock for job in model.jobs.values() if job.lock}:
        key = now.keys.get(f"fleet:unique:{lock}")
        assert key is None or key.ttl > 0, f"{keys.FLEET}:unique:{lock} is kept for ever"
