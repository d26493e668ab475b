"""The dead letters of a fleet: find, look, group, run again, throw away, keep within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine import durability, keys, letter_bounds, views
from jobs.engine.broker import translate_errors
from jobs.engine.control import policy_of
from jobs.engine.dead_letters import actions, attempts, exhaustion, groups, letters, search
from jobs.engine.dead_letters.actions import Done, Plan
from jobs.engine.dead_letters.attempts import Attempt
from jobs.engine.dead_letters.exhaustion import Day
from jobs.engine.dead_letters.groups import GroupPage
from jobs.engine.dead_letters.letters import Letter, Page, Where
from jobs.engine.dead_letters.places import Bound, bound_of
from jobs.engine.errors import Conflict, NotFound
from jobs.engine.keys import PREFIX
from jobs.engine.masking import shown_payload
from jobs.engine.output import MOST_LINES
from jobs.engine.scripts import script
from jobs.engine.views import LogLine

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

EVERYTHING = Where()
log = structlog.get_logger("dead_letters")


class Details(Letter):
    """A letter with all that is kept: the payload with credentials struck out, every run, and what they printed."""

    payload: Any = None
    history: list[Attempt] = []
    lines: list[LogLine] = []

    def printed(self, attempt: Attempt) -> list[LogLine]:
        """Those of the lines that are of one run."""
        if attempt.output is None:
            return []
        first, last = (next(n for n, line in enumerate(self.lines) if line.id == end) for end in attempt.output.ends)
        return [line for line in self.lines[first : last + 1] if line.attempt == attempt.number]


class DeadLetters:
    """The jobs of one fleet that failed for good: for operators.

    Where a tenant is given, only that one's are there: another's are neither seen, counted nor touched.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def find(
        self, where: Where = EVERYTHING, *, limit: int = 50, cursor: str | None = None, tenant: str | None = None
    ) -> Page:
        """Letters, the latest first; a page may be short before the end, which its `next_cursor` tells.

        Raises ValueError for a cursor that is none, NotFound for a filter by another tenant, BrokerUnavailable.
        """
        return search.page(self._fleet.redis, where.within(tenant), limit, cursor)

    def groups(
        self, where: Where = EVERYTHING, *, limit: int = 50, cursor: str | None = None, tenant: str | None = None
    ) -> GroupPage:
        """Errors, that of the latest letter first. Those of all letters are counted already; with a filter or a tenant
        they are counted on the spot, page by page, see `groups.page_of`. Raises as `find` does.
        """
        where = where.within(tenant)
        if where == EVERYTHING:
            return groups.page(self._fleet.redis, limit, cursor)
        return groups.page_of(self._fleet.redis, where, limit, cursor)

    def get(self, job_id: str, tenant: str | None = None) -> Details:
        """One letter with its history, or a job in quarantine. Raises NotFound, BrokerUnavailable."""
        with translate_errors(), self._fleet.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.zscore(keys.DEAD_LETTERS, job_id)
            pipe.hget(keys.DEAD_LETTERS_KNOWN, job_id)
            pipe.zscore(keys.QUARANTINE, job_id)
            pipe.hget(keys.QUARANTINE_REASONS, job_id)
            pipe.xrange(keys.results(job_id))
            pipe.xrevrange(keys.log(job_id), count=MOST_LINES)
            raw, died_at, known, aside_at, reason, results, lines = pipe.execute(raise_on_error=False)
        fields = raw if isinstance(raw, Mapping) else {}
        if tenant is not None and fields.get(b"tenant", b"").decode("utf-8", "replace") != tenant:
            raise NotFound(f"there is no dead letter {job_id}")
        is_aside = aside_at is not None and (b"quarantined" in fields or b"status" not in fields)
        if not is_aside and (died_at is None or fields.get(b"status") != b"failed"):
            raise NotFound(f"there is no dead letter {job_id}")
        row = _row(job_id, aside_at if is_aside else died_at, known, reason, fields)
        letter = letters.of_row(row, "quarantined" if is_aside else "dead")
        told = [views.of_line(*line) for line in lines[::-1]] if isinstance(lines, list) else []
        runs = attempts.of_results(results, told) if isinstance(results, list) else []
        payload = None if is_aside else shown_payload(fields.get(b"data", b""))
        return Details(**letter.model_dump(), payload=payload, history=runs, lines=told)

    def plan(
        self,
        where: Where = EVERYTHING,
        tenant: str | None = None,
        *,
        within: timedelta = actions.WITHIN,
        cursor: str | None = None,
    ) -> Plan:
        """A dry run of `retry` and `discard`: what they would touch, and the bound that they take.

        Where `within` was short it counts on from the `next_cursor` that the last one gave. Raises NotFound for a
        filter by another tenant, ValueError for a cursor that is none, BrokerUnavailable.
        """
        return actions.plan(self._fleet.redis, where.within(tenant), within=within, cursor=cursor)

    def retry(
        self,
        bound: str,
        *,
        by: str,
        most: int = actions.MOST,
        cursor: str | None = None,
        tenant: str | None = None,
        done: Done | None = None,
    ) -> Done:
        """Run again what a dry run found, in the order in which it died, with all retries; see `retry_one`.

        It may be repeated; after `most` letters it stops and gives a cursor. `by` says who wants it. A `done` that is
        handed in tells what was done, however this ends. Raises ValueError for a bound or cursor that is none, NotFound
        for a bound that is not of this tenant's letters alone, BrokerUnavailable: then some may be on their way.
        """
        allowed = _allowed(bound, tenant)
        done = self._carry_out(allowed, lambda batch: self._retry(batch, by), "again", most, cursor, done)
        log.info("dead letters run again", by=by, number=done.done, left=done.refused, where=allowed.where.wanted())
        return done

    def discard(
        self,
        bound: str,
        *,
        by: str,
        most: int = actions.MOST,
        cursor: str | None = None,
        tenant: str | None = None,
        done: Done | None = None,
    ) -> Done:
        """Throw away what a dry run found, jobs and all; otherwise like `retry`."""
        allowed = _allowed(bound, tenant)
        done = self._carry_out(allowed, self._discard, "gone", most, cursor, done)
        log.info("dead letters discarded", by=by, number=done.done, left=done.refused, where=allowed.where.wanted())
        return done

    def retry_one(self, job_id: str, *, by: str, tenant: str | None = None) -> Letter:
        """Run one letter, or a job in quarantine, again; its attempts begin anew and its history stays.

        Returns it as it was. Raises NotFound, Conflict when its like runs already, BrokerUnavailable.
        """
        letter = self._found(job_id, tenant)
        self._fleet.jobs.retry(job_id, by=by)
        log.info("dead letter run again", by=by, job_id=job_id)
        return letter

    def discard_one(self, job_id: str, *, by: str, tenant: str | None = None) -> Letter:
        """Throw one letter, or a job in quarantine, away with its job.

        Returns it as it was. Raises NotFound, Conflict when other jobs wait for it, BrokerUnavailable.
        """
        letter = self._found(job_id, tenant)
        (word,) = self._discard([letter])
        if word != "gone":
            raise Conflict(actions.reason_of(word))
        log.info("dead letter discarded", by=by, job_id=job_id)
        return letter

    def count(self) -> int:
        """How many there are, those included whose job RQ's tools took away within the last minutes."""
        with translate_errors():
            return int(self._fleet.redis.zcard(keys.DEAD_LETTERS))

    def exhausted(self) -> list[Day]:
        """How many jobs used up their retries on each of the last eight days, today first. Raises BrokerUnavailable."""
        return exhaustion.last_days(self._fleet.redis)

    def keep_within_bounds(self) -> None:
        """What workers do every ten seconds: drop what is too old or too many. Raises BrokerUnavailable."""
        letter_bounds.keep_within(self._fleet.redis, self._fleet.settings)

    def _carry_out(
        self, allowed: Bound, act: actions.Act, good: str, most: int, cursor: str | None, done: Done | None
    ) -> Done:
        begun = Done() if done is None else done
        return actions.carry_out(self._fleet.redis, allowed, act, good, most, cursor, begun)

    def _found(self, job_id: str, tenant: str | None) -> Letter:
        details = self.get(job_id, tenant)
        return Letter(**{**details.model_dump(include=set(Letter.model_fields)), "score": details.score})

    def _retry(self, batch: Sequence[Letter], by: str) -> list[str]:
        now = views.rfc3339(datetime.now(UTC))
        retries = {letter.type: policy_of(self._fleet, letter.type).retry.max_retries for letter in batch}
        calls = [(PREFIX, each.id, now, retries[each.type], _execution(each), by) for each in batch]

        def ask() -> list[str]:
            with translate_errors():
                return [word.decode() for word in script("retry").many(self._fleet.redis, calls)]

        return durability.run_again(self._fleet, [(each.id, each.type) for each in batch], ask)

    def _discard(self, batch: Sequence[Letter]) -> list[str]:
        calls = [(PREFIX, letter.id, _execution(letter)) for letter in batch]
        with translate_errors():
            return [word.decode() for word in script("discard").many(self._fleet.redis, calls)]


def _allowed(bound: str, tenant: str | None) -> Bound:
    """What a bound names. Raises ValueError, and NotFound where it reaches beyond the tenant's own letters."""
    allowed = bound_of(bound)
    if tenant is not None and allowed.where.tenant != tenant:
        raise NotFound("this bound is not of this tenant's letters alone")
    return allowed


def _execution(letter: Letter) -> str:
    """The run that a letter died of, so that a later death is not meant; what was set aside may never have run."""
    return letter.execution if letter.state == "dead" else ""


def _row(job_id: str, died_at: float, known: Any, reason: Any, fields: Mapping[bytes, bytes]) -> list[Any]:
    names = {"queue": "origin"}
    values = [fields.get(names.get(name, name).encode(), b"") for name in letters.FIELDS]
    return [job_id.encode(), repr(died_at).encode(), (known or b"").partition(b" ")[0], reason or b"", values]
