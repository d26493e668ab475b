"""One file per resource; this list is all that create_app registers."""

from __future__ import annotations

from apiflask import APIBlueprint

from jobs.settings import Settings


def blueprints_of(settings: Settings) -> list[APIBlueprint]:
    """The blueprints that serve under `settings`; the development sign-in is none of production's."""
    from webapp.blueprints import development, documents, health, jobs, sources, workspaces

    blueprints = [health.bp, workspaces.bp, documents.bp, sources.bp, jobs.bp]
    if settings.environment in ("development", "test"):
        blueprints.append(development.bp)
    return blueprints
