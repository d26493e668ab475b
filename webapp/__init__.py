"""The Flask application."""

from __future__ import annotations

from apiflask import APIFlask

from jobs.settings import Settings
from webapp import (
    auth,
    commands,
    console,
    correlation,
    errors,
    metrics,
    openapi,
    operators,
    parsing,
    security,
    services,
    sessions,
    tracing,
)
from webapp.blueprints import blueprints_of
from webapp.routing import LazyRule


def create_app(settings: Settings | None = None) -> APIFlask:
    """The web application on `settings` (the environment's by default); connects to nothing before it is asked.

    Raises InvalidSettings or RuntimeError when the settings are not fit to serve.
    """
    settings = settings or Settings.from_env()
    app = APIFlask(__name__, title="rq-fleet", version="1", spec_path="/api/openapi.json", docs_path=None)
    app.url_rule_class = LazyRule
    app.extensions["settings"] = settings
    correlation.init_app(app)
    metrics.init_app(app, settings)
    parsing.init_app(app)
    sessions.init_app(app, settings)
    security.init_app(app, settings)
    errors.init_app(app)
    auth.init_app(app, settings)
    services.init_app(app, settings)
    operators.init_app(app)
    openapi.init_app(app)
    commands.init_app(app)
    console.init_app(app)
    tracing.init_app(app, settings)
    for blueprint in blueprints_of(settings):
        app.register_blueprint(blueprint)
    return app
