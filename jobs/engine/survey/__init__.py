"""Survey: queues, lanes, workers and schedulers as operators look at them, read without reading every job."""

from jobs.engine.survey.shapes import Counts, Gate, Lane, OpenBreaker, Queued, Running, Scheduler, Window, Worker
from jobs.engine.survey.survey import Survey

__all__ = ["Counts", "Gate", "Lane", "OpenBreaker", "Queued", "Running", "Scheduler", "Survey", "Window", "Worker"]
