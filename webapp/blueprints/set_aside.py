"""What was taken out of schedules because nobody can read it, for operators: list and throw away."""

from __future__ import annotations

from typing import Annotated

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp import operators
from webapp.actions import set_aside as acting
from webapp.api_answers import answer
from webapp.schemas import In
from webapp.services import fleet

bp = APIBlueprint("set_aside", __name__, url_prefix="/admin/queues/api/set-aside", enable_openapi=False)


class AsideQuery(In):
    """`limit` a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str | None, Field(pattern=r"^\d{1,6}$")] = None


class Ids(In):
    """Which to throw away, as the list tells them."""

    ids: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(min_length=1, max_length=200)


@bp.get("")
@operators.at_least("viewer", fleet_wide=True)
@bp.input(AsideQuery, location="query")
def find(query_data: AsideQuery) -> ResponseReturnValue:
    """The latest first, each with its schedule and why it was taken out."""
    return answer(fleet().set_aside.find(limit=query_data.limit, cursor=query_data.cursor))


@bp.post("/discard")
@operators.at_least("operator", fleet_wide=True)
@bp.input(Ids, location="json")
def discard(json_data: Ids) -> ResponseReturnValue:
    """Throw away, with what is left of the jobs; the answer has those that were there."""
    return answer(acting.discard(fleet(), operators.operator(), json_data.ids))
