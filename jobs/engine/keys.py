"""The names of the keys in Redis: RQ's own, and ours below `PREFIX:fleet:`."""

from __future__ import annotations

from datetime import timedelta

from rq.defaults import RQ_KEY_PREFIX

PREFIX = RQ_KEY_PREFIX

FLEET = f"{PREFIX}:fleet"

LEASES = f"{FLEET}:leases"
BATCHES = f"{FLEET}:batches"
WORKERS = f"{FLEET}:workers"
REAPER = f"{FLEET}:reaper"
FOLLOW_UPS = f"{FLEET}:follow-ups"
STUCK = f"{FLEET}:stuck"
WORKFLOWS = f"{FLEET}:workflows"
WORKFLOWS_RUNNING = f"{FLEET}:workflows:running"
WORKFLOWS_ENDED = f"{FLEET}:workflows:ended"
FILED = f"{FLEET}:filed"
PAUSED = f"{FLEET}:paused"
GATES = f"{FLEET}:gates"
BREAKERS = f"{FLEET}:breakers"
STATISTICS_TOTAL = f"{FLEET}:statistics:total"
STATISTICS_SAMPLED = f"{FLEET}:statistics:sampled"
EVENT_CLOCK = f"{FLEET}:event-clock"
WORKERS_CHANGED = f"{FLEET}:workers-changed"
QUARANTINE = f"{FLEET}:quarantine"
QUARANTINE_REASONS = f"{FLEET}:quarantine:reasons"
LEDGER = f"{FLEET}:ledger"
LEDGER_EPOCH = f"{FLEET}:ledger-epoch"
LEDGER_LEAD = f"{FLEET}:ledger-lead"
LEDGER_SERVER = f"{FLEET}:ledger-server"
TOKENS = f"{FLEET}:tokens"
DEAD_LETTERS = f"{FLEET}:dead-letters"
DEAD_LETTERS_KNOWN = f"{FLEET}:dead-letters:known"
DEAD_LETTER_GROUPS = f"{FLEET}:dead-letters:groups"
EXHAUSTED = f"{FLEET}:exhausted"
EXHAUSTED_AT = f"{FLEET}:exhausted-at"
AUDIT_LATER = f"{FLEET}:audit-later"
AUDIT_REFUSED_LATER = f"{FLEET}:audit-refused-later"
AUDIT_JOBS_LATER = f"{FLEET}:audit-jobs-later"

PERIODIC = f"{PREFIX}:scheduler:scheduled_jobs"
SCHEDULES = f"{FLEET}:schedules"
SCHEDULERS = f"{FLEET}:schedulers"
BROKEN = f"{FLEET}:scheduler:broken"
BROKEN_REASONS = f"{BROKEN}:reasons"


def job(job_id: str) -> str:
    """RQ's hash of a job."""
    return f"{PREFIX}:job:{job_id}"


def dependents(job_id: str) -> str:
    """RQ's set of the ids that wait for a job."""
    return f"{PREFIX}:job:{job_id}:dependents"


def dependencies(job_id: str) -> str:
    """RQ's set of the ids for which a job waits; with two colons, as RQ writes it."""
    return f"{PREFIX}:job::{job_id}:dependencies"


def queue(name: str) -> str:
    """RQ's list of the ids waiting in a queue."""
    return f"{PREFIX}:queue:{name}"


def registry(kind: str, queue_name: str) -> str:
    """RQ's sorted set of a queue's jobs in one state: wip, finished, failed, scheduled, deferred, canceled."""
    return f"{PREFIX}:{kind}:{queue_name}"


def results(job_id: str) -> str:
    """RQ's stream of a job's results, newest last."""
    return f"{PREFIX}:results:{job_id}"


def log(job_id: str) -> str:
    """Our stream of what a job printed and logged."""
    return f"{FLEET}:log:{job_id}"


def checkpoint(job_id: str) -> str:
    """What a job has reached, as JSON."""
    return f"{FLEET}:checkpoint:{job_id}"


def steps(job_id: str) -> str:
    """The hash of what a job has done once, and of its newest fencing token."""
    return f"{FLEET}:steps:{job_id}"


def inbox(worker: str, queue_name: str) -> str:
    """The list into which a worker moves ids that wake it."""
    return f"{FLEET}:inbox:{worker}:{queue_name}"


def overflow(queue_name: str, lane: str) -> str:
    """The list of ids that met a full lane; read before the queue's list by workers with room."""
    return f"{FLEET}:overflow:{queue_name}:{lane}"


def unique(job_type: str, value: str) -> str:
    """The lock of a unique job, holding the id of the job that has it."""
    return f"{FLEET}:unique:{job_type}:{value}"


def ended(job_type: str, state: str) -> str:
    """Our sorted set of a type's ended jobs (state: finished or failed), by time: retention by count."""
    return f"{FLEET}:ended:{state}:{job_type}"


def breaker(name: str) -> str:
    """The hash of a circuit breaker, `LANE/PROVIDER`, that is not closed or has seen failures of late."""
    return f"{FLEET}:breaker:{name}"


def workflow(workflow_id: str) -> str:
    """The hash of a workflow; beside it its plan, state, results and data."""
    return f"{FLEET}:workflow:{workflow_id}"


def commands(worker: str) -> str:
    """RQ's pub/sub channel of commands to a worker."""
    return f"{PREFIX}:pubsub:{worker}"


def worker_report(worker: str) -> str:
    """What a worker says of itself every two seconds, as JSON: slots, runs, memory, version."""
    return f"{FLEET}:worker-report:{worker}"


def waiting(queue_name: str, gate: str) -> str:
    """The list of a queue's ids that wait before a gate: a limit, a turn or a rate window."""
    return f"{FLEET}:waiting:{queue_name}:{gate}"


def admitted(queue_name: str, gate: str) -> str:
    """The sorted set of a queue's ids that a gate let through and that are not leased yet."""
    return f"{FLEET}:admitted:{queue_name}:{gate}"


def held(gate: str) -> str:
    """The sorted set of the runs (`id:execution`) that a limit counts."""
    return f"{FLEET}:held:{gate}"


def window(lane: str, period: timedelta) -> str:
    """The list of a lane's last begins (Redis' time, ms), newest first, as far as they count for a rate window."""
    return f"{FLEET}:window:{lane}:{round(period.total_seconds() * 1000)}"


def schedule(entry: str) -> str:
    """What happened to a periodic entry: how far it is, whether it is paused, what was left out."""
    return f"{FLEET}:schedule:{entry}"


def schedule_runs(entry: str) -> str:
    """The ids of an entry's latest runs, by the time for which they were due."""
    return f"{FLEET}:schedule-runs:{entry}"


def dead_letters_of(fingerprint: str) -> str:
    """Our sorted set of the dead letters with one error, by time of death."""
    return f"{DEAD_LETTERS}:of:{fingerprint}"


def dead_letter_group(fingerprint: str) -> str:
    """The hash that tells of the dead letters with one error: first seen, how often, an example."""
    return f"{DEAD_LETTERS}:group:{fingerprint}"


def exhausted_on(day: int) -> str:
    """The hash of how many jobs of each type used up their retries on a day, counted from 1970-01-01 in UTC."""
    return f"{EXHAUSTED}:{day}"
