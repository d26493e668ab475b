"""What must hold after any chaos, as pure functions over what clients, jobs, faults and Redis tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise

from tests.chaos.journal import Run

ON_THE_WAY = 2.0
"""Seconds after the end of a run's body in which a fault may still lose its outcome."""
DYING = 1.0
"""Seconds that the processes of a killed worker may take to follow it on a busy machine."""
POISON_DEATHS = 3
ENDED = ("completed", "failed", "cancelled", "quarantined")
LIVING = ("queued", "scheduled", "deferred")


@dataclass(frozen=True)
class Call:
    """What a client knows of one enqueue: `ok`, `fail` (certainly not taken) or `unknown`.

    `fails` runs raise; a plain client's job has as many `retries` as it asked for, ours tell theirs in the end.
    """

    id: str
    word: str
    at: float
    fails: int = 0
    retries: int | None = None


@dataclass(frozen=True)
class Fault:
    """Something that went wrong between two times. It is aimed at one process, one worker (by its template), or all.

    A fault that `repeats` may have its runs begun again; one that `separates` leaves them running beside the next run;
    one that `forgets` may lose what Redis had acknowledged shortly before.
    """

    kind: str
    at: float
    until: float
    pid: int = 0
    template: int = 0
    repeats: bool = True
    separates: bool = False
    forgets: bool = False


@dataclass(frozen=True)
class Final:
    """A job at the end: `outcomes` are RQ's result entries (finished, failed, cancelled, retried), oldest first."""

    id: str
    status: str
    attempts: int = 0
    max_retries: int | None = None
    retries_left: int | None = None
    settled: str = ""
    outcomes: tuple[str, ...] = ()
    events: tuple[str, ...] | None = None


@dataclass(frozen=True)
class History:
    """All there is to judge by. `seen` are (id, status, settled) of jobs that had ended when somebody looked."""

    calls: Sequence[Call]
    runs: Sequence[Run]
    finals: Mapping[str, Final]
    faults: Sequence[Fault] = ()
    seen: Sequence[tuple[str, str, str]] = field(default=())

    @cached_property
    def runs_of(self) -> Mapping[str, list[Run]]:
        """Each job's runs in the order of their beginnings."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(self.runs, key=lambda run: run.began):
            found[run.id].append(run)
        return found

    def aimed_at(self, run: Run) -> list[Fault]:
        """The faults that meant this run's process, its worker or everybody."""
        return [*self._aimed["pid", run.pid], *self._aimed["template", run.template], *self._aimed["", 0]]

    def over_at(self, run: Run) -> float:
        """When a run was over: its end, or the first kill of its process; never, where neither is known."""
        if run.ended is not None:
            return run.ended
        kills = (each for each in self.aimed_at(run) if (each.pid or each.template) and not each.separates)
        return min((max(each.at, run.began) for each in kills if run.began <= each.until + DYING), default=float("inf"))

    def hits(self, job_id: str) -> int:
        """How many faults may each have cost this job a run or a run's outcome."""
        return len({id(fault) for run in self.runs_of.get(job_id, ()) for fault in self._hitting(run)})

    def apart(self, run: Run) -> bool:
        """Whether the run began in a worker that was just then stopped or cut off, and could not know better."""
        return any(each.separates and each.at <= run.began <= each.until for each in self.aimed_at(run))

    def was_forgotten(self, at: float) -> bool:
        """Whether Redis may have lost what it acknowledged at that time."""
        return any(each.forgets and each.at - ON_THE_WAY <= at <= each.until for each in self.faults)

    @cached_property
    def _aimed(self) -> Mapping[tuple[str, int], list[Fault]]:
        found: dict[tuple[str, int], list[Fault]] = defaultdict(list)
        for fault in self.faults:
            aim = ("pid", fault.pid) if fault.pid else ("template", fault.template) if fault.template else ("", 0)
            found[aim].append(fault)
        return found

    def _hitting(self, run: Run) -> Iterator[Fault]:
        over = self.over_at(run)
        for fault in self.aimed_at(run):
            late = ON_THE_WAY if run.ended is not None else 0.0
            if fault.repeats and run.began <= fault.until + DYING and over >= fault.at - late:
                yield fault


def judge(history: History) -> list[str]:
    """A sentence for each thing that must not be; an empty list is a pass."""
    checks = (lost, phantoms, overlaps, starts, repeated, changed, outcomes, charged)
    return [sentence for check in checks for sentence in check(history)]


def lost(history: History) -> Iterator[str]:
    """What a client was told is accepted has ended as it should, or still waits."""
    for call in history.calls:
        final = history.finals.get(call.id)
        if call.word != "ok" or (final is None and history.was_forgotten(call.at)):
            continue
        if final is None:
            yield f"{call.id}: accepted, and gone"
        elif final.status == "quarantined":
            if history.hits(call.id) < POISON_DEATHS:
                yield f"{call.id}: an innocent job in quarantine"
        elif final.status not in (_due_end(call, final), *LIVING):
            yield f"{call.id}: accepted, and {final.status}"


