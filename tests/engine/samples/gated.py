"""Jobs with limits: of their type, of a flow, between tenants, and several of these at once."""

from __future__ import annotations

import os
import time

from jobs.engine import Context, Limit, Payload, Retry, job
from tests.engine.samples.jobs import SOON, Told, gate, tell


class Flow(Payload):
    tenant_id: str = "acme"
    flow_id: str | int = "f"


@job("samples.pair", limit=Limit(2), retry=SOON)
def pair(payload: Told, context: Context) -> None:
    """At most two at once; waits like gate."""
    gate(payload, context)


@job("samples.flow", limit=Limit(1, per="flow_id"))
def flow(payload: Flow, context: Context) -> None:
    """One at a time for each flow."""


@job("samples.fair", limit=Limit(fair="tenant_id"))
def fair(payload: Flow, context: Context) -> None:
    """Tenants take turns."""


@job("samples.both", limit=(Limit(2, fair="tenant_id"), Limit(1, per=("tenant_id", "flow_id"))))
def both(payload: Flow, context: Context) -> None:
    """One of a tenant's flow, two in all, and tenants take turns."""


@job("samples.traced", lane="traces")
def traced(payload: Flow, context: Context) -> None:
    """Of another such lane."""


@job("samples.metered", lane="audit", retry=Retry(max_retries=0))
def metered(payload: Told, context: Context) -> None:
    """Of a lane that may have a rate window."""
    tell(payload, context.job_id)


@job("samples.timed", limit=Limit(2), retry=Retry(max_retries=0))
def timed(payload: Told, context: Context) -> None:
    """At most two at once; tells when it began, under which worker, and when it ended."""
    tell(payload, f"S {context.job_id} {os.getppid()}")
    time.sleep(0.05)
    tell(payload, f"E {context.job_id} {os.getppid()}")
