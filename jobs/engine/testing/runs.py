"""Running the jobs of a kit in the calling thread, by the same steps that a pool of local jobs takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from jobs.engine import execute, lanes
from jobs.engine.errors import Cancelled, Expired
from jobs.engine.execute import Run
from jobs.engine.local import claiming, periodic, reporting, settling, tables
from jobs.engine.local import step as steps
from jobs.engine.local.claiming import Room
from jobs.engine.local.moments import moment
from jobs.engine.local.runs import running_of
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.output import Output
from jobs.engine.policy import Policy
from jobs.engine.reports import Report
from jobs.engine.testing.errors import Crash
from jobs.engine.worker.running import Running

if TYPE_CHECKING:
    from jobs.engine.testing.kit import Kit

WORKER = "test"


def claim(kit: Kit) -> Running | None:
    """The next job that may begin at this moment of the kit's clock, begun; None when there is none."""
    queues = list(kit.settings.queue_weights)
    room = Room(1, dict.fromkeys(lanes.concurrency(kit.settings), 1), queues[:1], queues)
    with steps.step(kit.database, durable=False) as step:
        if kit.runs_periodic:
            periodic.run_due(step, kit)
        rows = claiming.claim(step, WORKER, room, kit.limit_counts, kit.windows).rows
    return running_of(rows[0], kit) if rows else None


def finish(kit: Kit, running: Running) -> Outcome:
    """Run a begun job to its end, and settle it as its policy says."""
    ended = _ended_before(kit, running) or _run(kit, running)
    with steps.step(kit.database, durable=False) as step:
        policy = running.policy or Policy()
        settling.settle(step, running.job_id, running.execution_id, ended, policy)
    return ended


def next_due(kit: Kit) -> float | None:
    """When (epoch seconds) the next delayed job or retry is due."""
    with steps.step(kit.database, durable=False) as step:
        return claiming.next_due(step)


def _ended_before(kit: Kit, running: Running) -> Outcome | None:
    if running.cancel_requested:
        return of_error(Cancelled("the job was cancelled"), None, 1)
    now = moment(kit.now.timestamp())
    if now is not None and running.is_past_deadline(now):
        return of_error(Expired("the job had not begun by its deadline"), None, 1)
    return None


def _run(kit: Kit, running: Running) -> Outcome:
    reporter = KitReporter(kit, running)
    try:
        ended = execute.execute(Run(*running.order()), kit, reporter)
    finally:
        reporter.close()
    if ended.error_type == Crash.__name__:
        return Outcome("lost", error_type="WorkerLost", message="the test had its process die")
    return ended


class KitReporter:
    """Writes what a run tells as it comes, and passes it on to whom the test wants to hear of it."""

    def __init__(self, kit: Kit, running: Running) -> None:
        self._kit, self._running = kit, running
        self._output = Output(self._send, running.attempt, lambda _stream, _text: None)

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Progress, or a line that was logged."""
        if kind == "log":
            self._output.log(**value)
            return
        self._write(kind, value)
        hook: Callable[[str, float], None] | None = self._kit.on_progress
        if kind == "progress" and hook is not None:
            hook(value["stage"], value["percent"])

    def stopping(self) -> bool:
        """Whether the test says that the worker is about to end."""
        return self._kit.stopping

    def cancelled(self) -> bool:
        """Whether somebody cancelled the job meanwhile."""
        table = tables.jobs.c
        query = select(table.cancel_requested).where(table.id == self._running.job_id)
        with self._kit.database.read() as session:
            return bool(session.connection().execute(query).scalar())

    def close(self) -> None:
        """The run has ended."""
        self._output.close()

    def _send(self, lines: list[str]) -> None:
        self._write("output", {"lines": "\n".join(lines)})

    def _write(self, kind: str, value: dict[str, Any]) -> None:
        its = self._running
        told = Report(kind, its.job_id, its.execution_id, its.job_type, its.attempt, value)
        with steps.step(self._kit.database, durable=False) as step:
            reporting.report(step, [told])
