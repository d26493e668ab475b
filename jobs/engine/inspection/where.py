"""Which jobs are looked for: what has to hold of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jobs.engine.moments import Moment
from jobs.engine.searching import as_text
from jobs.engine.views import rfc3339

State = Literal["queued", "scheduled", "deferred", "started", "completed", "failed", "cancelled", "quarantined"]
ANY_STATE: tuple[State, ...] = (
    *("started", "queued", "scheduled", "deferred"),
    *("failed", "quarantined", "cancelled", "completed"),
)
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FIELD = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+){0,4}$"
_STANDS_AS_IT_IS = re.compile(r"[A-Za-z0-9_./: @-]{1,1000}")
"""Values that are written the same in a payload's JSON, however that was made: none with an escape."""
_NUMBER_OF_MANY_FORMS = re.compile(r"-?[0-9.]+[eE.][0-9+-]*")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Lua knows no other letters."""


def _printable(text: str) -> str:
    if any(character < " " or "\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("control characters are not allowed")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]


class Where(BaseModel):
    """Which jobs: those of which everything holds that is given.

    `since` and `until` bound when they were enqueued; `error` is a part of their error, whatever its case; `field`
    (within an object `outer.inner`) and `value` are of their payload; `text` is a job's id, or a part of an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    state: State | None = None
    type: Text | None = None
    tenant: Annotated[str, Field(max_length=200), AfterValidator(_printable)] | None = None
    queue: Text | None = None
    lane: Text | None = None
    error: Text | None = None
    text: Text | None = None
    field: Annotated[str, Field(max_length=200, pattern=_FIELD)] | None = None
    value: Annotated[str, Field(max_length=1000), AfterValidator(_printable)] | None = None
    since: Moment | None = None
    until: Moment | None = None

    @model_validator(mode="after")
    def _names_field_and_value(self) -> Self:
        if (self.field is None) != (self.value is None):
            raise ValueError("field and value belong together")
        return self

    @property
    def states(self) -> Sequence[State]:
        """The states that are meant."""
        return ANY_STATE if self.state is None else (self.state,)

    def of_tenant(self, tenant: str | None) -> Self | None:
        """The same, of this tenant's jobs alone where one is given; None where another's are asked for."""
        if tenant is None or self.tenant == tenant:
            return self
        return self.model_copy(update={"tenant": tenant}) if self.tenant is None else None

    def has_value(self, payload: Any) -> bool:
        """Whether a payload, credentials struck out, has the value that is looked for."""
        if self.field is None:
            return True
        for name in self.field.split("."):
            if not isinstance(payload, dict) or name not in payload:
                return False
            payload = payload[name]
        return payload is not None and as_text(payload) == as_text(self.value)

    def wanted(self) -> dict[str, Any]:
        """What look.lua compares."""
        names = {"type", "tenant", "queue", "lane"}
        wanted: dict[str, Any] = self.model_dump(include=names, exclude_none=True)
        if errors := [words.translate(_LOWER) for words in (self.error, self.text) if words is not None]:
            wanted["errors"] = errors
        if self.since is not None:
            wanted["since"] = rfc3339(self.since)
        if self.until is not None:
            wanted["until"] = rfc3339(self.until)
        if self.field is not None:
            wanted["payload"] = True
            if stands_as_it_is(self.value or ""):
                wanted["value"] = self.value
        return wanted


def stands_as_it_is(value: str) -> bool:
    """Whether a payload with that value has these very characters in it."""
    return bool(_STANDS_AS_IT_IS.fullmatch(value)) and not _NUMBER_OF_MANY_FORMS.fullmatch(value)
