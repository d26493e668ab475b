"""What a running job is given: who it is, and how it reports, logs and learns that it should stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import structlog

from jobs.engine.checkpoints import Checkpoints
from jobs.engine.envelope import NONCE
from jobs.engine.errors import BrokerUnavailable, Cancelled, FleetError, Interrupted
from jobs.engine.idempotency.steps import Execution, Step
from jobs.engine.logs import OWN
from jobs.engine.providers import Providers
from jobs.engine.workflows.inputs import Place
from jobs.settings import Settings

LONGEST_STAGE = 100


class Reporter(Protocol):
    """Where a run's reports go: the worker's pipe, or Redis under a stock RQ worker."""

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Pass on `progress` or `log` ({"level", "event", "values"}); never raises because of where it goes."""

    def stopping(self) -> bool:
        """Whether the worker is about to end."""

    def cancelled(self) -> bool:
        """Whether somebody asked this run to stop."""


@dataclass(slots=True)
class Context:
    """One run of one job."""

    job_id: str
    execution_id: str
    job_type: str
    attempt: int
    max_retries: int
    tenant: str
    correlation_id: str
    settings: Settings
    reporter: Reporter
    checkpoints: Checkpoints | None = None
    providers: Providers | None = None
    timeout_seconds: float | None = None
    carried: Mapping[str, str] = field(default_factory=dict)
    """What the middlewares of whoever enqueued the job sent along."""
    _execution: Execution | None = None
    begun: float = 0.0
    """When the job's function was called, in monotonic seconds."""
    workflow: Place | None = None

    @property
    def is_last_attempt(self) -> bool:
        """Whether an ordinary error in this run would be final."""
        return self.attempt > self.max_retries

    @property
    def elapsed(self) -> timedelta:
        """How long this run has taken so far."""
        return timedelta(seconds=time.monotonic() - self.begun)

    @property
    def remaining(self) -> timedelta | None:
        """How long this run may still take, not below nothing; None without a timeout."""
        if self.timeout_seconds is None:
            return None
        return max(timedelta(0), timedelta(seconds=self.timeout_seconds) - self.elapsed)

    @property
    def log(self) -> JobLog:
        """A logger whose lines go to the process's log and are kept with the job."""
        return JobLog(self.reporter)

    def progress(self, stage: str, percent: float) -> None:
        """Tell how far the job is, 0 to 100; also a `check()`. Raises Cancelled."""
        bounded = round(min(max(float(percent), 0.0), 100.0), 1)
        self.reporter.report("progress", {"stage": stage[:LONGEST_STAGE], "percent": bounded})
        self.check()

    @property
    def stopping(self) -> bool:
        """Whether the worker is about to end: the run is then given `SHUTDOWN_GRACE` to end or to save a checkpoint."""
        return self.reporter.stopping()

    def resume(self) -> Any:
        """What an earlier run of this job saved last as its checkpoint, or None. Raises BrokerUnavailable."""
        return self._checkpoints().load(self.nonce)

    def checkpoint(self, data: Any) -> None:
        """Save what the job has reached (JSON, up to 256 KiB): a later run gets it from `resume()`. Also a `check()`.

        Raises Interrupted after saving while the worker is stopping, so that the job goes on elsewhere at once; raises
        Cancelled, and Permanent for data that can't be saved. A Redis that is away is logged and costs the checkpoint.
        """
        try:
            saved = self._checkpoints().save(data, self.nonce)
        except BrokerUnavailable as error:
            self.log.warning("checkpoint not saved", reason=str(error))
            saved = False
        self.check()
        if saved and self.stopping:
            raise Interrupted("the worker is stopping; the job goes on elsewhere")

    def provider(self, name: str) -> AbstractContextManager[None]:
        """A call to a provider (`with context.provider("openai"):`) under the circuit breaker of the job's lane.

        Raises CircuitOpen on entering while the breaker is open: let it pass, and the job waits uncharged. See
        `Providers.calling` for what counts as a failure.
        """
        return nullcontext() if self.providers is None else self.providers.calling(name)

    def once(self, name: str) -> Step:
        """A step to be done once across the runs of this job: `context.once("charge").run(do)`; see `Step.run`.

        Raises Permanent for a name that can't be one.
        """
        acceptance = f"{self.job_id}.{self.nonce}" if self.nonce else self.job_id
        return Step(self._checkpoints().steps(self.nonce), acceptance, name)

    @property
    def nonce(self) -> str:
        """What tells a job whose id was chosen from others of the same id; empty for one of a random id."""
        return self.carried.get(NONCE, "")

    @property
    def execution(self) -> Execution:
        """This run, with its fencing token; the first time asks Redis. Raises Superseded, BrokerUnavailable."""
        if self._execution is None:
            token = self._checkpoints().steps(self.nonce).token()
            self._execution = Execution(self.job_id, self.execution_id, self.attempt, token)
        return self._execution

    def check(self) -> None:
        """Raise Cancelled once somebody cancelled this job: call it where stopping is safe."""
        if self.reporter.cancelled():
            raise Cancelled("the job was cancelled")

    def _checkpoints(self) -> Checkpoints:
        if self.checkpoints is None:
            raise FleetError("this run has no place for checkpoints")
        return self.checkpoints


class JobLog:
    """The structlog methods a job uses: an event in a few words, and named values."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._log: Any = structlog.get_logger("job")

    def debug(self, event: str, **values: Any) -> None:
        """A line for developers."""
        self._write("debug", self._log.debug, event, values)

    def info(self, event: str, **values: Any) -> None:
        """A line that tells what happened."""
        self._write("info", self._log.info, event, values)

    def warning(self, event: str, **values: Any) -> None:
        """A line about something that should be looked at."""
        self._write("warning", self._log.warning, event, values)

    def error(self, event: str, **values: Any) -> None:
        """A line about something that went wrong."""
        self._write("error", self._log.error, event, values)

    def _write(self, level: str, log: Callable[..., Any], event: str, values: dict[str, Any]) -> None:
        log(event, **values, **OWN)
        self._reporter.report("log", {"level": level, "event": event, "values": values})
