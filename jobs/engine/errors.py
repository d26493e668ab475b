"""The errors of the engine: one tree; each message says what to do next."""

from __future__ import annotations

from datetime import timedelta


class FleetError(Exception):
    """Anything the engine reports on purpose."""


class InvalidJob(FleetError):
    """A job type's declaration contradicts itself; raised when its module is imported."""


class EnqueueRefused(FleetError):
    """The job was not accepted and nothing was written."""


class UnknownJob(EnqueueRefused):
    """No job type of that name is registered."""


class InvalidPayload(EnqueueRefused):
    """The payload does not validate; `problems` lists field and message."""

    def __init__(self, message: str, problems: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class InvalidWorkflow(EnqueueRefused):
    """The workflow contradicts itself: a circle, an unknown node, too many nodes, a result that may not be there."""


class PayloadTooLarge(EnqueueRefused):
    """The payload is over 1 MiB: store the data and pass its key instead."""


class MissingEncryptionKey(EnqueueRefused):
    """The payload has a secret field and no ENCRYPTION_KEYS are set."""


class IdempotencyConflict(EnqueueRefused):
    """The idempotency key was used before with another payload."""


class InvalidTransaction(EnqueueRefused):
    """A job with `unique=` needs a transaction that sees what others commit meanwhile: PostgreSQL's READ COMMITTED."""


class BrokerUnavailable(FleetError):
    """Redis did not answer in time or refused to write; `retry_after` says when to try again."""

    def __init__(self, message: str, retry_after: timedelta = timedelta(seconds=2)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NeedsRedis(FleetError):
    """Without Redis (`USE_JOB_QUEUE=false`) there is no such thing."""


class NotFound(FleetError):
    """No such thing, or it belongs to somebody else."""


class Conflict(FleetError):
    """The job is in a state that does not allow this."""


class Untrusted(FleetError):
    """What lies in Redis was not written by this fleet: the job goes to the quarantine."""


class Permanent(FleetError):
    """Raised by a job: no retry would help. The message is shown to the user."""


class Retryable(FleetError):
    """Raised by a job: try again, and not before `after` has passed where it is given."""

    def __init__(self, message: str = "", after: timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class ProviderFailed(Retryable):
    """Raised by an adapter: the provider is down, or asks for `after`. It counts for the lane's circuit breaker."""


class CircuitOpen(Retryable):
    """A provider's circuit breaker is open: the job waits until it closes, without spending an attempt."""


class Cancelled(FleetError):
    """Raised inside a job by `context.check()` once somebody cancelled it."""


class Interrupted(FleetError):
    """Raised inside a job by `context.checkpoint()` while its worker stops: the next run goes on there."""


class Superseded(FleetError):
    """Another run of the job has begun, because this one was taken for dead: it must not write any more."""


class TimedOut(FleetError):
    """The job ran longer than its timeout allows."""


class Killed(FleetError):
    """The job's process was killed on request (RQ's `kill-horse` command)."""


class Expired(FleetError):
    """The job had not begun by its deadline."""
