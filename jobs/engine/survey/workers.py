"""The workers and schedulers of a fleet: what each says of itself, and how long ago it showed that it lives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.survey.shapes import Running, Scheduler, Worker, WorkerState

MOST = 1000
FIELDS = ("state", "queues", "birth", "hostname", "pid", "version", "last_heartbeat", "current_job")


@translate_errors()
def workers(client: redis.Redis, lease_ms: int, is_paused: Callable[[str], bool]) -> list[Worker]:
    """All that are registered (at most a thousand), by name; two round trips."""
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(keys.WORKERS, 0, MOST - 1, withscores=True)
        pipe.smembers(f"{keys.PREFIX}:workers")
        (seconds, micros), ours, registered = pipe.execute()
        dies_at = {name.decode(): until for name, until in ours}
        start = f"{keys.PREFIX}:worker:"
        known = sorted({*dies_at, *(key.decode().removeprefix(start) for key in registered)})[:MOST]
        for name in known:
            pipe.get(keys.worker_report(name))
            pipe.hmget(start + name, FIELDS)
        replies = pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    found = []
    for name, report, values in zip(known, replies[::2], replies[1::2], strict=True):
        fields = {field: _text(value) for field, value in zip(FIELDS, values, strict=True)}
        if name in dies_at:
            age = (now_ms - dies_at[name] + lease_ms) / 1000
            found.append(_ours(name, _report(report), fields, age, now_ms >= dies_at[name], is_paused(name)))
        elif any(fields.values()):
            found.append(_rqs(name, fields, now_ms / 1000))
    return found


@translate_errors()
def schedulers(client: redis.Redis, gone_after: float) -> list[Scheduler]:
    """Those that gave a sign of life within `gone_after` seconds; the name ends where the digest begins."""
    seconds, micros = client.time()
    now = seconds + micros / 1e6
    lead = _text(client.get(f"{keys.PREFIX}:scheduler_lock"))
    alive: Any = client.zrangebyscore(keys.SCHEDULERS, now - gone_after, "+inf", withscores=True)
    return [
        Scheduler(name=token.partition("#")[0], leads=token == lead, heartbeat_age=max(0.0, now - seen))
        for token, seen in ((_text(name), seen) for name, seen in alive)
    ]


def _ours(
    name: str, report: Mapping[str, Any], fields: Mapping[str, str], age: float, is_lost: bool, is_paused: bool
) -> Worker:
    """What is no report of ours counts as none."""
    try:
        return _told(name, report, fields, age, is_lost, is_paused)
    except (ValueError, TypeError, AttributeError):
        return _told(name, {}, fields, age, is_lost, is_paused)


def _told(
    name: str, report: Mapping[str, Any], fields: Mapping[str, str], age: float, is_lost: bool, is_paused: bool
) -> Worker:
    runs = _runs(report.get("runs") or ())
    busy = int(report.get("busy", 0))
    state: WorkerState = "busy" if busy or fields["state"] == "busy" else "idle"
    state = "lost" if is_lost else "draining" if report.get("draining") else "paused" if is_paused else state
    return Worker(
        name=name,
        state=state,
        queues=_queues(fields),
        slots=int(report.get("slots", 1)),
        busy=busy,
        lanes=report.get("lanes") or {},
        running=runs,
        memory=report.get("memory"),
        cpu=report.get("cpu"),
        processes=report.get("processes"),
        version=str(report.get("version", "")),
        host=str(report.get("host") or fields["hostname"]),
        pid=report.get("pid") or _number(fields["pid"]),
        started_at=_moment(fields["birth"]),
        heartbeat_age=max(0.0, age),
        paused=is_paused,
    )


def _rqs(name: str, fields: Mapping[str, str], now: float) -> Worker:
    seen = _moment(fields["last_heartbeat"])
    is_busy = bool(fields["current_job"]) or fields["state"] == "busy"
    return Worker(
        name=name,
        state="paused" if fields["state"] == "suspended" else "busy" if is_busy else "idle",
        is_ours=False,
        queues=_queues(fields),
        busy=int(is_busy),
        version=f"rq {fields['version']}".strip(),
        host=fields["hostname"],
        pid=_number(fields["pid"]),
        started_at=_moment(fields["birth"]),
        heartbeat_age=max(0.0, now - seen.timestamp()) if seen else None,
    )


def _runs(told: Sequence[Sequence[Any]]) -> tuple[Running, ...]:
    names = ("id", "type", "queue", "lane", "tenant", "attempt", "since")
    return tuple(Running(**dict(zip(names, run, strict=True))) for run in told)


def _report(text: bytes | None) -> Mapping[str, Any]:
    try:
        told = json.loads(text or b"{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _queues(fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in fields["queues"].split(",") if name)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
