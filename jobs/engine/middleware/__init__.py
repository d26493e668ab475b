"""Middleware: what surrounds every enqueue and every run, one concern a file."""

from jobs.engine.middleware.chain import BUILT_IN, Chain
from jobs.engine.middleware.protocol import Enqueueing, Job, Middleware

__all__ = ["BUILT_IN", "Chain", "Enqueueing", "Job", "Middleware"]
