"""One file per resource; this list is all that create_app registers."""

from __future__ import annotations

from flask import Blueprint

from jobs.settings import Settings


def blueprints_of(settings: Settings) -> list[Blueprint]:
    """The blueprints that serve under `settings`; the development sign-in is none of production's."""
    from webapp import console, dashboard
    from webapp.blueprints import (
        admin,
        audit,
        dead_letters,
        development,
        documents,
        health,
        jobs,
        jobs_console,
        live,
        metrics,
        no_dashboard,
        page,
        queues,
        schedules,
        set_aside,
        sources,
        workflows,
        workflows_console,
        workspaces,
    )

    blueprints: list[Blueprint] = [health.bp, workspaces.bp, documents.bp, sources.bp, jobs.bp, live.bp, live.socket_bp]
    blueprints.append(workflows.bp)
    blueprints += [page.bp, admin.bp, dead_letters.bp, metrics.bp, *console.blueprints()]
    blueprints += [audit.bp, jobs_console.bp, queues.bp, schedules.bp, set_aside.bp, workflows_console.bp]
    blueprints.append(dashboard.blueprint() if settings.use_job_queue else no_dashboard.bp)
    if settings.environment in ("development", "test"):
        blueprints.append(development.bp)
    return blueprints
