"""`flask --app webapp jobs ...`: what operators do with single jobs, and with many, from a shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import click
from flask.cli import AppGroup

from jobs.engine import Fleet, JobView
from jobs.engine.audit_log import Actor
from jobs.engine.inspection import Details, Done, Page, Plan, State, Where
from webapp import operators
from webapp.actions import jobs as acting
from webapp.commands import shell
from webapp.console.filters import duration

group = AppGroup("jobs", help="Single jobs: list, search, show, run again, cancel, discard, promote.")
FILTERS = ("state", "type", "tenant", "queue", "lane", "error", "field", "value", "since", "until")
HEAD = ("job", "state", "type", "tenant", "queue", "attempts", "latest", "error")


def _where(given: dict[str, Any]) -> Where:
    wanted = {name: given.pop(name) for name in FILTERS} | {"text": given.pop("text", None)}
    return Where(**{name: value for name, value in wanted.items() if value is not None})


def _option(name: str) -> shell.Option:
    option: shell.Option = click.option(
        f"--{name}", default=None, type=click.Choice(get_args(State)) if name == "state" else None
    )
    return option


filtered = shell.filtered(_where, *map(_option, FILTERS))


def acts(command: Callable[..., None]) -> Callable[..., None]:
    """An id; or filters for a dry run; or the bound that one printed."""
    command = click.option("--bound", default=None, help="Act on what a dry run found that printed this bound.")(
        command
    )
    return click.argument("job_id", required=False)(shell.by(shell.as_json(filtered(command))))


@group.command("list")
@filtered
@shell.paged
def list_jobs(where: Where, limit: int, cursor: str | None, as_json: bool) -> None:
    """Jobs in Redis and in the ledger, the latest first."""
    _list(where, limit, cursor, as_json)


@group.command("search")
@click.argument("text")
@filtered
@shell.paged
def search(where: Where, limit: int, cursor: str | None, as_json: bool) -> None:
    """Jobs with this id, or these words in their error, of which the options hold."""
    _list(where, limit, cursor, as_json)


@group.command("show")
@click.argument("job_id")
@shell.as_json
def show(job_id: str, as_json: bool) -> None:
    """One job: payload, policy, why it waits, its runs with their tracebacks, output."""
    details = shell.asked(lambda fleet: fleet.inspection.get(job_id))
    shell.say(details, list(_shown(details)), as_json=as_json)


@group.command("retry")
@acts
def retry(**given: Any) -> None:
    """Run an ended job again; or with filters a dry run, whose --bound then says which are run again."""
    _act("retry", acting.retry, **given)


@group.command("cancel")
@acts
@click.option("--cascade", is_flag=True, help="Also what waits for the job.")
def cancel(cascade: bool, **given: Any) -> None:
    """Cancel a job; or with filters a dry run, whose --bound then says which are cancelled."""
    if cascade and not given["job_id"]:
        raise click.UsageError("--cascade goes with an id")
    _act("cancel", lambda fleet, by, job_id: acting.cancel(fleet, by, job_id, cascade=cascade), **given)


@group.command("discard")
@acts
def discard(**given: Any) -> None:
    """Throw an ended job away; or with filters a dry run, whose --bound then says which are thrown away."""
    _act("discard", acting.discard, **given)


@group.command("promote")
@acts
@click.option("--back", is_flag=True, help="Behind the others of its queue.")
def promote(back: bool, **given: Any) -> None:
    """Have a delayed job begin now, or a waiting one go first; or with filters a dry run over delayed ones."""
    _act("promote", lambda fleet, by, job_id: acting.promote(fleet, by, job_id, front=not back), **given)


def _list(where: Where, limit: int, cursor: str | None, as_json: bool) -> None:
    page = shell.asked(lambda fleet: fleet.inspection.find(where, limit=limit, cursor=cursor))
    if not as_json:
        for each in page.away:
            click.echo(f"{each} does not answer: what it alone knows is missing", file=sys.stderr)
    shell.say(page, list(_page(page)), as_json=as_json)


def _act(
    verb: str, one: Callable[[Fleet, Actor, str], JobView], where: Where, job_id: str | None, bound: str | None,
    by: str | None, as_json: bool,
) -> None:  # fmt: skip
    actor = operators.of_shell(by)
    if sum((bool(job_id), bool(bound), where != Where())) > 1:
        raise click.UsageError("give an id, or filters, or --bound")
    if job_id:
        view = shell.asked(lambda fleet: one(fleet, actor, job_id))
        return shell.say(view, [_words(view)], as_json=as_json)
    if bound is None:
        plan = shell.asked(lambda fleet: fleet.inspection.plan(where, verb))
        return shell.say(plan, list(_plan(plan)), as_json=as_json)
    done = shell.asked(lambda fleet: acting.whole(fleet, actor, bound, verb))
    return shell.say(done, list(_done(done)), as_json=as_json)


def _page(page: Page) -> Iterator[str]:
    yield from shell.table(HEAD, [_row(view) for view in page.items])
    if page.next_cursor:
        yield f"looked at {page.looked:,} entries; to go on: --cursor {page.next_cursor}"


def _row(view: JobView) -> tuple[str, ...]:
    latest = view.ended_at or view.started_at or view.enqueued_at or view.created_at
    error = f"{view.error.type}: {view.error.message}" if view.error else ""
    when = f"{latest:%F %T}" if latest else "-"
    return view.id, view.status, view.type, view.tenant or "-", view.queue, str(view.attempts), when, error


def _words(view: JobView) -> str:
    return "  ".join(_row(view))


def _plan(plan: Plan) -> Iterator[str]:
    yield from map(_words, plan.shown)
    yield f"{plan.count} jobs{' or more' if plan.more else ''}; nothing is changed yet. To go on:"
    yield f"--bound {plan.bound}"


def _done(done: Done) -> Iterator[str]:
    yield f"{done.done} done, {done.refused} left"
    for refusal in done.refusals:
        yield f"{refusal.id}: {refusal.reason}"


def _shown(details: Details) -> Iterator[str]:
    yield _words(details.job)
    yield f"payload: {details.payload}"
    if details.waiting:
        yield f"waits: {details.waiting.model_dump(exclude_none=True, exclude_defaults=True)}"
    if details.workflow:
        yield f"workflow: {details.workflow}, node {details.node}"
    for run in details.runs:
        yield ""
        times = f"queued {run.queued_at}, began {run.began_at}, {duration(run.seconds)}"
        yield f"attempt {run.number} ({run.outcome}) on {run.worker}: {times}"
        yield run.traceback
    yield from (line.text for line in details.lines)
