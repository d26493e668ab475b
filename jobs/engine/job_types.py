"""Job types: `@job` turns a function into a declared, validated, enqueueable job type."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, get_type_hints

from jobs.engine import lanes, registry, searching
from jobs.engine import limits as gates
from jobs.engine.errors import InvalidJob
from jobs.engine.limits import Limit
from jobs.engine.payloads import Payload
from jobs.engine.policy import Policy, Queue, Retention, Retry
from jobs.engine.schedules import CatchUp, Cron, Overlap, Periodic, periodic

if TYPE_CHECKING:
    from jobs.engine.context import Context
    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction
    from jobs.engine.views import JobView

P = TypeVar("P", bound=Payload)
LONGEST_NAME = 100
NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


class Options(TypedDict, total=False):
    """What one call may say about its job; see `docs/add-a-job.md`."""

    job_id: str | None
    tenant: str | None
    priority: Queue | None
    at_front: bool
    deadline: datetime | None
    timeout: timedelta | None
    idempotency_key: str | None
    session: AnyTransaction | None


@dataclass(frozen=True, eq=False)
class JobType(Generic[P]):
    """A declared job type; calling it runs the function in place, `enqueue` hands it to the fleet."""

    name: str
    function: Callable[[P, Context], Any]
    payload_type: type[P]
    policy: Policy
    unique: Callable[[P], str | None] | None = None
    topics: Callable[[P], Iterable[str]] | None = None
    periodic: Periodic | None = None
    preload: Sequence[str] = field(default=())
    durable: bool = False
    searchable: Sequence[str] = field(default=())

    @property
    def description(self) -> str:
        """The first line of the function's or its module's docstring."""
        text = self.function.__doc__ or getattr(inspect.getmodule(self.function), "__doc__", None) or ""
        return text.strip().split("\n")[0]

    def __call__(self, payload: P, context: Context) -> Any:
        return self.function(payload, context)

    def enqueue(self, payload: P | dict[str, Any], **options: Unpack[Options]) -> JobView:
        """Put one job on its queue.

        Returns the job (the earlier one where its id, idempotency key or uniqueness says it is there already).
        A durable job is a row in the ledger, written in the transaction of `session` where one is given: it exists once
        that commits, and its view says where it is. Raises InvalidPayload, PayloadTooLarge, MissingEncryptionKey,
        IdempotencyConflict, BrokerUnavailable (jobs that are not durable); then nothing was enqueued.
        """
        return self.enqueue_many([payload], **options)[0]

    def enqueue_in(self, wait: timedelta, payload: P | dict[str, Any], **options: Unpack[Options]) -> JobView:
        """Like `enqueue`, not to begin before `wait` has passed."""
        return _fleet().client.enqueue(self, [payload], wait=wait, options=options)[0]

    def enqueue_at(self, when: datetime, payload: P | dict[str, Any], **options: Unpack[Options]) -> JobView:
        """Like `enqueue`, not to begin before `when`, an aware datetime."""
        return _fleet().client.enqueue(self, [payload], when=when, options=options)[0]

    def enqueue_many(self, payloads: Iterable[P | dict[str, Any]], **options: Unpack[Options]) -> Sequence[JobView]:
        """Put many jobs on their queue in one round trip; all payloads are checked before any is written."""
        return _fleet().client.enqueue(self, payloads, options=options)


def job(
    name: str,
    *,
    queue: Queue = Queue.DEFAULT,
    lane: str = lanes.DEFAULT_LANE,
    timeout: timedelta | None = timedelta(minutes=5),
    retry: Retry | None = None,
    retention: Retention | None = None,
    memory_mb: int | None = None,
    limit: Limit | Sequence[Limit] = (),
    unique: Callable[[Any], str | None] | None = None,
    topics: Callable[[Any], Iterable[str]] | None = None,
    every: timedelta | None = None,
    cron: Cron | None = None,
    overlap: Overlap | None = None,
    catch_up: CatchUp | None = None,
    catch_up_limit: int | None = None,
    preload: Sequence[str] = (),
    durable: bool = False,
    searchable: Sequence[str] = (),
) -> Callable[[Callable[[Any, Context], Any]], JobType[Any]]:
    """Declare a job type; the payload is the type of the function's first parameter. Raises InvalidJob on import."""

    def declare(function: Callable[[Any, Context], Any]) -> JobType[Any]:
        _check_declaration(name, lane)
        schedule = _schedule(name, lambda: periodic.declared(every, cron, overlap, catch_up, catch_up_limit))
        payload_type, limits = _payload_type(name, function), (limit,) if isinstance(limit, Limit) else tuple(limit)
        limits = gates.one_after_another(limits) if schedule and schedule.overlap == "queue" else limits
        gates.check(name, payload_type, limits)
        policy = Policy(Queue(queue), lane, timeout, retry or Retry(), retention or Retention(), memory_mb, limits)
        fields = searching.check(name, payload_type, searchable, durable)
        declared = JobType(
            name, function, payload_type, policy, unique, topics, schedule, tuple(preload), durable, fields
        )
        if schedule and any(field.is_required() for field in declared.payload_type.model_fields.values()):
            raise InvalidJob(f"{name}: a periodic job's payload needs a default for each field")
        registry.register(declared)
        return declared

    return declare


def _check_declaration(name: str, lane: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidJob(f"{name!r} is no job name: write noun.verb in lower case, such as documents.ingest")
    if len(name) > LONGEST_NAME:
        raise InvalidJob(f"{name}: a job name has at most {LONGEST_NAME} characters, since ids are made of it")
    if lane not in lanes.CONCURRENCY:
        raise InvalidJob(f"{name}: unknown lane {lane!r}; declared are {', '.join(sorted(lanes.CONCURRENCY))}")


def _schedule(name: str, declared: Callable[[], Periodic | None]) -> Periodic | None:
    try:
        return declared()
    except InvalidJob as error:
        raise InvalidJob(f"{name}: {error}") from None


def _payload_type(name: str, function: Callable[..., Any]) -> type[Payload]:
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2 or inspect.iscoroutinefunction(function):
        raise InvalidJob(f"{name}: a job is a plain function of (payload, context)")
    try:
        hints = get_type_hints(function, localns={"Context": Any})
    except NameError as error:
        raise InvalidJob(f"{name}: its annotations can't be resolved: {error}") from None
    model = hints.get(parameters[0].name)
    if not (isinstance(model, type) and issubclass(model, Payload)):
        raise InvalidJob(f"{name}: annotate the first parameter with a subclass of Payload")
    return model


def _fleet() -> Fleet:
    from jobs.engine.fleet import current_fleet

    return current_fleet()
