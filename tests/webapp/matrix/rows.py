"""The rows of the matrix: for each method and route who may, on whose thing, and what the answer is then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLACES: Mapping[str, Any] = {
    "instance_number": 0,
    "queue_name": "default",
    "registry_name": "failed",
    "per_page": 8,
    "order": "asc",
    "page": 1,
    "filename": "css/main.css",
}
"""What routes without a tenant's thing are asked for."""


@dataclass(frozen=True)
class Row:
    """`who`: "public", "scopes" (users of tenants) or a role; `wide`: nobody who is bound to a tenant.

    `thing` is what World makes of a tenant for it; `ok` is the answer to who may, `foreign` to who asks for another
    tenant's thing, `written` that a change leaves a line in the audit
    log, `in_session` the answer of a public route to whoever signed in at the login page, and
    `before` what World does first where it is allowed.
    """

    who: str
    ok: int = 200
    thing: str = ""
    wide: bool = False
    foreign: int = 404
    json: Any = None
    form: Mapping[str, str] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    in_session: int | None = None
    before: str = ""
    written: bool = False
    files: bool = False
    ends_sign_in: bool = False


def public(ok: int = 200, **more: Any) -> Row:
    return Row("public", ok, **more)


def user(thing: str = "", ok: int = 200, **more: Any) -> Row:
    return Row("scopes", ok, thing, **more)


def look(thing: str = "", role: str = "viewer", **more: Any) -> Row:
    return Row(role, thing=thing, **more)


def act(thing: str = "", role: str = "operator", **more: Any) -> Row:
    """What changes something, and leaves a line in the audit log."""
    return Row(role, thing=thing, **{"written": True, **more})


DRY: Mapping[str, Any] = {"json": {}, "written": False}
USERS = {
    "GET workspaces.listing": user(),
    "POST workspaces.create": user(ok=201, json={"slug": "new-{who}", "name": "New"}),
    "GET workspaces.get": user("workspace"),
    "GET documents.listing": user("workspace"),
    "GET documents.search": user("workspace", query={"q": "marker"}),
    "POST documents.upload": user("workspace", ok=202, files=True),
    "GET documents.get": user("document"),
    "DELETE documents.delete": user("document", ok=202),
    "POST documents.reembed": user("document", ok=202),
    "GET sources.listing": user("workspace"),
    "POST sources.create": user("workspace", ok=201, json={"kind": "url", "location": "http://example.com/new"}),
    "POST sources.sync": user("source", ok=202),
    "GET jobs.listing": user(),
    "GET jobs.get": user("waiting"),
    "GET jobs.log": user("waiting"),
    "DELETE jobs.cancel": user("waiting"),
    "POST jobs.retry": user("letter", ok=202),
    "GET live.job_events": user("waiting"),
    "GET live.workspace_events": user("workspace"),
    "POST live.ticket": user(ok=201),
    "GET workflows.get": user("workflow"),
    "DELETE workflows.cancel": user("workflow"),
    "POST workflows.replay": user("ended workflow", ok=202, json={"node": "first"}),
}

PUBLIC = {
    "GET static": public(values={"filename": "css/app.css"}),
    "GET metrics": public(),
    "GET health.health": public(),
    "GET health.healthz": public(),
    "GET health.readyz": public(),
    "GET openapi.spec": public(),
    "GET api_docs.docs": public(),
    "GET live_socket._serve": public(400),  # what is no handshake is refused before anybody is looked at
    "GET development.sign_in": public(403, in_session=303),  # without its ticket
    "GET page.index": public(),
    "GET page.workspace": public(values={"slug": "default"}),
    "POST page.sign_out": public(303, ends_sign_in=True),
    "GET admin.login_form": public(in_session=303),
    "POST admin.login": public(403, form={"username": "nobody", "password": "wrong"}),
}

