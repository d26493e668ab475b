"""Dead letters for operators: look, group, run again and discard; of all tenants, behind the administrator's login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from apiflask import APIBlueprint
from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field, StrictBool, model_validator

from jobs.engine.dead_letters import DeadLetters, Done, Where
from webapp import operators
from webapp.errors import Problem
from webapp.schemas import In
from webapp.services import fleet
from webapp.sessions import SAFE_METHODS

bp = APIBlueprint("dead_letters", __name__, url_prefix="/admin/queues/api/dead-letters", enable_openapi=False)

AT_ONCE = 1_000
"""Letters that one request runs again or discards; its answer says how to go on."""
Cursor = Annotated[str | None, Field(max_length=400, pattern=r"^[A-Za-z0-9_=-]*$")]


class GroupQuery(In):
    """`limit` items a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None


class LetterQuery(Where):
    """Which letters, and how many a page."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None

    @property
    def where(self) -> Where:
        """Without the page."""
        return Where(**self.model_dump(exclude={"limit", "cursor"}))


class Action(In):
    """A dry run of `where`, unless `dry_run` is false: then what the `bound` of a dry run allows, on from `cursor`."""

    where: Where | None = None
    dry_run: StrictBool = True
    bound: str | None = Field(None, min_length=1, max_length=4000, pattern=r"^[A-Za-z0-9_=-]+$")
    cursor: Cursor = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Action:
        if self.dry_run and (self.bound or self.cursor):
            raise ValueError("a dry run takes where, and no bound or cursor")
        if not self.dry_run and (self.where or not self.bound):
            raise ValueError("what is no dry run takes the bound of one, and no where")
        return self


@bp.before_request
def guard() -> Any:
    """Viewers look and operators act; of all tenants."""
    return operators.admit("viewer" if request.method in SAFE_METHODS else "operator", fleet_wide=True)


@bp.get("")
@bp.input(LetterQuery, location="query")
def find(query_data: LetterQuery) -> ResponseReturnValue:
    """Letters, the latest first; a page may be short before the end."""
    return _answer(_checked(lambda: letters().find(query_data.where, limit=query_data.limit, cursor=query_data.cursor)))


@bp.get("/groups")
@bp.input(GroupQuery, location="query")
def groups(query_data: GroupQuery) -> ResponseReturnValue:
    """Errors, that of the latest letter first, with how many letters each has."""
    return _answer(_checked(lambda: letters().groups(limit=query_data.limit, cursor=query_data.cursor)))


@bp.get("/exhausted")
def exhausted() -> ResponseReturnValue:
    """How many jobs used up their retries, on each of the last eight days (UTC), by type."""
    days = letters().exhausted()
    return jsonify({"days": [{**day.model_dump(mode="json"), "total": day.total} for day in days]})


@bp.get("/<job_id>")
def get(job_id: str) -> ResponseReturnValue:
    """One letter with payload, runs and output."""
    return _answer(letters().get(job_id))


@bp.post("/<job_id>/retry")
def retry_one(job_id: str) -> ResponseReturnValue:
    """Run one again."""
    return _answer(letters().retry_one(job_id, by=operators.operator().subject), 202)


@bp.post("/<job_id>/discard")
def discard_one(job_id: str) -> ResponseReturnValue:
    """Throw one away."""
    return _answer(letters().discard_one(job_id, by=operators.operator().subject))


@bp.post("/retry")
@bp.input(Action, location="json")
def retry(json_data: Action) -> ResponseReturnValue:
    """A dry run of `where`; or, with `dry_run` false, run again what is within the `bound` that one gave."""
    return _act(json_data, letters().retry, 202)


@bp.post("/discard")
@bp.input(Action, location="json")
def discard(json_data: Action) -> ResponseReturnValue:
    """Like `retry`, but throws away."""
    return _act(json_data, letters().discard, 200)


def letters() -> DeadLetters:
    """Those of the running application's fleet."""
    return fleet().dead_letters


def _act(wanted: Action, act: Callable[..., Done], status: int) -> ResponseReturnValue:
    if wanted.dry_run:
        return _answer(letters().plan(wanted.where or Where()))
    bound, by = wanted.bound or "", operators.operator().subject
    return _answer(_checked(lambda: act(bound, by=by, most=AT_ONCE, cursor=wanted.cursor)), status)


def _checked(ask: Callable[[], BaseModel]) -> BaseModel:
    """What it gives; a 422 problem where a cursor or a bound is none of ours."""
    try:
        return ask()
    except ValueError as error:
        place = "json" if request.method == "POST" else "query"
        problems = [{"in": place, "field": "cursor or bound", "message": str(error)}]
        raise Problem(422, "Some fields are not valid; see errors.", errors=problems) from None


def _answer(value: BaseModel, status: int = 200) -> ResponseReturnValue:
    return jsonify(value.model_dump(mode="json")), status
