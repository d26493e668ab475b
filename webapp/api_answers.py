"""Answers of the operators' API: models as JSON, and cursors and bounds that are none as 422 problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from jobs.engine import NotFound
from webapp import operators
from webapp.errors import Problem

Cursor = Annotated[str | None, Field(max_length=400, pattern=r"^[A-Za-z0-9_=-]*$")]
T = TypeVar("T")


def tenant_of(wanted: str | None) -> str | None:
    """The tenant whose things are asked for, None for everybody's. Raises NotFound where they are not the caller's."""
    own = operators.own_tenant()
    if own is not None and wanted not in (None, own):
        raise NotFound("there is nothing of that tenant")
    return own or wanted


def answer(value: BaseModel, status: int = 200) -> ResponseReturnValue:
    """The model as JSON."""
    return jsonify(value.model_dump(mode="json")), status


def checked(ask: Callable[[], T]) -> T:
    """What it gives; a 422 problem where a cursor or a bound is none of ours."""
    try:
        return ask()
    except ValueError as error:
        place = "json" if request.method == "POST" else "query"
        problems = [{"in": place, "field": "cursor or bound", "message": str(error)}]
        raise Problem(422, "Some fields are not valid; see errors.", errors=problems) from None
