"""Calling one job's function in the test, with everything around it that a run has but the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import uuid4

from jobs.engine import payloads, registry
from jobs.engine.checkpoints import Checkpoints, as_text
from jobs.engine.context import Context
from jobs.engine.idempotency.steps import Said, Store
from jobs.engine.job_types import JobType
from jobs.engine.payloads import Payload
from jobs.engine.providers import Providers
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

OnProgress = Callable[[str, float], None]
Steps = dict[str, tuple[str, str | None]]
"""Who did each step, and its result: None where it was only begun."""


class About(TypedDict, total=False):
    """What a test may say of a run; a new job's first, of the payload's `tenant_id`, unless it says otherwise."""

    job_id: str
    execution_id: str
    tenant: str
    attempt: int
    correlation_id: str
    settings: Settings
    on_progress: OnProgress | None
    cancelled: Callable[[], bool]
    stopping: Callable[[], bool]


class InPlace:
    """Runs jobs that were never enqueued; checkpoints and steps are kept by job id as long as this is there.

    The fleet may be a kit or any other.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._checkpoints: dict[str, str] = {}
        self._steps: dict[str, Steps] = {}

    def run(self, job_type: JobType[Any] | str, payload: Payload | Mapping[str, Any], **about: Unpack[About]) -> Any:
        """Call a job's function and return what it returns, or raise what it raises.

        The payload goes to JSON and back, secrets encrypted; the middlewares are around the call. Raises
        InvalidPayload. Calling it again with the same `job_id` is a later run of that job.
        """
        declared = registry.get(job_type) if isinstance(job_type, str) else job_type
        given = payloads.validate(declared.payload_type, payload)
        text = payloads.dump(given, self._fleet.keys.encrypt)
        about.setdefault("tenant", str(getattr(given, "tenant_id", "")))
        loaded = payloads.load(declared.payload_type, text, self._fleet.keys.decrypt)
        return self._fleet.middleware.run(declared, loaded, self.context(declared, **about))

    def context(self, job_type: JobType[Any] | str, **about: Unpack[About]) -> Context:
        """What such a run is given, to call a part of a job with it."""
        declared = registry.get(job_type) if isinstance(job_type, str) else job_type
        policy = self._fleet.policy(declared)
        job_id, execution_id = about.get("job_id") or uuid4().hex, about.get("execution_id") or uuid4().hex
        asked = about.get("on_progress"), about.get("cancelled", _never), about.get("stopping", _never)
        return Context(
            job_id=job_id,
            execution_id=execution_id,
            job_type=declared.name,
            attempt=about.get("attempt", 1),
            max_retries=policy.retry.max_retries,
            tenant=about.get("tenant", ""),
            correlation_id=about.get("correlation_id", ""),
            settings=about.get("settings", self._fleet.settings),
            reporter=Reporter(*asked),
            checkpoints=MemoryCheckpoints(self._checkpoints, self._steps.setdefault(job_id, {}), job_id, execution_id),
            providers=Providers(self._fleet.breakers, policy.lane),
            timeout_seconds=None if policy.timeout is None else policy.timeout.total_seconds(),
        )


class Reporter:
    """Passes progress on to the test, and says what the test says."""

    def __init__(
        self, on_progress: OnProgress | None, cancelled: Callable[[], bool], stopping: Callable[[], bool]
    ) -> None:
        self._on_progress, self.cancelled, self.stopping = on_progress, cancelled, stopping

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Progress; log lines go to the process's log only."""
        if kind == "progress" and self._on_progress is not None:
            self._on_progress(value["stage"], value["percent"])


class MemoryCheckpoints(Checkpoints):
    """Checkpoint and steps of a job, kept in the kit."""

    __slots__ = ("_kept", "_steps")

    def __init__(self, kept: dict[str, str], steps: Steps, job_id: str, execution_id: str) -> None:
        self._kept, self._steps, self._job_id, self._execution_id = kept, steps, job_id, execution_id

    def load(self, nonce: str = "") -> Any:
        """What was saved last."""
        text = self._kept.get(self._job_id)
        return None if text is None else json.loads(text)

    def save(self, data: Any, nonce: str = "") -> bool:
        """Replace it."""
        self._kept[self._job_id] = as_text(data)
        return True

    def steps(self, nonce: str = "") -> Store:
        """The job's steps; it was never accepted, so it is one job."""
        return MemoryStore(self._steps, self._execution_id)


class MemoryStore:
    """See jobs.engine.idempotency.steps.Store."""

    def __init__(self, steps: Steps, execution_id: str) -> None:
        self._steps, self._execution_id = steps, execution_id

    def begin(self, name: str, mark: str = "") -> Said:
        """Note that this run begins a step."""
        whoever = f"{self._execution_id} {mark}"
        by, result = self._steps.get(name, (whoever, None))
        if result is not None:
            return Said("done", result)
        self._steps[name] = whoever, None
        return Said("new") if by == whoever else Said("again", by)

    def end(self, name: str, result: str) -> Said:
        """Note that it is done."""
        self._steps[name] = self._execution_id, result
        return Said("ok")

    def drop(self, name: str) -> Said:
        """Note that it did not happen."""
        self._steps.pop(name, None)
        return Said("ok")

    def token(self) -> int:
        """The clock in microseconds."""
        return int(datetime.now().astimezone().timestamp() * 1_000_000)


def _never() -> bool:
    return False
