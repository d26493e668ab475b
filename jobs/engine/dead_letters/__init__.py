"""Dead letters: jobs that failed for good, found, grouped by their error, run again and thrown away."""

from jobs.engine.dead_letters.actions import Done, Plan, Refusal
from jobs.engine.dead_letters.attempts import Attempt
from jobs.engine.dead_letters.desk import DeadLetters, Details
from jobs.engine.dead_letters.exhaustion import Day
from jobs.engine.dead_letters.groups import Group, GroupPage
from jobs.engine.dead_letters.letters import Letter, Page, Where
from jobs.engine.dead_letters.places import where_of

__all__ = [
    "Attempt",
    "Day",
    "DeadLetters",
    "Details",
    "Done",
    "Group",
    "GroupPage",
    "Letter",
    "Page",
    "Plan",
    "Refusal",
    "Where",
    "where_of",
]
