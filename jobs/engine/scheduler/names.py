"""The keys of scheduling: rq-scheduler's and RQ's own below this fleet's prefix, and ours."""

from __future__ import annotations

from jobs.engine import keys

LEAD = f"{keys.PREFIX}:scheduler_lock"
"""rq-scheduler's lock, so that a stock one beside ours stands by too."""

SCHEDULED_JOBS = keys.PERIODIC
"""rq-scheduler's sorted set: the ids of entries by the time at which they are due."""

INSTANCE = f"{keys.PREFIX}:scheduler_instance:"
"""What the hash of an rq-scheduler process begins with."""

SCHEDULERS = keys.SCHEDULERS
"""Our sorted set of living schedulers by the Redis time of their last sign of life."""

DECLARED = f"{keys.FLEET}:scheduler:declared"
"""Our sorted set of digests of declarations by the Redis time at which a scheduler first had them."""

BROKEN = keys.BROKEN
"""Our sorted set of ids that were taken out of a schedule because nobody can read them, by time."""

QUEUES = f"{keys.PREFIX}:queues"
"""RQ's set of the keys of all queues."""
