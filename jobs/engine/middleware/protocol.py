"""What a middleware is: a class made once a process that surrounds enqueues, runs or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from jobs.engine.context import Context
    from jobs.engine.heads import Due
    from jobs.engine.job_types import JobType, Options
    from jobs.engine.payloads import Payload
    from jobs.settings import Settings


class HasId(Protocol):
    """A job that was enqueued, or prepared to be sent by the caller."""

    @property
    def id(self) -> str: ...


Job = TypeVar("Job", bound=HasId)


@dataclass(slots=True)
class Enqueueing:
    """One call that enqueues jobs of a type, before they get their ids and signatures.

    `tenant` and `correlation_id` hold where the payloads and options name none. `carried` travels signed with each
    job to `context.carried` of its runs: names of up to 64 letters, digits, dots, dashes and underscores, 4 KiB in all.
    """

    job_type: JobType[Any]
    payloads: Sequence[Payload]
    options: Options
    due: Due | None = None
    tenant: str = ""
    correlation_id: str = ""
    carried: dict[str, str] = field(default_factory=dict)
    flow: str = ""
    """Of a node of a workflow: its place there and where its inputs are, to be signed."""


class Middleware:
    """The base of every middleware; a method that is not overridden is left out of the chain and costs nothing.

    One object serves all threads of a process. It is made before workers fork their children: open connections and
    start threads on first use, not in `__init__`.
    """

    preload: Sequence[str] = ()
    """Modules that workers import before they fork, so that their children share them."""

    def __init__(self, settings: Settings) -> None:
        """Raise InvalidSettings for settings that this middleware can't work with: the process does not start then."""
        self.settings = settings

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        """Call `proceed(call)` and return what it returns, or raise to refuse. It raises what `enqueue` raises."""
        return proceed(call)

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        """Call `proceed(payload, context)` and return the job's result. It raises whatever the job raises.

        An error that is swallowed is a success; one that is raised here counts like the job's own.
        """
        return proceed(payload, context)

    def close(self) -> None:
        """This process is about to end, or to be replaced: hand over what is still kept here, within two seconds."""
