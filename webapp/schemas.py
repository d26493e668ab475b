"""What the API takes and gives: one pydantic model a document, which the routes check and OpenAPI shows."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from jobs.engine import JobView, LogLine
from jobs.engine.moments import Moment
from jobs.engine.views import Status

PRINTABLE = r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
KEY = r"^[!-~]+$"
SLUG = r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"

ROW_ID = r"^[0-9a-f]{32}$"
PATH_PATTERNS = {
    "slug": SLUG,
    "document_id": ROW_ID,
    "source_id": ROW_ID,
    "job_id": r"^[A-Za-z0-9_-]{1,128}$",
    "workflow_id": r"^[A-Za-z0-9_-]{1,64}$",
}


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("control characters are not allowed")
    return text


Line = Annotated[str, Field(pattern=PRINTABLE), AfterValidator(_printable)]
Cursor = Annotated[str | None, Field(max_length=200, pattern=r"^[A-Za-z0-9_=-]*$")]


class In(BaseModel):
    """A body: unknown members are refused, so that nobody assigns a tenant."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Out(BaseModel):
    """An answer, read from rows or values of the same attribute names."""

    model_config = ConfigDict(from_attributes=True)


class PageQuery(BaseModel):
    """`limit` items a page, beginning after `cursor` (the last page's `next_cursor`)."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = None


class SearchQuery(BaseModel):
    """What to look for, and how many passages at most."""

    model_config = ConfigDict(str_strip_whitespace=True)

    q: Line = Field(min_length=1, max_length=1000)
    limit: int = Field(10, ge=1, le=50)


class JobsQuery(PageQuery):
    """Which durable jobs: by state, type, when they were enqueued, the value of a searchable field, and words."""

    model_config = ConfigDict(str_strip_whitespace=True)

    state: Status | None = None
    type: str | None = Field(None, max_length=200, pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    since: Moment | None = None
    until: Moment | None = None
    field: str | None = Field(None, max_length=100, pattern=r"^[a-z_][a-z0-9_]*$")
    value: Line | None = Field(None, max_length=1000)
    q: Line | None = Field(None, max_length=1000)
    cursor: Annotated[str | None, Field(max_length=19, pattern=r"^[0-9]+$")] = None


class WaitQuery(BaseModel):
    """Wait for the job to end, up to `wait` seconds."""

    wait: float = Field(0, ge=0, le=30, allow_inf_nan=False)


class CancelQuery(BaseModel):
    """With `cascade` also what waits for the job is cancelled."""

    cascade: bool = False


class IdempotencyHeaders(BaseModel):
    """A key of the client's choice: the same key and content are answered as the first time, and stored once."""

    idempotency_key: str | None = Field(
        None,
        validation_alias=AliasChoices("Idempotency-Key", "idempotency_key"),
        min_length=1,
        max_length=255,
        pattern=KEY,
    )


class LogQuery(BaseModel):
    """Only lines after the one with this id."""

    after: str | None = Field(None, pattern=r"^[0-9]{1,18}(-[0-9]{1,18})?$")


class Replay(In):
    """The node to run again, with everything after it."""

    node: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")


class NewWorkspace(In):
    """A workspace's short name for URLs and its name for people."""

    slug: str = Field(pattern=SLUG)
    name: Line = Field(min_length=1, max_length=200)


class Workspace(Out):
    """A place for documents that are searched together."""

    id: str
    slug: str
    name: str
    created_at: Moment


class WorkspacePage(Out):
    """Workspaces, oldest first."""

    items: list[Workspace]
    next_cursor: str | None = None


class Document(Out):
    """A file and what became of it; `error` is a sentence for people."""

    id: str
    name: str
    media_type: str | None
    size: int
    sha256: str
    status: str
    error: str | None
    job_id: str | None
    pages: int | None
    passages: int
    embedding_model: str | None
    source_id: str | None
    created_at: Moment
    updated_at: Moment


class DocumentPage(Out):
    """Documents, newest first."""

    items: list[Document]
    next_cursor: str | None = None


class UploadedFile(Out):
    """One posted file: its document and job, or the reason why there are none.

    `queued` says where the job is: in Redis, in the ledger while Redis is away, or with this server's own pool.
    """

    id: str | None = None
    name: str
    status: str
    job_id: str | None = None
    error: str | None = None
    queued: Literal["redis", "ledger", "local"] | None = None


class UploadAccepted(Out):
    """The posted files in the order in which they came."""

    documents: list[UploadedFile]


class Hit(Out):
    """A passage that answers a query; `highlights` are [start, end) offsets in `text`."""

    document_id: str
    document_name: str
    passage_id: str
    text: str
    page: int | None
    section: str | None
    score: float
    highlights: list[list[int]]


class SearchResult(Out):
    """The passages found, best first."""

    query: str
    hits: list[Hit]


class NewSource(In):
    """Where documents are synchronised from: an http(s) URL or a prefix of the storage."""

    kind: Literal["url", "prefix"]
    location: Line = Field(min_length=1, max_length=2000)


class Source(Out):
    """A place that documents are synchronised from."""

    id: str
    kind: str
    location: str
    created_at: Moment
    last_synced_at: Moment | None


class SourcePage(Out):
    """The sources of a workspace."""

    items: list[Source]
    next_cursor: str | None = None


class JobPage(Out):
    """Durable jobs, newest first."""

    items: list[JobView]
    next_cursor: str | None = None


class LogPage(Out):
    """What a job printed and logged, oldest first."""

    items: list[LogLine]


class FieldProblem(Out):
    """What is wrong with one field, and where the field was."""

    model_config = ConfigDict(populate_by_name=True)

    place: str = Field(alias="in")
    field: str
    message: str


class ProblemDocument(Out):
    """RFC 9457: what went wrong; the correlation id finds it in the logs."""

    type: str
    title: str
    status: int
    detail: str
    correlation_id: str
    errors: list[FieldProblem] | None = None
    documents: list[UploadedFile] | None = None
