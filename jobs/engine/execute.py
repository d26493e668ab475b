"""Running a job: verify what Redis holds, call the function, turn what happens into an outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.engine import envelope, foreign, outcome, payloads, registry
from jobs.engine.context import Context, Reporter
from jobs.engine.envelope import PERFORM, Call, Envelope
from jobs.engine.errors import CircuitOpen, Interrupted, Untrusted
from jobs.engine.fleet import Fleet
from jobs.engine.job_types import JobType
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy
from jobs.engine.providers import Providers
from jobs.engine.workflows import inputs


@dataclass(slots=True)
class Run:
    """One execution as the lease hands it out; `timeout` in seconds, the last four for jobs of plain RQ clients."""

    job_id: str
    execution_id: str
    data: bytes = field(repr=False)
    job_type: str = ""
    tenant: str = ""
    attempt: int = 1
    timeout: float | None = None
    memory_mb: int | None = None
    gates: str = ""
    retries_left: int = 0
    retry_intervals: tuple[float, ...] = ()
    callbacks: tuple[str, ...] = ()
    has_webhooks: bool = False
    is_stopped: bool = False


def execute(run: Run, fleet: Fleet, reporter: Reporter) -> Outcome:
    """Run one job to its end; whatever it raises, SystemExit too, becomes its outcome."""
    policy = None
    try:
        call = envelope.decode(run.data)
        if call.function != PERFORM:
            return foreign.after_stop(run, fleet) if run.is_stopped else foreign.execute(run, call, fleet)
        sealed = _verified(run, call, fleet)
        job_type = _registered(sealed.name)
        policy = fleet.policy(job_type)
        return outcome.of_result(_call(job_type, policy, sealed, run, fleet, reporter))
    except BaseException as error:
        if isinstance(error, CircuitOpen) or (isinstance(error, Interrupted) and reporter.stopping()):
            return Outcome("released", error_type=type(error).__name__, message=str(error))
        return outcome.of_error(error, policy.retry if policy else None, run.attempt)


def perform(name: str, payload: str, headers: dict[str, Any]) -> Any:
    """The one function that RQ's own workers run for our jobs; see `jobs.engine.stock`."""
    from jobs.engine import stock

    return stock.perform(name, payload, headers)


def _verified(run: Run, call: Call, fleet: Fleet) -> Envelope:
    if run.callbacks or run.has_webhooks:
        raise Untrusted("the job has callbacks or webhooks that its type does not declare")
    if len(call.args) != 3 or call.kwargs:
        raise Untrusted("the envelope has the wrong shape")
    sealed = fleet.keys.verify(run.job_id, *call.args)
    if (sealed.name, sealed.tenant, sealed.gates) != (run.job_type, run.tenant, run.gates):
        raise Untrusted("the job's type, tenant or limits in Redis are not what was signed")
    return sealed


def _registered(name: str) -> JobType[Any]:
    try:
        return registry.get(name)
    except Exception:
        raise Untrusted(f"no job type is called {name!r} in this release") from None


def _call(job_type: JobType[Any], policy: Policy, sealed: Envelope, run: Run, fleet: Fleet, reporter: Reporter) -> Any:
    text, place = inputs.merged(sealed, fleet) if sealed.flow else (sealed.payload, None)
    payload = payloads.load(job_type.payload_type, text, fleet.keys.decrypt)
    context = Context(
        job_id=run.job_id,
        execution_id=run.execution_id,
        job_type=sealed.name,
        attempt=run.attempt,
        max_retries=policy.retry.max_retries,
        tenant=sealed.tenant,
        correlation_id=sealed.correlation_id,
        settings=fleet.settings,
        reporter=reporter,
        checkpoints=fleet.checkpoints(run.job_id, run.execution_id),
        providers=Providers(fleet.breakers, policy.lane),
        timeout_seconds=run.timeout,
        carried=sealed.carried,
        workflow=place,
    )
    return fleet.middleware.run(job_type, payload, context)
