"""What runs tell while they last: progress, output and checkpoints, each only while the run is still its job's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from jobs.engine.checkpoints import Checkpoints, as_text
from jobs.engine.event_format import written
from jobs.engine.idempotency.steps import Store
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.once import LocalStore
from jobs.engine.local.step import Step
from jobs.engine.output import MOST_LINES
from jobs.engine.reports import Report

SLACK = 100


def report(step: Step, reports: Iterable[Report]) -> None:
    """Write progress and output."""
    rows: dict[tuple[str, str], Any] = {}
    for each in reports:
        run = each.job_id, each.execution_id
        if run not in rows:
            rows[run] = _row(step, *run)
        if rows[run] is None:
            continue
        if each.kind == "progress":
            _progress(step, rows[run], each.value)
        else:
            _output(step, rows[run], str(each.value["lines"]))


class LocalCheckpoints(Checkpoints):
    """See jobs.engine.checkpoints.Checkpoints."""

    def load(self, nonce: str = "") -> Any:
        """What was saved last, None when nothing was. Raises BrokerUnavailable."""
        table = tables.jobs.c
        with steps.unavailable(), self._fleet.database.read() as session:
            text = session.connection().execute(select(table.checkpoint).where(table.id == self._job_id)).scalar()
        return None if text is None else json.loads(text)

    def steps(self, nonce: str = "") -> Store:
        """Where the steps are kept of the job that was accepted with this nonce."""
        return LocalStore(self._fleet, self._job_id, self._execution_id, nonce)

    def save(self, data: Any, nonce: str = "") -> bool:
        """Replace it; False when this run is no longer the job's. Raises Permanent, BrokerUnavailable."""
        table, text = tables.jobs, as_text(data)
        with steps.step(self._fleet.database) as step:
            run = table.c.id == self._job_id, table.c.execution == self._execution_id, table.c.status == "started"
            return bool(step.execute(update(table).where(*run).values(checkpoint=text)).rowcount)


def _row(step: Step, job_id: str, execution: str) -> Any:
    table = tables.jobs
    run = table.c.id == job_id, table.c.execution == execution, table.c.status == "started"
    return step.execute(select(table).where(*run)).first()


def _progress(step: Step, row: Any, value: dict[str, Any]) -> None:
    table = tables.jobs
    step.execute(update(table).where(table.c.id == row.id).values(progress=json.dumps(value)))
    step.job_event(row, "job:progress", **value)


def _output(step: Step, row: Any, text: str) -> None:
    told = []
    for line in filter(None, text.split("\n")):
        at = step.stamp()
        step.execute(insert(tables.lines).values(job_id=row.id, ms=at[0], number=at[1], line=line))
        told.append({"id": written(at), **json.loads(line)})
    data = {"job_id": row.id, "type": row.type, "attempt": row.attempts, "lines": told}
    step.emit(row.topics.split(",")[0], "job:output", json.dumps(data, separators=(",", ":")))
    _cap(step, row.id)


def _cap(step: Step, job_id: str) -> None:
    table = tables.lines
    of_job = table.c.job_id == job_id
    count = step.execute(select(func.count()).select_from(table).where(of_job)).scalar_one()
    if count <= MOST_LINES + SLACK:
        return
    newest = select(table.c.ms, table.c.number).where(of_job).order_by(table.c.ms.desc(), table.c.number.desc())
    last = step.execute(newest.offset(MOST_LINES).limit(1)).one()
    older = (table.c.ms < last.ms) | ((table.c.ms == last.ms) & (table.c.number <= last.number))
    step.execute(delete(table).where(of_job, older))
