"""The background half: how jobs run (engine), the outside world (adapters) and what jobs do (domains)."""

from jobs.loading import lean  # noqa: F401  before anything imports pydantic, redis or structlog

__version__ = "0.1.0"