WIDE: Mapping[str, Any] = {"wide": True}
CONSOLE = {
    "GET metrics_json.metrics": look(**WIDE),
    "GET console_overview.index": look(),
    "GET console_events.events": look(),
    "GET rq_dashboard.queues_overview": look(**WIDE),
    "GET rq_dashboard.jobs_overview": look(**WIDE),
    "GET rq_dashboard.workers_overview": look(**WIDE),
    "GET rq_dashboard.job_view": look("waiting", **WIDE),
    "GET rq_dashboard.job_info": look("waiting", **WIDE),
    "GET rq_dashboard.list_jobs": look(**WIDE),
    "GET rq_dashboard.list_queues": look(**WIDE),
    "GET rq_dashboard.list_workers": look(**WIDE),
    "GET rq_dashboard.favicon": look(**WIDE),
    "GET rq_dashboard.static": look(**WIDE),
    "POST rq_dashboard.delete_job_view": act("waiting", **WIDE),
    "POST rq_dashboard.requeue_job_view": act("letter", **WIDE),
    "GET rq_dashboard.requeue_all": act(ok=405, **WIDE),
    "POST rq_dashboard.requeue_all": act(**WIDE),
    "POST rq_dashboard.compact_queue": act(**WIDE),
    "POST rq_dashboard.empty_queue": act(role="admin", **WIDE),
}

LETTERS = {
    "GET dead_letters.find": look(),
    "GET dead_letters.get": look("letter"),
    "GET dead_letters.groups": look(),
    "GET dead_letters.exhausted": look(**WIDE),
    "POST dead_letters.retry_one": act("letter", ok=202),
    "POST dead_letters.discard_one": act("letter"),
    "POST dead_letters.retry": act(**DRY),
    "POST dead_letters.discard": act(role="admin", **DRY),
}
JOBS = {
    "GET jobs_console.find": look(),
    "GET jobs_console.get": look("waiting"),
    "GET jobs_console.log": look("waiting"),
    "POST jobs_console.retry": act("letter", ok=202),
    "POST jobs_console.cancel": act("waiting", json={}),
    "POST jobs_console.promote": act("waiting", json={}),
    "POST jobs_console.discard": act("letter"),
    "POST jobs_console.bulk": act(json={"verb": "retry"}, written=False),
}
JOB_PAGES = {
    "GET console_jobs.index": look(),
    "GET console_jobs.job": look("waiting"),
    "POST console_jobs.retry": act("letter", ok=303),
    "POST console_jobs.cancel": act("waiting", ok=303),
    "POST console_jobs.promote": act("waiting", ok=303),
    "POST console_jobs.discard": act("letter", ok=303),
    "GET console_jobs.bulk": look(role="operator", query={"verb": "retry"}),
    "POST console_jobs.carry_out": act(ok=422, form={"bound": "none"}, written=False),
}
OWN = {
    "GET workflows_console.find": look(),
    "GET workflows_console.get": look("workflow"),
    "POST workflows_console.cancel": act("workflow"),
    "POST workflows_console.replay": act("ended workflow", ok=202, json={"node": "first"}),
    "GET schedules_api.scheduled": look(),
    "GET audit_api.find": look(role="admin"),
    "GET audit_api.jobs": look("audit line", role="admin"),
}
SCHEDULE: Mapping[str, Any] = {"values": {"name": "maintenance.forget_requests"}, **WIDE}
QUEUE: Mapping[str, Any] = {"values": {"name": "low", "verb": "pause"}, **WIDE}
LANE: Mapping[str, Any] = {"values": {"name": "chat", "verb": "pause"}, **WIDE}
WORKER: Mapping[str, Any] = {"values": {"name": "busy", "verb": "pause"}, **WIDE}
BREAKER: Mapping[str, Any] = {"values": {"lane": "chat", "provider": "openai"}, **WIDE}
FLEET = {
    "GET schedules_api.schedules": look(**WIDE),
    "GET schedules_api.schedule": look(**SCHEDULE),
    "POST schedules_api.run_now": act(ok=202, before="nothing_runs", **SCHEDULE),
    "POST schedules_api.pause": act(**SCHEDULE),
    "POST schedules_api.resume": act(**SCHEDULE),
    "GET set_aside.find": look(**WIDE),
    "POST set_aside.discard": act(json={"ids": ["unknown"]}, **WIDE),
    "GET console_queues_api.counts": look(query={"tenant": "a"}),
    "GET console_queues_api.queues": look(**WIDE),
    "GET console_queues_api.lanes": look(**WIDE),
    "GET console_queues_api.workers": look(**WIDE),
    "GET console_queues_api.breakers": look(**WIDE),
    "POST console_queues_api.steer_queue": act(**QUEUE),
    "POST console_queues_api.steer_lane": act(**LANE),
    "POST console_queues_api.steer_worker": act(**WORKER),
    "POST console_queues_api.drain": act(ok=202, **WORKER),
    "POST console_queues_api.open_breaker": act(json={}, **BREAKER),
    "POST console_queues_api.close_breaker": act(**BREAKER),
    "GET console_queues_api.statistics": look(**WIDE),
    "GET console_lanes.index": look(**WIDE),
    "GET console_workers.index": look(**WIDE),
    "GET console_breakers.index": look(**WIDE),
    "POST console_queues.pause": act(ok=303, **QUEUE),
    "POST console_queues.resume": act(ok=303, **QUEUE),
    "POST console_lanes.pause": act(ok=303, **LANE),
    "POST console_lanes.resume": act(ok=303, **LANE),
    "POST console_workers.pause": act(ok=303, **WORKER),
    "POST console_workers.resume": act(ok=303, **WORKER),
    "POST console_workers.drain": act(ok=303, **WORKER),
    "POST console_breakers.open_one": act(ok=303, form={**BREAKER["values"], "minutes": "1"}, **WIDE),
    "POST console_breakers.close": act(ok=303, **BREAKER),
}

