"""Calling one job's function in the test, with everything around it that a run has but the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobs.engine import payloads, registry
from jobs.engine.checkpoints import Checkpoints, as_text
from jobs.engine.context import Context
from jobs.engine.idempotency.steps import Said, Store
from jobs.engine.job_types import JobType
from jobs.engine.payloads import Payload
from jobs.engine.providers import Providers

if TYPE_CHECKING:
    from jobs.engine.testing.kit import Kit

OnProgress = Callable[[str, float], None]


class InPlace:
    """Runs jobs that were never enqueued; checkpoints and steps are kept by job id as long as the kit is there."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._checkpoints: dict[str, str] = {}
        self._steps: dict[str, dict[str, tuple[str, str | None]]] = {}

    def run(
        self,
        job_type: JobType[Any] | str,
        payload: Payload | Mapping[str, Any],
        *,
        job_id: str | None = None,
        execution_id: str | None = None,
        tenant: str | None = None,
        attempt: int = 1,
        correlation_id: str = "",
        on_progress: OnProgress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Call a job's function and return what it returns, or raise what it raises.

        The payload goes to JSON and back, secrets encrypted; the middlewares are around the call. Raises
        InvalidPayload. Calling it again with the same `job_id` is a later run of that job.
        """
        declared = registry.get(job_type) if isinstance(job_type, str) else job_type
        given = payloads.validate(declared.payload_type, payload)
        text = payloads.dump(given, self._kit.keys.encrypt)
        policy, run_id = self._kit.policy(declared), execution_id or uuid4().hex
        its_id = job_id or uuid4().hex
        context = Context(
            job_id=its_id,
            execution_id=run_id,
            job_type=declared.name,
            attempt=attempt,
            max_retries=policy.retry.max_retries,
            tenant=str(getattr(given, "tenant_id", "")) if tenant is None else tenant,
            correlation_id=correlation_id,
            settings=self._kit.settings,
            reporter=Reporter(on_progress, cancelled, stopping),
            checkpoints=MemoryCheckpoints(self._checkpoints, self._steps.setdefault(its_id, {}), its_id, run_id),
            providers=Providers(self._kit.breakers, policy.lane),
            timeout_seconds=None if policy.timeout is None else policy.timeout.total_seconds(),
        )
        loaded = payloads.load(declared.payload_type, text, self._kit.keys.decrypt)
        return self._kit.middleware.run(declared, loaded, context)


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

    def __init__(
        self, kept: dict[str, str], steps: dict[str, tuple[str, str | None]], job_id: str, execution_id: str
    ) -> None:
        self._kept, self._steps, self._job_id, self._execution_id = kept, steps, job_id, execution_id

    def load(self) -> Any:
        """What was saved last."""
        text = self._kept.get(self._job_id)
        return None if text is None else json.loads(text)

    def save(self, data: Any) -> bool:
        """Replace it."""
        self._kept[self._job_id] = as_text(data)
        return True

    def steps(self) -> Store:
        """The job's steps."""
        return MemoryStore(self._steps, self._execution_id)


class MemoryStore:
    """See jobs.engine.idempotency.steps.Store; a step is who did it and its result, None where it was only begun."""

    def __init__(self, steps: dict[str, tuple[str, str | None]], execution_id: str) -> None:
        self._steps, self._execution_id = steps, execution_id

    def begin(self, name: str) -> Said:
        """Note that this run begins a step."""
        by, result = self._steps.get(name, (self._execution_id, None))
        if result is not None:
            return Said("done", result)
        self._steps[name] = self._execution_id, None
        return Said("new") if by == self._execution_id else Said("again", by)

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
