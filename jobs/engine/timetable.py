"""The periodic entries of a fleet as operators see and steer them: list, run now, pause, resume."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from jobs.engine import keys, registry, schedule_runs
from jobs.engine.broker import translate_errors
from jobs.engine.errors import InvalidJob, NotFound, UnknownJob
from jobs.engine.job_types import JobType
from jobs.engine.run_now import run_now
from jobs.engine.schedules import CatchUp, Cron, Every, Overlap, Periodic
from jobs.engine.schedules.periodic import entry_id, of_text
from jobs.engine.views import JobView, Status

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet


class RunView(BaseModel):
    """A run of an entry; `status` is None when the job is no longer kept and nobody saw how it ended."""

    id: str
    due: datetime
    status: Status | None
    ended_at: datetime | None


class ScheduleView(BaseModel):
    """A periodic entry as a scheduler wrote it; times are UTC. `skipped` and `missed` count times without a run.

    There is no next time when somebody cancelled the entry with RQ's own means.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    every: timedelta | None = None
    cron: str | None = None
    timezone: str | None = None
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int
    paused: bool
    next: datetime | None
    last: RunView | None
    skipped: int
    missed: int

    @property
    def times(self) -> Every | Cron:
        """When its runs are due, whether it is paused or not."""
        return Cron(self.cron, self.timezone or "UTC") if self.cron else Every(self.every or timedelta(0))

    def following(self, count: int) -> list[datetime]:
        """The next times for which a run is due, as it is declared; none where there is no next time."""
        found = [] if self.next is None else [self.next]
        while found and len(found) < count:
            found.append(self.times.following(found[-1]))
        return found


class Schedules:
    """The periodic entries of one fleet; each is named by its job type."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def all(self) -> list[ScheduleView]:
        """Every entry, by the name of its type, in three round trips. Raises BrokerUnavailable."""
        with translate_errors():
            with self._fleet.redis.pipeline(transaction=False) as pipe:
                pipe.smembers(keys.SCHEDULES)
                pipe.smembers(keys.PAUSED)
                known, paused = pipe.execute()
            views = self._views([each.decode() for each in known], {each.decode("utf-8", "replace") for each in paused})
        return sorted(views, key=lambda each: each.type)

    def get(self, name: str) -> ScheduleView:
        """One entry. Raises NotFound, BrokerUnavailable."""
        for view in self.all():
            if view.type == name:
                return view
        raise NotFound(f"there is no schedule of {name}")

    def runs(self, name: str) -> list[RunView]:
        """The runs of an entry that are remembered, up to 100, the latest first. Raises NotFound, BrokerUnavailable."""
        last, entry = self.get(name).last, entry_id(name)
        with translate_errors():
            found: Any = self._fleet.redis.zrevrange(keys.schedule_runs(entry), 0, -1, withscores=True)
            known = schedule_runs.statuses(self._fleet.redis, [run.decode() for run, _ in found])
        runs = [_run(run.decode(), score, known.get(run.decode())) for run, score in found]
        return [last, *runs[1:]] if last and runs and runs[0].id == last.id else runs

    def run_now(self, name: str) -> JobView:
        """Enqueue a run besides those that are due; it counts as one of the entry's.

        That of a durable type is in the ledger then.

        Raises NotFound, BrokerUnavailable; Conflict where runs must not overlap and one is under way, or a job of the
        type has the unique lock that the run needs.
        """
        return run_now(self._fleet, *periodic_type(name))

    def pause(self, name: str) -> None:
        """Leave out what is due until `resume`, whatever is restarted meanwhile. Raises NotFound, BrokerUnavailable."""
        self.get(name)
        self._fleet.pauses.pause(f"schedule:{name}")

    def resume(self, name: str) -> None:
        """Go on with the next time, also where somebody cancelled the entry by RQ's means. Raises BrokerUnavailable."""
        self._fleet.pauses.resume(f"schedule:{name}")
        if self._fleet.has_broker:
            self._revive(entry_id(name))

    def _revive(self, entry: str) -> None:
        client = self._fleet.redis
        with translate_errors():
            if client.hget(keys.job(entry), "status") == b"canceled":
                seconds, microseconds = client.time()
                client.hset(keys.schedule(entry), "reached", repr(seconds + microseconds / 1e6))
                client.hset(keys.job(entry), "status", "scheduled")

    def _views(self, entries: list[str], paused: set[str]) -> list[ScheduleView]:
        with self._fleet.redis.pipeline(transaction=False) as pipe:
            for each in entries:
                pipe.zscore(keys.PERIODIC, each)
                pipe.hmget(keys.job(each), "schedule", "type")
                pipe.hmget(keys.schedule(each), "skipped", "missed", "last")
                pipe.zrevrange(keys.schedule_runs(each), 0, 0, withscores=True)
            replies = pipe.execute(raise_on_error=False)
        last = [found[0][0].decode() for found in replies[3::4] if found and isinstance(found, list)]
        known = schedule_runs.statuses(self._fleet.redis, last)
        views = (_view(each, replies[4 * n : 4 * n + 4], known, paused) for n, each in enumerate(entries))
        return [view for view in views if view is not None]


def periodic_type(name: str) -> tuple[JobType[Any], Periodic]:
    """The type of that name and its schedule. Raises NotFound."""
    try:
        job_type = registry.get(name)
    except UnknownJob as error:
        raise NotFound(str(error)) from None
    if job_type.periodic is None:
        raise NotFound(f"{name} has no schedule")
    return job_type, job_type.periodic


def declared(schedule: Periodic) -> dict[str, Any]:
    """What a view tells of an entry as its job type declares it."""
    times = schedule.times
    return {
        "every": times.interval if isinstance(times, Every) else None,
        "cron": times.expression if isinstance(times, Cron) else None,
        "timezone": times.timezone if isinstance(times, Cron) else None,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "catch_up_limit": schedule.catch_up_limit,
    }


def _view(entry: str, replies: list[Any], known: dict[str, JobView], paused: set[str]) -> ScheduleView | None:
    score, latest = replies[0], replies[3]
    try:
        (text, job_type), (skipped, missed, ended) = replies[1:3]
        schedule, name = of_text(text or b""), (job_type or b"").decode()
        counts = int(skipped or 0), int(missed or 0)
    except (InvalidJob, ValueError, TypeError):
        return None
    return ScheduleView(
        id=entry,
        type=name,
        **declared(schedule),
        paused=f"schedule:{name}" in paused,
        next=schedule_runs.due_at(score) if isinstance(score, float) else None,
        last=_last(latest, known, schedule_runs.of_text(ended)),
        skipped=counts[0],
        missed=counts[1],
    )


def _last(latest: Any, known: dict[str, JobView], ended: JobView | None) -> RunView | None:
    if not (latest and isinstance(latest, list)):
        return None
    run_id, score = latest[0][0].decode(), latest[0][1]
    return _run(run_id, score, known.get(run_id) or (ended if ended and ended.id == run_id else None))


def _run(run_id: str, score: float, run: JobView | None) -> RunView:
    return RunView(id=run_id, due=schedule_runs.due_at(score), status=run and run.status, ended_at=run and run.ended_at)
