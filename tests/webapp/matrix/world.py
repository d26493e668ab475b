"""Things of two tenants, each with words that nobody else's answer may hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

from apiflask import APIFlask
from rq import Worker
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Workflow, keys, registry
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change
from jobs.engine.dead_letters import Where
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from jobs.engine.scheduler import FleetScheduler
from tests.engine.leases import lease, leases_of, settle
from webapp.auth import SCOPES, make_token

Values = dict[str, Any]


def marker(tenant: str) -> str:
    """What only things of the tenant hold."""
    return f"marker-of-{tenant}"


class World:
    """Makes things; `one` gives the tenant's shared one, `another` a new one."""

    def __init__(self, app: APIFlask) -> None:
        self.app = app
        self.fleet: Fleet = app.extensions["fleet"]
        self._client = app.test_client()
        self._shared: dict[tuple[str, str], Values] = {}
        FleetScheduler(self.fleet).run(burst=True)
        Worker(["low"], connection=self.fleet.redis, serializer=JSONSerializer, name="busy").register_birth()
        self._listens = self.fleet.redis.pubsub()
        self._listens.subscribe(keys.commands("busy"))

    def one(self, kind: str, tenant: str) -> Values:
        if (kind, tenant) not in self._shared:
            self._shared[kind, tenant] = self.another(kind, tenant)
        return self._shared[kind, tenant]

    def another(self, kind: str, tenant: str) -> Values:
        make: Callable[[str], Values] = getattr(self, kind.replace(" ", "_"))
        return make(tenant)

    def nothing_runs(self) -> None:
        """No run of a schedule is under way."""
        for job_id in self.fleet.redis.lrange(keys.queue("low"), 0, -1):
            self.fleet.jobs.cancel(job_id.decode())

    def audit_line(self, tenant: str) -> Values:
        by = Actor(marker(tenant), "admin", tenant, "api")
        about = {"target": marker(tenant), "before": {"is": marker(tenant)}}
        jobs = [Change(marker(tenant), tenant, "queued", "cancelled")]
        line = self.fleet.audit.record(action="job.cancel", by=by, jobs=jobs, **about)  # type: ignore[arg-type]
        return {"line_id": line.id}

    def waiting(self, tenant: str) -> Values:
        return {"job_id": self.fleet.enqueue("samples.later", self._payload(tenant), tenant=tenant).id}

    def running(self, tenant: str) -> Values:
        """One whose events have begun, and that does not end while it is looked at."""
        return self.waiting(tenant)

    def letter(self, tenant: str) -> Values:
        job = self.fleet.enqueue("mortal.orders", {"folder": marker(tenant)}, tenant=tenant, at_front=True)
        (run,) = lease(leases_of(self.fleet))
        assert run.job_id == job.id
        settle(leases_of(self.fleet), (run, of_error(OSError(f"disk {marker(tenant)}"), Retry(max_retries=0), 1)))
        return {"job_id": job.id}

    def bound(self, tenant: str) -> Values:
        """A dry run that found nothing."""
        return {"bound": self.fleet.dead_letters.plan(Where(tenant=tenant, text="no such words")).bound}

    def delayed(self, tenant: str) -> Values:
        later = registry.get("samples.later")
        return {"job_id": later.enqueue_in(timedelta(hours=1), self._payload(tenant), tenant=tenant).id}

    def workflow(self, tenant: str) -> Values:
        flow = Workflow(f"flow {marker(tenant)}", tenant=tenant)
        flow.add(registry.get("flows.step"), {"name": marker(tenant)}, name="first")
        return {"workflow_id": flow.enqueue(self.fleet).id}

    def ended_workflow(self, tenant: str) -> Values:
        made = self.workflow(tenant)
        self.fleet.workflows.cancel(made["workflow_id"])
        return made

    def workspace(self, tenant: str) -> Values:
        slug = f"papers-{tenant}"
        self._client.post("/api/workspaces", json={"slug": slug, "name": marker(tenant)}, headers=self._user(tenant))
        return {"slug": slug}

    def document(self, tenant: str) -> Values:
        slug = self.one("workspace", tenant)["slug"]
        files = {"files": [(BytesIO(f"{marker(tenant)} {id(object())}".encode()), f"{marker(tenant)}.txt")]}
        answer = self._client.post(f"/api/workspace/{slug}/upload", data=files, headers=self._user(tenant))
        return {"slug": slug, "document_id": answer.get_json()["documents"][0]["id"]}

    def source(self, tenant: str) -> Values:
        slug = self.one("workspace", tenant)["slug"]
        body = {"kind": "url", "location": f"http://example.com/{marker(tenant)}"}
        answer = self._client.post(f"/api/workspace/{slug}/sources", json=body, headers=self._user(tenant))
        return {"slug": slug, "source_id": answer.get_json()["id"]}

    def _payload(self, tenant: str) -> Values:
        return {"folder": "nowhere", "name": marker(tenant)}

    def _user(self, tenant: str) -> dict[str, str]:
        token = make_token(self.app.extensions["settings"], tenant, SCOPES - {"admin"})
        return {"Authorization": f"Bearer {token}"}
