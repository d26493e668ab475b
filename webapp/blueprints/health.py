"""Liveness, readiness and the health document."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue

bp = APIBlueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process answers; nothing else is asked."""
    return {"status": "ok"}
