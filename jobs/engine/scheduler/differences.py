"""What the entries in Redis lack to be the declared ones, written as one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from redis.client import Pipeline

from jobs.engine import keys, schedule_runs
from jobs.engine.scheduler import entries, names
from jobs.engine.scheduler.entries import Entry, State
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.scheduler.recall import Recalls
from jobs.engine.schedules import looked_at_before

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

log = structlog.get_logger(__name__)


class Differences:
    """Finds and writes them, for a scheduler that leads."""

    def __init__(self, fleet: Fleet, lead: Leadership) -> None:
        self._lead = lead
        self._recalls = Recalls(fleet)
        self._waiting: list[str] = []
        self._refused: Collection[str] = ()

    def write(
        self, declared: Mapping[str, Entry], known: dict[str, float], refused: Collection[str] = frozenset()
    ) -> bool:
        """Write new and changed entries and remove those that are declared no more; false where some have to wait.

        An entry that is due waits until its runs were made by the schedule they were due by, one that was lost until
        the ledger has told of its runs. `known` are the times that this scheduler remembers, `refused` the entries
        whose runs their queue does not take: these change and stay due, as the declaration may name another queue.
        Raises LostLead.
        """
        self._refused = refused
        wanted = list(declared.values())
        states = entries.states(self._lead.connection, wanted)
        self._recalls.ask([each for each, state in zip(wanted, states, strict=True) if _is_lost(each, state)])

        def differences(pipe: Pipeline) -> None:
            found: Any = pipe.smembers(keys.SCHEDULES)
            gone = {member.decode() for member in found} - declared.keys()
            states = entries.states(self._lead.connection, wanted)
            self._waiting.clear()
            pipe.multi()
            for entry_id in gone:
                _remove(pipe, entry_id)
            for entry, state in zip(wanted, states, strict=True):
                self._write_one(pipe, entry, state, known)

        self._lead.fenced(differences, names.SCHEDULED_JOBS, keys.SCHEDULES)
        self._recalls.forget(declared.keys() - set(self._waiting))
        return not self._waiting

    def _write_one(self, pipe: Pipeline, entry: Entry, state: State, known: dict[str, float]) -> None:
        now = self._lead.now
        if self._has_to_wait(entry, state):
            self._waiting.append(entry.id)
        elif state.text != entry.periodic.text or (state.score is None and not state.cancelled):
            self._write(pipe, entry, self._first(pipe, entry, state, known), known)
        elif _is_ahead(entry, state, now):
            last = schedule_runs.last_before(self._lead.connection, entry.id, now)
            _put_right(pipe, entry, state, looked_at_before(now, last))

    def _has_to_wait(self, entry: Entry, state: State) -> bool:
        is_due = state.score is not None and state.score <= self._lead.now.timestamp() and not state.cancelled
        if is_due and state.text != entry.periodic.text and entry.id not in self._refused:
            return True
        return _is_lost(entry, state) and not self._recalls.has_told(entry)

    def _first(self, pipe: Pipeline, entry: Entry, state: State, known: Mapping[str, float]) -> datetime:
        """When an entry is due that is new or changed; one that was lost goes on where it was."""
        now, times = self._lead.now, entry.periodic.times
        if entry.id in self._refused and state.score is not None and state.score <= now.timestamp():
            return schedule_runs.due_at(state.score)
        is_same = state.text == entry.periodic.text
        recalled = self._recalls.told(entry) if _is_lost(entry, state) else None
        if recalled:
            schedule_runs.remember(pipe, entry.id, recalled.open)
        if (is_same or not state.text) and entry.id in known:
            first = schedule_runs.due_at(known[entry.id])
        elif recalled and recalled.last is not None:
            first = times.following(recalled.last)
        else:
            first = times.following(schedule_runs.due_at(state.reached) if is_same and state.reached else now)
        return min(first, times.following(now))

    def _write(self, pipe: Pipeline, entry: Entry, first: datetime, known: dict[str, float]) -> None:
        job = entries.as_job(entry, self._lead.connection)
        pipe.delete(job.key)
        job.save(pipeline=pipe)
        pipe.hset(job.key, mapping={"schedule": entry.periodic.text, "type": entry.job_type.name})
        pipe.zadd(names.SCHEDULED_JOBS, {entry.id: first.timestamp()})
        pipe.sadd(keys.SCHEDULES, entry.id)
        pipe.persist(keys.schedule(entry.id))
        pipe.persist(keys.schedule_runs(entry.id))
        known[entry.id] = first.timestamp()
        log.info("periodic entry written", entry=entry.id, schedule=str(entry.periodic), next=first.isoformat())


def _is_lost(entry: Entry, state: State) -> bool:
    """Whether the ledger knows more of an entry than Redis does."""
    return entry.job_type.durable and not state.text


def _is_ahead(entry: Entry, state: State, now: datetime) -> bool:
    """Whether it would be silent for too long: the clock of Redis was put back, or somebody moved the entry."""
    following = entry.periodic.times.following(now).timestamp()
    return (state.score is not None and state.score > following) or (state.reached or 0) > now.timestamp()


def _put_right(pipe: Pipeline, entry: Entry, state: State, reached: datetime) -> None:
    following = entry.periodic.times.following(reached)
    log.warning("periodic entry was ahead of the clock", entry=entry.id, due=state.score, next=following.isoformat())
    pipe.hset(keys.schedule(entry.id), "reached", repr(reached.timestamp()))
    if not state.cancelled:
        pipe.zadd(names.SCHEDULED_JOBS, {entry.id: following.timestamp()})


def _remove(pipe: Pipeline, entry_id: str) -> None:
    pipe.zrem(names.SCHEDULED_JOBS, entry_id)
    pipe.srem(keys.SCHEDULES, entry_id)
    pipe.delete(keys.job(entry_id))
    pipe.hdel(keys.schedule(entry_id), "reached")
    for key in (keys.schedule(entry_id), keys.schedule_runs(entry_id)):
        pipe.expire(key, entries.KEPT)
    log.info("periodic entry removed: it is declared no more", entry=entry_id)
