"""When periodic jobs run: pure values and functions, without Redis, for the scheduler and for modes that have none."""

from jobs.engine.schedules.cron import Cron
from jobs.engine.schedules.due import GRACE, Due, due, looked_at_before
from jobs.engine.schedules.every import Every
from jobs.engine.schedules.periodic import CatchUp, Overlap, Periodic

__all__ = ["GRACE", "CatchUp", "Cron", "Due", "Every", "Overlap", "Periodic", "due", "looked_at_before"]
