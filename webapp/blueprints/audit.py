"""The audit log for admins: what operators did, newest first; an admin of one tenant sees what was about that."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from jobs.engine.moments import Moment
from webapp import operators
from webapp.api_answers import Cursor, answer, tenant_of
from webapp.schemas import Line
from webapp.services import fleet

bp = APIBlueprint("audit_api", __name__, url_prefix="/admin/queues/api/audit", enable_openapi=False)

Text = Annotated[Line | None, Field(min_length=1, max_length=200)]


class AuditQuery(BaseModel):
    """Which lines, and how many a page, beginning after `cursor` (the last page's `next_cursor`).

    `action` is a beginning (`job.`), `target` and `text` are parts whatever their case, or the whole id of a job that
    was changed with others; the rest is compared whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    subject: Text = None
    role: Literal["viewer", "operator", "admin", "none"] | None = None
    how: Literal["page", "api", "shell"] | None = None
    action: Text = None
    target: Text = None
    text: Text = None
    tenant: Text = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None

    def wanted(self) -> dict[str, Any]:
        """What `AuditLog.search` takes, for who asks. Raises NotFound for another tenant's lines."""
        return self.model_dump() | {"tenant": tenant_of(self.tenant)}


class JobsQuery(BaseModel):
    """`limit` jobs a page, beginning after `after` (the last page's `next_after`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(-1, ge=-1, le=1_000_000)


@bp.get("")
@operators.at_least("admin")
@bp.input(AuditQuery, location="query")
def find(query_data: AuditQuery) -> ResponseReturnValue:
    """Lines of which all that is asked for holds, newest first."""
    return answer(fleet().audit.search(**query_data.wanted()))


@bp.get("/<line_id>/jobs")
@operators.at_least("admin")
@bp.input(JobsQuery, location="query")
def jobs(line_id: str, query_data: JobsQuery) -> ResponseReturnValue:
    """The jobs that a line about many of them is about, each with its state before and after."""
    asked = query_data.model_dump()
    return answer(fleet().audit.jobs(line_id, operators.own_tenant(), **asked))
