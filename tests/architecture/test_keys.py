"""The table of keys in docs/architecture.md holds for what a fleet writes, and for every name in the scripts."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, chain, keys, registry
from jobs.engine.scheduler import names
from jobs.settings import Settings
from tests.conftest import ROOT, wait_until
from webapp import sessions

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `PREFIX(:\S+)` \| (\w+) \| .* \| (.*) ?\|$", PAGE, re.M)
KINDS = {name: kind for name, kind, _ in ROWS}
PLACE = re.compile(r"[A-Z]{2,}")


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "JOB_MODULES": "tests.engine.samples", "AUDIT_RATE_LIMIT_PER_MINUTE": "4"}


@pytest.fixture
def busy_fleet(fleet: Fleet, settings: Settings, spawn: Any, spawn_worker: Any, tmp_path: Path) -> redis.Redis:
    """A fleet that has done a bit of everything, and still runs and holds jobs."""
    told = {"folder": str(tmp_path)}
    spawn("worker.py", "--scheduler")
    spawn_worker()
    report = fleet.enqueue("samples.report", {}, tenant="acme")
    hopeless = fleet.enqueue("samples.hopeless", told)
    rq_queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    foreign = rq_queue.enqueue("os.getcwd")
    for number in range(3):
        fleet.enqueue("samples.audited", {**told, "name": f"audited-{number}"})
    wait_until(lambda: fleet.redis.exists(keys.overflow("low", "audit")))  # before others use up the lane's window
    for number in range(3):
        fleet.enqueue("samples.pair", {**told, "name": f"pair-{number}"})
        fleet.enqueue("samples.metered", told)
    holder = fleet.enqueue("samples.only_one", told)
    rq_queue.enqueue("os.getcwd", depends_on=holder.id)
    later = fleet.enqueue("samples.later", {**told, "name": "later"})
    steps = [(registry.get("flows.step"), {}), (registry.get("flows.step"), lambda before: {"takes": before})]
    flow = chain(*steps, (registry.get("samples.gate"), {**told, "name": "last"}), tenant="acme").enqueue(fleet)
    fleet.jobs.cancel(fleet.enqueue("samples.gate", told | {"name": "cancelled"}).id)
    for job in (report, hopeless):
        fleet.jobs.wait(job.id, None, timedelta(seconds=30))
    wait_until(lambda: fleet.jobs.get(foreign.id).status == "quarantined")
    wait_until(lambda: fleet.jobs.get(later.id).status == "scheduled")
    wait_until(lambda: fleet.redis.exists(names.SCHEDULERS))
    wait_until(lambda: fleet.workflows.get(flow.id).node("step-2").status == "completed")
    wait_until(lambda: fleet.jobs.get(holder.id).status == "started")
    sessions.use_ticket(settings, fleet.notes, sessions.make_ticket(settings))
    return fleet.redis


def test_every_key_of_a_busy_fleet_is_in_the_table_with_its_type_and_ttl(busy_fleet: redis.Redis) -> None:
    found = {key.decode(): kind_and_ttl(busy_fleet, key) for key in busy_fleet.scan_iter(count=1000)}
    assert len({row for key in found for row in rows_of(key)}) > 25, "the fleet was not busy enough"
    wrong = {
        key: (kind, ttl) for key, (kind, ttl) in found.items() if not any(fits(row, kind, ttl) for row in rows_of(key))
    }
    assert wrong == {}


def test_every_key_that_a_script_names_is_in_the_table() -> None:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "jobs/engine/lua").glob("*.lua"))
    named = set(re.findall(r"(?:P|prefix) \.\. '(:[a-z:_-]+)'", scripts))
    assert len(named) > 25
    assert {
        name for name in named if not (name in KINDS or rows_of(f"{keys.PREFIX}{name}X") or is_start(name))
    } == set()


def test_every_key_that_the_engine_names_is_in_the_table() -> None:
    constants = {value for module in (keys, names) for value in vars(module).values() if isinstance(value, str)}
    named = {value for value in constants if value.startswith(f"{keys.PREFIX}:")} - {keys.FLEET, names.INSTANCE}
    named |= {
        keys.job("ID"),
        keys.queue("QUEUE"),
        keys.results("ID"),
        keys.log("ID"),
        keys.checkpoint("ID"),
        keys.workflow("WORKFLOW"),
        keys.commands("WORKER"),
    }
    named |= {keys.inbox("WORKER", "QUEUE"), keys.overflow("QUEUE", "LANE")}
    named |= {keys.waiting("QUEUE", "GATE"), keys.admitted("QUEUE", "GATE"), keys.held("GATE")}
    named |= {keys.unique("TYPE", "VALUE"), keys.ended("TYPE", "STATE"), f"{keys.EXHAUSTED}:DAY"}
    named |= {keys.dead_letters_of("FINGERPRINT"), keys.dead_letter_group("FINGERPRINT")}
    named |= {
        keys.registry(kind, "QUEUE") for kind in ("wip", "finished", "failed", "scheduled", "deferred", "canceled")
    }
    assert {name for name in named if name.removeprefix(keys.PREFIX) not in KINDS} == set()


def rows_of(key: str) -> list[tuple[str, str, str]]:
    """The rows that may stand for a key, the most exact first."""
    rest = key.removeprefix(keys.PREFIX)
    found = [row for row in ROWS if re.fullmatch(PLACE.sub(r".+", row[0].replace(".", r"\.")), rest)]
    return sorted(found, key=lambda row: len(PLACE.sub("", row[0])), reverse=True)[:1]


def is_start(name: str) -> bool:
    """Whether a name is put together from more than one piece, of which this is the first."""
    return any(known.startswith(name) for known in KINDS)


def fits(row: tuple[str, str, str], kind: str, ttl: int) -> bool:
    """Whether type and TTL are the row's: a plain `none` means none, a plain time means that there is one."""
    _, said, lives = row
    if kind == "none":
        return True
    if said != kind:
        return False
    if lives.strip() == "none":
        return ttl == -1
    return ttl >= 0 or not re.fullmatch(r"\d+ (s|min|h)(, renewed)?", lives.strip())


def kind_and_ttl(client: redis.Redis, key: bytes) -> tuple[str, int]:
    """A key's type and seconds left (-1: for ever), at one moment; a key that is gone meanwhile has the type none."""
    with client.pipeline() as pipe:
        kind, ttl = pipe.type(key).ttl(key).execute()
    return kind.decode(), ttl
