"""What a job does once, where there is no Redis: rows that change only while the run is still its job's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from jobs.engine.errors import Superseded
from jobs.engine.idempotency import tokens
from jobs.engine.idempotency.steps import MOST_STEPS, Said
from jobs.engine.idempotency.table import STEPS, key_of
from jobs.engine.idempotency.upserts import upsert
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.step import Step

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

TOKEN = "=token"  # noqa: S105  the name of a row
KEY = ("job_id", "name")


class LocalStore:
    """See jobs.engine.idempotency.steps.Store. A row without a result is a step that was begun."""

    __slots__ = ("_execution_id", "_fleet", "_job_id", "_key")

    def __init__(self, fleet: Fleet, job_id: str, execution_id: str, nonce: str = "") -> None:
        self._fleet, self._job_id, self._execution_id = fleet, job_id, execution_id
        self._key = key_of(job_id, nonce)

    def begin(self, name: str, mark: str = "") -> Said:
        """Note that this run begins a step."""
        whoever = f"{self._execution_id} {mark}"
        with steps.step(self._fleet.database) as step:
            if not self._is_current(step):
                return Said("stale")
            known = self._row(step, f":{name}")
            if known is not None and known.result is not None:
                return Said("done", known.result)
            if known is None and self._count(step) >= MOST_STEPS:
                return Said("full")
            self._write(step, f":{name}", None, whoever)
            is_in_doubt = known is not None and known.execution_id != whoever
            return Said("again", known.execution_id) if is_in_doubt else Said("new")

    def end(self, name: str, result: str) -> Said:
        """Note that it is done."""
        with steps.step(self._fleet.database) as step:
            if not self._is_current(step):
                return Said("stale")
            self._write(step, f":{name}", result)
            return Said("ok")

    def drop(self, name: str) -> Said:
        """Note that it did not happen."""
        with steps.step(self._fleet.database) as step:
            if not self._is_current(step):
                return Said("stale")
            step.execute(delete(STEPS).where(*self._its(f":{name}"), STEPS.c.result.is_(None)))
            return Said("ok")

    def token(self) -> int:
        """This run's fencing token: the database's clock in microseconds, or one more than the last of any job."""
        with steps.step(self._fleet.database) as step:
            if not self._is_current(step):
                raise Superseded("this run gets no fencing token: it is no longer the job's")
            last = self._row(step, TOKEN)
            if last is not None and last.execution_id == self._execution_id:
                return int(last.result)
            token = tokens.take(step.connection, step.stamp()[0] * 1000)
            self._write(step, TOKEN, str(token))
            return token

    def _is_current(self, step: Step) -> bool:
        table = tables.jobs.c
        run = table.id == self._job_id, table.execution == self._execution_id, table.status == "started"
        return step.execute(select(table.id).where(*run)).first() is not None

    def _its(self, name: str) -> tuple[Any, Any]:
        return STEPS.c.job_id == self._key, STEPS.c.name == name

    def _row(self, step: Step, name: str) -> Any:
        return step.execute(select(STEPS).where(*self._its(name))).first()

    def _count(self, step: Step) -> int:
        of_job = STEPS.c.job_id == self._key, STEPS.c.name.like(":%")
        return int(step.execute(select(func.count()).select_from(STEPS).where(*of_job)).scalar_one())

    def _write(self, step: Step, name: str, result: str | None, by: str = "") -> None:
        row = {"job_id": self._key, "name": name, "execution_id": by or self._execution_id, "result": result}
        upsert(step.connection, STEPS, [{**row, "done_at": datetime.now(UTC)}], by=KEY)
