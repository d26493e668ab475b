"""Single jobs for operators: search in Redis and the ledger, all that is kept of one, actions on one and on many."""

from __future__ import annotations

from typing import Annotated

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue
from pydantic import Field, StrictBool, model_validator

from jobs.engine.inspection import Verb, Where, bound_of
from webapp import operators
from webapp.actions import jobs as acting
from webapp.api_answers import answer, checked
from webapp.schemas import In, LogPage, LogQuery
from webapp.services import fleet

bp = APIBlueprint("jobs_console", __name__, url_prefix="/admin/queues/api/jobs", enable_openapi=False)

Word = Annotated[str | None, Field(min_length=1, max_length=8000, pattern=r"^[A-Za-z0-9_=-]+$")]
"""A bound or a cursor: one with many queues in it is long."""


class FindQuery(Where):
    """Which jobs, and how many a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Word = None

    @property
    def where(self) -> Where:
        """Without the page."""
        return Where(**self.model_dump(exclude={"limit", "cursor"}))


class Cancelling(In):
    """With `cascade` also what waits for the job is cancelled."""

    cascade: StrictBool = False


class Promoting(In):
    """With `front` it goes before all others of its queue, and else behind them."""

    front: StrictBool = True


class Bulk(In):
    """A dry run of `verb` on `where`, unless `dry_run` is false: then what a `bound` allows; both on from `cursor`."""

    verb: Verb | None = None
    where: Where | None = None
    dry_run: StrictBool = True
    bound: Word = None
    cursor: Word = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Bulk:
        if self.dry_run and (self.bound or not self.verb):
            raise ValueError("a dry run takes a verb and where, and no bound")
        if not self.dry_run and (self.where or self.verb or not self.bound):
            raise ValueError("what is no dry run takes the bound of one, and neither verb nor where")
        return self


@bp.get("")
@operators.at_least("viewer")
@bp.input(FindQuery, location="query")
def find(query_data: FindQuery) -> ResponseReturnValue:
    """Jobs, the latest first; a page may be short before the end, and says at how many entries it looked."""
    where, limit, cursor, own = query_data.where, query_data.limit, query_data.cursor, operators.own_tenant()
    return answer(checked(lambda: fleet().inspection.find(where, own, limit=limit, cursor=cursor)))


@bp.get("/<job_id>")
@operators.at_least("viewer")
def get(job_id: str) -> ResponseReturnValue:
    """One job with its runs, output, payload, policy, relations and events, and why it waits."""
    return answer(fleet().inspection.get(job_id, operators.own_tenant()))


@bp.get("/<job_id>/log")
@operators.at_least("viewer")
@bp.input(LogQuery, location="query")
def log(job_id: str, query_data: LogQuery) -> ResponseReturnValue:
    """What the job printed and logged, its newest 1,002 lines, oldest first; go on `after` the last line's id."""
    return answer(LogPage(items=fleet().jobs.log(job_id, operators.own_tenant(), after=query_data.after)))


@bp.post("/<job_id>/retry")
@operators.at_least("operator")
def retry(job_id: str) -> ResponseReturnValue:
    """Run a failed, cancelled or quarantined job again, with all its retries; 409 in any other state."""
    return answer(acting.retry(fleet(), operators.operator(), job_id), 202)


@bp.post("/<job_id>/cancel")
@operators.at_least("operator")
@bp.input(Cancelling, location="json")
def cancel(job_id: str, json_data: Cancelling) -> ResponseReturnValue:
    """Cancel a job that waits or runs; 409 when it has ended."""
    return answer(acting.cancel(fleet(), operators.operator(), job_id, cascade=json_data.cascade))


@bp.post("/<job_id>/promote")
@operators.at_least("operator")
@bp.input(Promoting, location="json")
def promote(job_id: str, json_data: Promoting) -> ResponseReturnValue:
    """Have a delayed job begin now, or one that waits go first; 409 in any other state."""
    return answer(acting.promote(fleet(), operators.operator(), job_id, front=json_data.front))


@bp.post("/<job_id>/discard")
@operators.at_least("operator")
def discard(job_id: str) -> ResponseReturnValue:
    """Throw an ended job away with all that is kept of it; 409 when it has not ended."""
    return answer(acting.discard(fleet(), operators.operator(), job_id))


@bp.post("/bulk")
@operators.at_least("operator")
@bp.input(Bulk, location="json")
def bulk(json_data: Bulk) -> ResponseReturnValue:
    """A dry run; or, with `dry_run` false, what its bound says. To discard many takes the role admin."""
    by, cursor = operators.operator(), json_data.cursor
    if json_data.dry_run:
        where, verb = json_data.where or Where(), str(json_data.verb)
        return answer(checked(lambda: fleet().inspection.plan(where, verb, by.tenant, cursor=cursor)))
    bound = json_data.bound or ""
    admit_bulk(checked(lambda: bound_of(bound)).verb)
    return answer(checked(lambda: acting.carry_out(fleet(), by, bound, cursor=cursor)), 202)


def admit_bulk(verb: str) -> None:
    """What deletes many for good takes the role admin. Raises a 403 problem."""
    if verb == "discard":
        operators.admit("admin")
