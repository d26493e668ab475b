"""rq-dashboard's buttons for whole lists: some ids at a time, each job noted with its state before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from flask import g
from flask.sansio.app import App
from rq.exceptions import NoSuchJobError

from jobs.engine import Conflict, JobView, NotFound, keys
from jobs.engine.broker import translate_errors
from jobs.engine.changes import UNKNOWN, Change
from jobs.engine.compacting import take_out_gone
from jobs.engine.inspection import Done
from webapp import operators
from webapp.json_rq import STRANGE, JsonJob
from webapp.services import fleet

MOST = 10_000
"""Jobs that one press of a button changes: as many as one line of the audit log lists."""
WITHIN = timedelta(seconds=20)
"""So long one press takes at most: proxies wait for 30 s and longer."""
AT_ONCE, COMPACTED_AT_ONCE = 100, 1_000
STALE = "no job"
"""The state of what is listed though its job is gone."""
REGISTRIES = {"started": "wip", **{name: name for name in ("scheduled", "deferred", "finished", "failed", "canceled")}}


@dataclass(frozen=True)
class Listed:
    """A queue's list or one of its registries in Redis, by the names that rq-dashboard has for them."""

    queue: str
    registry: str

    def size(self) -> int:
        """How many entries it has. Raises BrokerUnavailable, as all of this does."""
        with translate_errors():
            found: Any = fleet().redis.llen(self._key) if self._is_queue else fleet().redis.zcard(self._key)
        return int(found)

    def some(self, start: int, most: int) -> list[bytes]:
        """Up to `most` entries from that place on."""
        read = fleet().redis.lrange if self._is_queue else fleet().redis.zrange
        with translate_errors():
            found: Any = read(self._key, start, start + most - 1)
        return list(found)

    def drop(self, entries: Sequence[bytes], start: int, most: int) -> list[bytes]:
        """Take entries without a job out that lie at these places; which ones that were."""
        if self._is_queue:
            return take_out_gone(fleet().redis, self.queue, entries, start=start, most=most)
        with translate_errors():
            fleet().redis.zrem(self._key, *entries)
        return list(entries)

    def job_id(self, entry: bytes) -> str:
        """Whose entry it is: that of a running job has its execution behind the id."""
        text = entry.decode("utf-8", "replace")
        return text.rpartition(":")[0] or text if self.registry == "started" else text

    @property
    def _is_queue(self) -> bool:
        return self.registry == "queued"

    @property
    def _key(self) -> str:
        return keys.queue(self.queue) if self._is_queue else keys.registry(REGISTRIES[self.registry], self.queue)


@dataclass
class Press:
    """What one press of a button has done so far, and whether it came to the list's end."""

    done: Done = field(default_factory=Done)
    is_all: bool = False
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """How many more jobs it may change: none once its time is over."""
        return 0 if self.is_late else MOST - self.done.done - self.done.refused

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() - self.begun > WITHIN.total_seconds()


Act = Callable[[Listed, int, Mapping[bytes, JobView | None], Press], None]
"""Does something to jobs that were found from that place in the list on."""


def init_app(app: App) -> None:
    """Take the place of the package's own views, which read a whole list and say of no job what became of it."""
    for view in (empty_queue, requeue_all, compact_queue):
        app.view_functions[f"rq_dashboard.{view.__name__}"] = view


def pressed() -> Press | None:
    """What this request has done to a list; None where it is about none."""
    found: Press | None = g.get("dashboard_press")
    return found


def empty_queue(queue_name: str, registry_name: str) -> dict[str, Any]:
    """Delete every job of the list; what runs is asked to stop. `more` says that the list goes on."""
    press = _begin()
    _do_to_each(Listed(queue_name, registry_name), _delete_all, press)
    return _answer(press)


def requeue_all(queue_name: str) -> dict[str, Any]:
    """Run every failed job of a queue again, those that failed before the button was pressed."""
    press = _begin()
    _do_to_each(Listed(queue_name, "failed"), _run_all_again, press)
    return _answer(press) | {"count": press.done.done}


