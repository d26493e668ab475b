"""What the fleet has done: counted by its workers, kept in Redis in steps of 10 s, 1 min and 10 min, and in all."""

from jobs.engine.statistics.reading import NoStatistics, Point, Statistics, merged
from jobs.engine.statistics.sampling import sample
from jobs.engine.statistics.scopes import Scope
from jobs.engine.statistics.tally import AboutRun, Counted, Tally
from jobs.engine.statistics.values import Histogram, Values

__all__ = [
    "AboutRun",
    "Counted",
    "Histogram",
    "NoStatistics",
    "Point",
    "Scope",
    "Statistics",
    "Tally",
    "Values",
    "merged",
    "sample",
]
