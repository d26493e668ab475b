"""Server-sent events: of a job until it has ended, of a workspace until the client leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from apiflask import APIFlask

from jobs.engine import BrokerUnavailable, Fleet, JobView
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.webapp.conftest import BOTH_WAYS, Header
from tests.webapp.live_server import GUARD, get, serving, sse, wait_for_connections
from webapp.live import streams
from webapp.live.connections import connections

pytestmark = BOTH_WAYS


@pytest.fixture
def base(app: APIFlask) -> Iterator[str]:
    app.config["LIVE_KEEP_ALIVE"] = timedelta(seconds=0.1)
    with serving(app) as address:
        yield address


@pytest.fixture
def job(fleet: Fleet) -> JobView:
    """A job of ours that waits and, once run, is done at once: its document is gone already."""
    payload = {"tenant_id": "ours", "workspace_id": "w1", "document_id": "d1"}
    return fleet.enqueue("documents.ingest", payload)


@contextmanager
def streaming(url: str, headers: Header) -> Iterator[Iterator[dict[str, Any]]]:
    with httpx2.stream("GET", url, headers=headers, timeout=GUARD) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield sse(answer.iter_lines())


def names(events: Iterator[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


@pytest.mark.usefixtures("redis_only")
def test_a_jobs_stream_tells_its_whole_story_and_ends_with_it(
    base: str, us: Header, fleet: Fleet, job: JobView, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    with streaming(f"{base}/api/jobs/{job.id}/events", us) as events:
        first = next(events)
        assert first["event"] == "job:queued"
        spawn("worker.py", "--burst")
        rest = list(events)
    told = [event["event"] for event in rest if event["event"] not in ("job:progress", "job:output")]
    assert told == ["job:started", "job:completed"]
    last = rest[-1]["data"]
    assert last["id"] == rest[-1]["id"] and last["topic"] == f"job:{job.id}"
    assert last["data"]["job_id"] == job.id


def test_the_stream_of_a_job_that_has_ended_already_says_how(base: str, us: Header, fleet: Fleet, job: JobView) -> None:
    fleet.jobs.cancel(job.id)
    with streaming(f"{base}/api/jobs/{job.id}/events", us) as events:
        assert names(events) == ["job:queued", "job:cancelled"]


@pytest.mark.usefixtures("redis_only")
def test_the_end_is_told_also_when_the_events_are_not_kept_any_more(
    base: str, us: Header, fleet: Fleet, job: JobView
) -> None:
    fleet.jobs.cancel(job.id)
    fleet.redis.delete(*fleet.redis.keys(f"*events*{job.id}*"))
    with streaming(f"{base}/api/jobs/{job.id}/events", us) as events:
        [only] = list(events)
    assert only["event"] == "job:cancelled"
    assert only["data"]["data"]["job_id"] == job.id


def test_a_job_that_is_run_again_is_followed_to_its_second_end(
    base: str, us: Header, fleet: Fleet, job: JobView
) -> None:
    fleet.jobs.cancel(job.id)
    fleet.jobs.retry(job.id)
    with streaming(f"{base}/api/jobs/{job.id}/events", us) as events:
        assert [next(events)["event"] for _ in range(3)] == ["job:queued", "job:cancelled", "job:queued"]
        fleet.jobs.cancel(job.id)
        assert names(events) == ["job:cancelled"]


def test_a_client_resumes_after_the_last_event_it_saw(base: str, us: Header, fleet: Fleet, job: JobView) -> None:
    url = f"{base}/api/jobs/{job.id}/events"
    with streaming(url, us) as events:
        seen = next(events)["id"]
    fleet.jobs.cancel(job.id)
    with streaming(url, us | {"Last-Event-ID": seen}) as events:
        assert names(events) == ["job:cancelled"]
    with streaming(f"{url}?after={seen}", us) as events:
        assert names(events) == ["job:cancelled"]


def test_a_client_that_has_seen_the_end_is_told_not_to_come_back(
    base: str, us: Header, fleet: Fleet, job: JobView
) -> None:
    fleet.jobs.cancel(job.id)
    url = f"{base}/api/jobs/{job.id}/events"
    with streaming(url, us) as events:
        *_, last = events
    assert get(url, us | {"Last-Event-ID": last["id"]}).status_code == 204


def test_a_silent_stream_is_kept_alive_with_comments(base: str, us: Header, job: JobView) -> None:
    with httpx2.stream("GET", f"{base}/api/jobs/{job.id}/events", headers=us, timeout=GUARD) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(": still"))


def test_a_workspaces_stream_carries_the_events_of_its_jobs(
    base: str, us: Header, them: Header, fleet: Fleet, workspace: str
) -> None:
    topic = f"workspace:{get(f'{base}/api/workspace/{workspace}', us).json()['id']}"
    with streaming(f"{base}/api/workspace/{workspace}/events?after=0", us) as events:
        fleet.events.publish(topic, "job:progress", {"job_id": "theirs"}, tenant="theirs")
        sent = fleet.events.publish(topic, "job:progress", {"job_id": "ours"}, tenant="ours")
        assert next(events)["id"] == sent


@pytest.mark.usefixtures("redis_only")
def test_a_stream_whose_client_leaves_frees_its_connection_to_redis(
    base: str, us: Header, app: APIFlask, workspace: str, job: JobView
) -> None:
    with streaming(f"{base}/api/workspace/{workspace}/events", us), streaming(f"{base}/api/jobs/{job.id}/events", us):
        wait_for_connections(app, 2)
    wait_for_connections(app, 0)
    wait_until(lambda: len(connections) == 0)


@pytest.mark.parametrize("path", ["/api/jobs/{job}/events", "/api/workspace/{slug}/events"])
def test_a_foreign_tenant_sees_what_a_stranger_to_the_id_sees(
    base: str, them: Header, workspace: str, job: JobView, path: str
) -> None:
    foreign = get(base + path.format(job=job.id, slug=workspace), them | {"X-Request-ID": "same"})
    unknown = get(base + path.format(job="nothing", slug="nothing"), them | {"X-Request-ID": "same"})
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content == unknown.content


def test_an_event_id_that_is_none_is_refused(base: str, us: Header, job: JobView) -> None:
    url = f"{base}/api/jobs/{job.id}/events"
    assert get(url, us | {"Last-Event-ID": "yesterday"}).status_code == 400
    assert get(f"{url}?after=yesterday", us).status_code == 422


def test_strangers_and_small_scopes_see_no_events(base: str, bearer: Callable[..., Header], job: JobView) -> None:
    url = f"{base}/api/jobs/{job.id}/events"
    assert get(url, {}).status_code == 401
    assert get(url, bearer("ours", "documents:read")).status_code == 403


@pytest.mark.timeout(20)
def test_waiting_for_a_job_counts_as_a_live_connection(base: str, us: Header, app: APIFlask, job: JobView) -> None:
    url = f"{base}/api/jobs/{job.id}?wait=30"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get, url, us)
        wait_until(lambda: len(connections) == 1)
        connections.drop_all()
        assert waiting.result().json()["status"] == "queued"
    with ExitStack() as held:
        for _ in range(connections.most_per_tenant):
            held.enter_context(connections.hold("ours", lambda: None))
        assert get(url, us).json()["status"] == "queued"
        assert get(f"{base}/api/jobs/{job.id}/events", us).status_code == 503


def test_without_redis_a_stream_is_a_problem_and_no_empty_success(
    base: str, us: Header, workspace: str, fleet: Fleet, job: JobView, settings: Settings, app: APIFlask
) -> None:
    app.extensions["fleet"] = Fleet(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    for path in (f"workspace/{workspace}/events", f"workspace/{workspace}/events?after=0", f"jobs/{job.id}/events"):
        answer = get(f"{base}/api/{path}", us)
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json"), path
    assert len(connections) == 0


def test_a_replay_that_redis_does_not_give_is_a_problem(fleet: Fleet, job: JobView, settings: Settings) -> None:
    ended = fleet.jobs.cancel(job.id)
    away = Fleet(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    with pytest.raises(BrokerUnavailable):
        next(streams.follow_job(away, ended, None, datetime.now(UTC) + timedelta(hours=1)))


def test_a_stream_that_is_asked_about_only_holds_nothing(base: str, us: Header, workspace: str, app: APIFlask) -> None:
    assert httpx2.head(f"{base}/api/workspace/{workspace}/events", headers=us, timeout=GUARD).status_code == 200
    wait_until(lambda: len(connections) == 0)
