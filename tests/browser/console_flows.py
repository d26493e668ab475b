"""Letters, schedules, workflows and a bit of history, for tests that look at the console's pages of them."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Fleet, Workflow, registry
from jobs.engine.audit_log import Actor
from jobs.engine.outcome import Outcome
from tests.engine.dead_letters.conftest import failure, let_die
from tests.engine.samples.flows import Step, step, undo

PERIODIC = "maintenance.forget_requests"
TENANT = "acme"


def letters(fleet: Fleet) -> list[str]:
    """Four letters with two errors, the oldest first."""
    payloads = [{"folder": f"/data/{number}", "api_key": "very-secret"} for number in range(4)]
    jobs = [fleet.enqueue("mortal.orders", payload, tenant=TENANT) for payload in payloads]
    paper, ink = (failed(f"out of {what}") for what in ("paper", "ink"))
    let_die(fleet, jobs, paper, ink, ink, ink)
    return [job.id for job in jobs]


def failed(words: str) -> Outcome:
    """How a run ended whose retries are used up, with a traceback that is the same on every host."""
    told = f"""Traceback (most recent call last):
  File "/srv/shop/orders/receipts.py", line 41, in print_receipt
    printer.feed(receipt)
  File "/srv/shop/printers/office.py", line 97, in feed
    raise LookupError(f"out of {{supply.name}}")
LookupError: {words}
"""
    return failure(words)._replace(traceback=told)


def report(fleet: Fleet, *, ends: str = "well") -> str:
    """A workflow with each kind of edge, whose publishing ends as it is told; its id."""
    flow = Workflow("quarterly report", tenant=TENANT)
    rows = [flow.add(step, Step(), name=f"fetch-{region}") for region in ("north", "south", "west")]
    total = flow.add(step, Step(), name="total", after=rows)
    store = flow.add(step, Step(), name="store", after=total, compensate=undo)
    publish = flow.add(step, Step(ends=ends), name="publish", after={store: "compensate"})  # type: ignore[arg-type]
    flow.add(step, Step(), name="announce", after=publish)
    flow.add(step, Step(), name="tidy-up", after={publish: "continue", total: "continue"})
    return flow.enqueue(fleet).id


def wide(fleet: Fleet, nodes: int) -> str:
    """A workflow that spreads out and comes together; its id."""
    flow = Workflow(f"{nodes} pages", tenant=TENANT)
    first = flow.add(step, Step(), name="split")
    pages = [flow.add(step, Step(), name=f"page-{number}", after=first) for number in range(nodes - 2)]
    flow.add(step, Step(), name="join", after=pages)
    return flow.enqueue(fleet).id


def delayed(fleet: Fleet) -> list[str]:
    """Two jobs that are due in a minute and in an hour."""
    later = registry.get("mortal.orders")
    waits = (timedelta(minutes=1), timedelta(hours=1))
    return [later.enqueue_in(wait, {"folder": "/data"}, tenant=TENANT).id for wait in waits]


def history(fleet: Fleet) -> None:
    """What two operators did."""
    ada, bob = Actor("ada", "operator", None, "page"), Actor("bob", "admin", None, "api")
    fleet.audit.record(action="queue.pause", target="low", by=bob, before={"paused": False}, after={"paused": True})
    for number in range(3):
        before, after = {"status": "queued", "type": "documents.ingest"}, {"status": "cancelled"}
        fleet.audit.record(
            action="job.cancel", target=f"job-{number}", by=ada, before=before, after=after, tenant=TENANT
        )