PAGES = {
    "GET console_audit.index": look(role="admin"),
    "GET console_audit.line": look("audit line", role="admin"),
    "GET console_dead_letters.index": look(),
    "GET console_dead_letters.letters": look(),
    "GET console_dead_letters.letter": look("letter"),
    "GET console_dead_letters.plan_retry": look(role="operator"),
    "GET console_dead_letters.plan_discard": look(role="admin"),
    "GET console_dead_letters.more": look(role="operator", values={"verb": "retry"}, ok=422),  # without a bound
    "POST console_dead_letters.retry": act("letter", ok=303),
    "POST console_dead_letters.discard": act("letter", ok=303),
    "POST console_dead_letters.retry_many": act("bound", ok=303, form={"bound": "{bound}"}),
    "POST console_dead_letters.discard_many": act("bound", role="admin", ok=303, form={"bound": "{bound}"}),
    "GET console_schedules.index": look(),
    "GET console_schedules.schedule": look(**SCHEDULE),
    "POST console_schedules.run_now": act(ok=303, before="nothing_runs", **SCHEDULE),
    "POST console_schedules.pause": act(ok=303, **SCHEDULE),
    "POST console_schedules.resume": act(ok=303, **SCHEDULE),
    "GET console_schedules.delayed": look(),
    "GET console_schedules.set_aside": look(**WIDE),
    "POST console_schedules.discard": act(ok=303, form={"id": "nothing"}, **WIDE),
    "POST console_schedules.promote": act("delayed", ok=303),
    "POST console_schedules.cancel": act("delayed", ok=303),
    "GET console_workflows.index": look(),
    "GET console_workflows.show": look("workflow"),
    "GET console_workflows.plan_replay": look("ended workflow", role="operator", query={"node": "first"}),
    "POST console_workflows.cancel": act("workflow", ok=303),
    "POST console_workflows.replay": act("ended workflow", ok=303, form={"node": "first"}),
}

ROWS: dict[str, Row] = USERS | PUBLIC | CONSOLE | LETTERS | JOBS | JOB_PAGES | OWN | FLEET | PAGES
