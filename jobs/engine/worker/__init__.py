"""The fleet worker: a parent that leases and settles, a template process, and long-lived children that run jobs."""

from jobs.engine.worker.fleet_worker import FleetWorker

__all__ = ["FleetWorker"]
