"""The scheduler process: periodic entries, and the one-off delays and retries of RQ's scheduled registries."""

from jobs.engine.scheduler.fleet_scheduler import FleetScheduler
from jobs.engine.scheduler.process import run

__all__ = ["FleetScheduler", "run"]
