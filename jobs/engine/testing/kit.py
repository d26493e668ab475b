"""The kit: a fleet on a database of its own, whose clock the test moves and whose jobs the test lets run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from sqlalchemy import select, update

from jobs.engine import envelope, fleet, payloads, registry
from jobs.engine.errors import FleetError
from jobs.engine.job_types import JobType
from jobs.engine.ledger.table import JOBS
from jobs.engine.local import periodic
from jobs.engine.local import step as steps
from jobs.engine.local import tables as local
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.payloads import Payload
from jobs.engine.testing import runs, tables
from jobs.engine.testing.errors import Crash, JobFailed, StillBusy
from jobs.engine.testing.in_place import About, InPlace
from jobs.engine.views import JobView
from jobs.settings import Settings

__all__ = ["Crash", "Enqueued", "JobFailed", "Kit", "Mode", "StillBusy"]

Mode = Literal["queue", "inline", "record"]
A_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
"""Encrypts the secret fields of tests."""
MOST_RUNS = 1000


@dataclass(frozen=True)
class Enqueued:
    """A job that was accepted: what it looks like now, and its payload."""

    view: JobView
    payload: Payload

    def __str__(self) -> str:
        when = f", due {self.view.scheduled_for:%H:%M:%S}" if self.view.scheduled_for else ""
        return f"{self.view.type}({self.payload!s}) [{self.view.status}{when}]"


class Kit(LocalFleet):
    """A fleet for tests. Jobs wait until `drain`; in mode "inline" they run as soon as they are enqueued and due, in
    mode "record" never.

    Without settings it has a database of its own, which goes at the end; with settings it uses theirs, which needs the
    project's tables, so that jobs can be enqueued in the test's transactions. Use it in a `with` block.
    """

    __test__ = False

    def __init__(self, settings: Settings | None = None, *, mode: Mode = "queue") -> None:
        if mode not in ("queue", "inline", "record"):
            raise FleetError(f"a kit's mode is queue, inline or record, not {mode!r}")
        self._own = None if settings is not None else tables.fresh()
        given = settings or Settings(environment="test", database_url=f"sqlite:///{self._own}")
        keys = given.encryption_keys or (A_KEY,)
        super().__init__(given.model_copy(update={"use_job_queue": False, "encryption_keys": keys}))
        self.mode = mode
        self.stopping = self.runs_periodic = False
        """Whether jobs see their worker stop; whether periodic jobs run when they are due (`begin_periodic`)."""
        self.on_progress: Callable[[str, float], None] | None = None
        """Called with stage and percent whenever a job reports; it may raise `Crash`, or cancel the job."""
        self._is_running = self._is_closed = False
        self._before: list[fleet.Fleet] = []
        self.in_place = InPlace(self)

    def __enter__(self) -> Self:
        self._before = fleet.replace_current([self])
        steps.on_change(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        fleet.replace_current(self._before)

    @property
    def now(self) -> datetime:
        """The kit's time."""
        return datetime.now(UTC) + steps.ahead(self.database.engine)

    def move(self, by: timedelta) -> None:
        """Move the clock; jobs that are due by then run at once in mode "inline", and at the next `drain` otherwise."""
        if by < timedelta(0):
            raise FleetError("the clock of a kit goes forward only")
        steps.move_clock(self.database.engine, by)
        self.changed()

    def begin_periodic(self) -> None:
        """From now on what is declared with `every=` or `cron=` runs when the clock is moved over its times."""
        self.runs_periodic = True
        with steps.step(self.database) as step:
            periodic.synchronise(step, self)

    def drain(self, *, forward: bool = False, check: bool = False, most: int = MOST_RUNS) -> list[JobView]:
        """Run all that may run, and what that enqueues, until there is nothing; returns the jobs, in their order.

        `forward` moves the clock to the next delayed job or retry as long as there is one. Raises JobFailed for a job
        that fails for good where `check` says that none should, and StillBusy after `most` runs.
        """
        if self.mode == "record":
            raise FleetError('this kit only records: make it with mode="queue" to run its jobs')
        seen: dict[str, None] = {}
        with self._running():
            for _ in range(most):
                if (running := runs.claim(self)) is None:
                    if not (forward and self._move_on()):
                        return [view for view in self.jobs.get_many(list(seen)) if view is not None]
                    continue
                seen[running.job_id] = None
                ended = runs.finish(self, running)
                if check and ended.kind in ("failed", "quarantined"):
                    raise JobFailed(f"{running.job_type} {running.job_id} failed:\n{ended.traceback}")
        raise StillBusy(f"{most} runs, and there is more to do: {self._told(self.enqueued()[-5:])}")

    def run(self, job_type: JobType[Any] | str, payload: Payload | Mapping[str, Any], **about: Unpack[About]) -> Any:
        """Call a job's function here and now, and return what it returns or raise what it raises; see `InPlace.run`."""
        return self.in_place.run(job_type, payload, **about)

    def run_again(self, job_id: str) -> JobView:
        """Run an ended job once more, as if its outcome had been lost; returns it as it is then. Raises NotFound."""
        self.jobs.get(job_id)
        with steps.step(self.database) as step:
            table = local.jobs
            step.execute(update(table).where(table.c.id == job_id).values(status="queued", attempts=0, expires=None))
        with self._running():
            while (running := runs.claim(self)) is not None:
                runs.finish(self, running)
                if running.job_id == job_id:
                    break
        return self.jobs.get(job_id)

    def enqueued(self, job_type: JobType[Any] | str | None = None) -> list[Enqueued]:
        """Every job that was accepted, or those of one type, in their order."""
        query = select(JOBS.c.id, JOBS.c.type, JOBS.c.data).order_by(JOBS.c.number)
        if job_type is not None:
            query = query.where(JOBS.c.type == _name(job_type))
        with self.database.read() as session:
            rows = session.connection().execute(query).all()
        views = self.jobs.get_many([row.id for row in rows])
        return [Enqueued(view, self._payload(row)) for row, view in zip(rows, views, strict=True) if view is not None]

    def assert_enqueued(self, job_type: JobType[Any] | str, count: int | None = None, **fields: Any) -> list[Enqueued]:
        """The jobs of that type whose payloads have these values: one at least, or exactly `count`.

        Raises AssertionError that lists what was enqueued instead.
        """
        found = [each for each in self.enqueued(job_type) if _has(each.payload, fields)]
        if len(found) != count if count is not None else not found:
            wanted = "no" if count == 0 else "a" if count is None else str(count)
            with_fields = f" with {fields}" if fields else ""
            raise AssertionError(
                f"expected {wanted} {_name(job_type)}{with_fields}, found {len(found)}; enqueued were:\n"
                f"{self._told(self.enqueued())}"
            )
        return found

    def assert_nothing_enqueued(self) -> None:
        """Raises AssertionError that lists what was enqueued."""
        if everything := self.enqueued():
            raise AssertionError(f"nothing was to be enqueued; there are:\n{self._told(everything)}")

    def changed(self) -> None:
        """Something was committed; the kit runs it in mode "inline"."""
        if self.mode == "inline" and not (self._is_running or self._is_closed):
            self.drain()

    def close(self) -> None:
        """Give up the database; one of its own is removed."""
        self._is_closed = True
        steps.forget_clock(self.database.engine)
        super().close()
        if self._own is not None:
            shutil.rmtree(Path(self._own).parent, ignore_errors=True)

    def _payload(self, row: Any) -> Payload:
        name, text, _headers = envelope.decode(bytes(row.data)).args
        payload: Payload = payloads.load(registry.get(name).payload_type, text, self.keys.decrypt)
        return payload

    def _move_on(self) -> bool:
        due = runs.next_due(self)
        if due is None:
            return False
        steps.move_clock(self.database.engine, max(timedelta(0), timedelta(seconds=due) - _since_epoch(self.now)))
        return True

    @contextmanager
    def _running(self) -> Iterator[None]:
        if self._is_running:
            raise FleetError("a job can't drain the kit that runs it")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    def _told(self, jobs: list[Enqueued]) -> str:
        return "\n".join(f"  {each}" for each in jobs) or "  nothing"


def _name(job_type: JobType[Any] | str) -> str:
    return job_type if isinstance(job_type, str) else job_type.name


def _has(payload: Payload, fields: Mapping[str, Any]) -> bool:
    return all(getattr(payload, name, fields) == value for name, value in fields.items())


def _since_epoch(at: datetime) -> timedelta:
    return timedelta(seconds=at.timestamp())
