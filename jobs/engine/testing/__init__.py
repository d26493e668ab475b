"""The test kit: a fleet without Redis, workers and waiting, whose jobs run in the test itself. See docs/testing.md."""

from jobs.engine.testing.in_place import InPlace
from jobs.engine.testing.kit import Crash, Enqueued, JobFailed, Kit, Mode, StillBusy

__all__ = ["Crash", "Enqueued", "InPlace", "JobFailed", "Kit", "Mode", "StillBusy"]
