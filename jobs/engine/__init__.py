"""How jobs run. Declare with `job`, enqueue with the declared type, look at and steer jobs through the `Fleet`."""

from jobs.loading import lean_rq  # noqa: F401, I001  before anything imports rq
from jobs.engine.breakers import Breaker
from jobs.engine.context import Context
from jobs.engine.errors import (
    BrokerUnavailable,
    Cancelled,
    CircuitOpen,
    Conflict,
    EnqueueRefused,
    Expired,
    FleetError,
    IdempotencyConflict,
    Interrupted,
    InvalidJob,
    InvalidPayload,
    InvalidTransaction,
    InvalidWorkflow,
    MissingEncryptionKey,
    NeedsRedis,
    NotFound,
    PayloadTooLarge,
    Permanent,
    ProviderFailed,
    Retryable,
    Superseded,
    TimedOut,
    UnknownJob,
    Untrusted,
)
from jobs.engine.events import Event
from jobs.engine.fleet import Fleet, connect, current_fleet
from jobs.engine.job_types import JobType, job
from jobs.engine.limits import Limit
from jobs.engine.payloads import Payload, Secret
from jobs.engine.policy import Policy, Queue, Retention, Retry
from jobs.engine.schedules import Cron
from jobs.engine.views import JobView, LogLine, Progress
from jobs.engine.waiting import Waiting
from jobs.engine.workflows.build import Node, Workflow
from jobs.engine.workflows.inputs import Place
from jobs.engine.workflows.shapes import chain, group
from jobs.engine.workflows.views import WorkflowView

__all__ = [
    "Breaker",
    "BrokerUnavailable",
    "Cancelled",
    "CircuitOpen",
    "Conflict",
    "Context",
    "Cron",
    "EnqueueRefused",
    "Event",
    "Expired",
    "Fleet",
    "FleetError",
    "IdempotencyConflict",
    "Interrupted",
    "InvalidJob",
    "InvalidPayload",
    "InvalidTransaction",
    "InvalidWorkflow",
    "JobType",
    "JobView",
    "Limit",
    "LogLine",
    "MissingEncryptionKey",
    "NeedsRedis",
    "Node",
    "NotFound",
    "Payload",
    "PayloadTooLarge",
    "Permanent",
    "Place",
    "Policy",
    "Progress",
    "ProviderFailed",
    "Queue",
    "Retention",
    "Retry",
    "Retryable",
    "Secret",
    "Superseded",
    "TimedOut",
    "UnknownJob",
    "Untrusted",
    "Waiting",
    "Workflow",
    "WorkflowView",
    "chain",
    "connect",
    "current_fleet",
    "group",
    "job",
]