def compact_queue(queue_name: str) -> dict[str, Any]:
    """Take the ids out of a queue whose job is gone."""
    press, listed, start = _begin(), Listed(queue_name, "queued"), 0
    while (entries := listed.some(start, COMPACTED_AT_ONCE)) and press.left > 0:
        stale = _without_job(listed, entries)
        start += len(entries) - _take_out(listed, start, stale[: press.left], press.done)
    press.is_all = not entries
    return _answer(press)


def _begin() -> Press:
    g.dashboard_press = Press()
    return g.dashboard_press  # type: ignore[no-any-return]


def _answer(press: Press) -> dict[str, Any]:
    return {"status": "OK"} if press.is_all else {"status": "OK", "more": True}


def _do_to_each(listed: Listed, act: Act, press: Press) -> None:
    """What lies there now, each once; what stays in its place is passed, and what comes meanwhile is left."""
    size, start, seen = listed.size(), 0, set[bytes]()
    while len(seen) < size and (entries := listed.some(start, AT_ONCE)):
        if not (new := [entry for entry in entries if entry not in seen]):
            start += len(entries)
            continue
        new = new[: min(size - len(seen), press.left)]
        if not new:
            return
        seen.update(new)
        views = fleet().jobs.get_many([listed.job_id(entry) for entry in new])
        act(listed, start, dict(zip(new, views, strict=True)), press)
        if press.is_late:
            return
    press.is_all = True


def _delete_all(listed: Listed, start: int, found: Mapping[bytes, JobView | None], press: Press) -> None:
    without_job = []
    for entry, view in found.items():
        if press.left > 0 and (view is None or not _deleted(view, press.done)):
            without_job.append(entry)
    _take_out(listed, start, without_job, press.done)


def _deleted(view: JobView, done: Done) -> bool:
    """Delete a job, or leave one that nobody can read, which keeps no others; False where it is gone already."""
    done.begin([Change(view.id, view.tenant, view.status, "gone")])
    refusal, after = "", ""
    try:
        with translate_errors():
            job = cast(JsonJob, JsonJob.fetch(view.id, connection=fleet().redis))
    except NoSuchJobError:
        return False
    except STRANGE as error:
        done.end(view.id, f"it can't be read: {type(error).__name__}")
        return True
    try:
        with translate_errors():
            after = job.remove()
    except Conflict as error:
        refusal = str(error)
    except STRANGE:
        after = UNKNOWN
    done.end(view.id, refusal, after)
    return True


def _run_all_again(listed: Listed, _: int, found: Mapping[bytes, JobView | None], press: Press) -> None:
    for entry, view in found.items():
        if press.left > 0:
            _run_again(listed.job_id(entry), view, press.done)


def _run_again(job_id: str, view: JobView | None, done: Done) -> None:
    done.begin([Change(job_id, view.tenant if view else "", view.status if view else STALE, "queued")])
    try:
        fleet().jobs.retry(job_id, by=operators.operator().subject)
    except (Conflict, NotFound) as error:
        done.end(job_id, str(error))
    else:
        done.end(job_id)


def _without_job(listed: Listed, entries: Sequence[bytes]) -> list[bytes]:
    with translate_errors(), fleet().redis.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.exists(keys.job(listed.job_id(entry)))
        return [entry for entry, is_there in zip(entries, pipe.execute(), strict=True) if not is_there]


def _take_out(listed: Listed, start: int, entries: Sequence[bytes], done: Done) -> int:
    """Take out what was found from that place on and has no job; how many entries that were."""
    if not entries:
        return 0
    ids = {listed.job_id(entry): entry for entry in entries}
    done.begin(Change(job_id, "", STALE, "gone") for job_id in ids)
    out = listed.drop(entries, start, COMPACTED_AT_ONCE)
    for job_id, entry in ids.items():
        done.end(job_id, "" if entry in out else "it has a job by now, or is not there any more")
    return len(out)
