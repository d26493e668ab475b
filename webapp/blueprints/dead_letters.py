"""Dead letters for operators: look, group, run again and discard; callers of one tenant have theirs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field, StrictBool, model_validator

from jobs.engine.dead_letters import DeadLetters, Done, Where
from webapp import operators
from webapp.actions import letters as acting
from webapp.api_answers import Cursor, answer, checked
from webapp.schemas import In
from webapp.services import fleet

bp = APIBlueprint("dead_letters", __name__, url_prefix="/admin/queues/api/dead-letters", enable_openapi=False)


class LetterQuery(Where):
    """Which letters, and how many a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None

    @property
    def where(self) -> Where:
        """Without the page."""
        return Where(**self.model_dump(exclude={"limit", "cursor"}))


class Action(In):
    """A dry run of `where`, unless `dry_run` is false: then what the `bound` of one allows; both on from `cursor`."""

    where: Where | None = None
    dry_run: StrictBool = True
    bound: str | None = Field(None, min_length=1, max_length=4000, pattern=r"^[A-Za-z0-9_=-]+$")
    cursor: Cursor = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Action:
        if self.dry_run and self.bound:
            raise ValueError("a dry run takes where, and no bound")
        if not self.dry_run and (self.where or not self.bound):
            raise ValueError("what is no dry run takes the bound of one, and no where")
        return self


@bp.get("")
@operators.at_least("viewer")
@bp.input(LetterQuery, location="query")
def find(query_data: LetterQuery) -> ResponseReturnValue:
    """Letters, the latest first; a page may be short before the end."""
    return answer(checked(lambda: letters().find(query_data.where, **_page(query_data))))


@bp.get("/groups")
@operators.at_least("viewer")
@bp.input(LetterQuery, location="query")
def groups(query_data: LetterQuery) -> ResponseReturnValue:
    """Errors, that of the latest letter first, with how many letters each has."""
    return answer(checked(lambda: letters().groups(query_data.where, **_page(query_data))))


@bp.get("/exhausted")
@operators.at_least("viewer", fleet_wide=True)
def exhausted() -> ResponseReturnValue:
    """How many jobs used up their retries, on each of the last eight days (UTC), by type."""
    days = letters().exhausted()
    return jsonify({"days": [{**day.model_dump(mode="json"), "total": day.total} for day in days]})


@bp.get("/<job_id>")
@operators.at_least("viewer")
def get(job_id: str) -> ResponseReturnValue:
    """One letter with payload, runs and output."""
    return answer(letters().get(job_id, operators.own_tenant()))


@bp.post("/<job_id>/retry")
@operators.at_least("operator")
def retry_one(job_id: str) -> ResponseReturnValue:
    """Run one again."""
    return answer(acting.retry_one(fleet(), operators.operator(), job_id), 202)


@bp.post("/<job_id>/discard")
@operators.at_least("operator")
def discard_one(job_id: str) -> ResponseReturnValue:
    """Throw one away."""
    return answer(acting.discard_one(fleet(), operators.operator(), job_id))


@bp.post("/retry")
@operators.at_least("operator")
@bp.input(Action, location="json")
def retry(json_data: Action) -> ResponseReturnValue:
    """A dry run of `where`; or, with `dry_run` false, run again what is within the `bound` that one gave."""
    return _act(json_data, acting.retry, 202)


@bp.post("/discard")
@operators.at_least("admin")
@bp.input(Action, location="json")
def discard(json_data: Action) -> ResponseReturnValue:
    """Like `retry`, but throws away."""
    return _act(json_data, acting.discard, 200)


def letters() -> DeadLetters:
    """Those of the running application's fleet."""
    return fleet().dead_letters


def _page(query: LetterQuery) -> dict[str, Any]:
    return {"limit": query.limit, "cursor": query.cursor, "tenant": operators.own_tenant()}


def _act(wanted: Action, act: Callable[..., Done], status: int) -> ResponseReturnValue:
    if wanted.dry_run:
        where, own = wanted.where or Where(), operators.own_tenant()
        return answer(checked(lambda: letters().plan(where, own, cursor=wanted.cursor)))
    bound = wanted.bound or ""
    return answer(checked(lambda: act(fleet(), operators.operator(), bound, cursor=wanted.cursor)), status)