def phantoms(history: History) -> Iterator[str]:
    """What was certainly refused, or never asked for, is not there."""
    asked = {call.id for call in history.calls if call.word != "fail"}
    for job_id in sorted((set(history.finals) | set(history.runs_of)) - asked):
        yield f"{job_id}: refused, and there all the same"


def overlaps(history: History) -> Iterator[str]:
    """No two runs of one job at a time, but where the first was stopped or cut off meanwhile."""
    for job_id, runs in history.runs_of.items():
        for first, second in combinations(runs, 2):
            over = history.over_at(first)
            apart = (each for each in history.aimed_at(first) if each.separates)
            if over > second.began and not any(each.at <= second.began and first.began <= each.until for each in apart):
                yield f"{job_id}: {second.token} began while {first.token} was running"


def starts(history: History) -> Iterator[str]:
    """No more runs than one, one for each recorded retry and one for each fault that hit the job."""
    for job_id, runs in history.runs_of.items():
        final = history.finals.get(job_id)
        retried = final.outcomes.count("retried") if final else sum(run.how == "raised" for run in runs)
        allowed = 1 + history.hits(job_id) + retried
        if len(runs) > allowed:
            yield f"{job_id}: began {len(runs)} times, {allowed} allowed"


def repeated(history: History) -> Iterator[str]:
    """Nothing is run again after its outcome was recorded, and what is recorded was really done by that run."""
    for job_id, final in history.finals.items():
        runs = history.runs_of.get(job_id, [])
        if final.status not in ("completed", "failed"):
            continue
        finished = [run for run in runs if run.how == ("done" if final.status == "completed" else "raised")]
        writer = [run for run in finished if run.token == final.settled or run.token.startswith("foreign-")]
        if not writer:
            yield f"{job_id}: {final.status} by {final.settled}, which never ended so"
        elif any(run.began > (writer[-1].ended or 0.0) and not history.apart(run) for run in runs):
            yield f"{job_id}: ran again after its outcome was recorded"


def changed(history: History) -> Iterator[str]:
    """A job that was seen ended stays as it was."""
    for job_id, status, settled in history.seen:
        final = history.finals.get(job_id)
        if (final is None or (final.status, final.settled) != (status, settled)) and not _forgotten(history, job_id):
            yield f"{job_id}: was {status} by {settled}, then {final and (final.status, final.settled)}"


def outcomes(history: History) -> Iterator[str]:
    """Exactly one recorded outcome for each ended job, in RQ's results and in our events."""
    ends = {"completed": ("finished", "job:completed"), "failed": ("failed", "job:failed")}
    for job_id, final in history.finals.items():
        if final.status not in ends:
            continue
        word, event = ends[final.status]
        counted = Counter(final.outcomes)
        if counted[word] != 1 or set(counted) - {word, "retried"} or final.outcomes[-1] != word:
            yield f"{job_id}: {final.status} with the outcomes {', '.join(final.outcomes) or 'none'}"
        if final.events is not None and (final.events.count(event) != 1 or final.events[-1] != event):
            yield f"{job_id}: {final.status} with the events {', '.join(final.events)}"


def charged(history: History) -> Iterator[str]:
    """Only recorded outcomes count as attempts and cost retries; a lost run costs neither."""
    asked = {call.id: call.retries for call in history.calls}
    for job_id, final in history.finals.items():
        most = asked.get(job_id) if final.max_retries is None else final.max_retries
        if final.status not in ("completed", "failed") or most is None:
            continue
        retried = final.outcomes.count("retried")
        if final.max_retries is not None and final.attempts != len(final.outcomes):
            yield f"{job_id}: {final.attempts} attempts charged for {len(final.outcomes)} outcomes"
        if final.retries_left is not None and final.retries_left != most - retried:
            yield f"{job_id}: {final.retries_left} retries left of {most} after {retried}"


def delays(history: History) -> list[float]:
    """Seconds from each kill to the next beginning of a run that it ended, in ascending order."""
    found = []
    for runs in history.runs_of.values():
        for run, after in pairwise(runs):
            if run.ended is None and (killed := history.over_at(run)) < after.began:
                found.append(after.began - killed)
    return sorted(found)


def story(history: History, job_id: str) -> str:
    """A job's runs, the faults that may have hit it and its end, in the order of time."""
    runs = history.runs_of.get(job_id, [])
    lines = [(run.began, f"{run.began:.3f} began {run}") for run in runs]
    for fault in {fault for run in runs for fault in history.aimed_at(run)}:
        lines.append((fault.at, f"{fault.at:.3f} {fault}"))
    return "\n".join([*(line for _, line in sorted(lines)), str(history.finals.get(job_id))])


def _due_end(call: Call, final: Final) -> str:
    most = call.retries if final.max_retries is None else final.max_retries
    return "failed" if most is not None and call.fails > most else "completed"


def _forgotten(history: History, job_id: str) -> bool:
    ended = [run.ended for run in history.runs_of.get(job_id, ()) if run.ended is not None]
    return any(history.was_forgotten(at) for at in ended)
