"""Live events: a WebSocket for many topics, and server-sent events of one job or one workspace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from apiflask import APIBlueprint
from flask import Response, current_app, g, request
from flask.blueprints import BlueprintSetupState
from flask_sock import Sock  # type: ignore[import-untyped]
from pydantic import Field
from simple_websocket import Server  # type: ignore[import-untyped]

from jobs.domains.documents import service
from jobs.engine.moments import Moment
from webapp import origins, revocation, sessions
from webapp.auth import current_tenant, current_user, requires, verify_token
from webapp.errors import Problem
from webapp.live import handshake, streams, tickets
from webapp.live.answers import stream
from webapp.live.connections import connections
from webapp.live.sockets import MESSAGE_BYTES, PING_EVERY, SLOWEST_SEND, LiveSocket
from webapp.live.topics import BadRequest, event_id_of
from webapp.principal import Principal
from webapp.schemas import Out
from webapp.services import database, fleet, settings, standings

bp = APIBlueprint("live", __name__, url_prefix="/api", tag="Live events")
socket_bp = APIBlueprint("live_socket", __name__, url_prefix="/api", enable_openapi=False)
STREAM: Any = {
    "200": {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    "204": {"description": "The job has ended and the client has seen how: it need not connect again."},
}


class Ticket(Out):
    """A single-use word for `GET /api/ws?ticket=`, good for 30 seconds."""

    ticket: str
    expires_at: Moment


class EventsQuery(Out):
    """Only events after the one with this id; the header Last-Event-ID says the same."""

    after: str | None = Field(None, pattern=r"^[0-9]{1,18}(-[0-9]{1,18})?$")


@bp.post("/ws/ticket")
@requires("jobs:read")
@bp.output(Ticket, status_code=201)
def ticket() -> Any:
    """A ticket that opens one WebSocket in the caller's name, so that no token is part of a URL."""
    word = tickets.issue(fleet().notes, current_user(), _signed_in_until())
    return Ticket(ticket=word, expires_at=datetime.now(UTC) + tickets.LIFETIME), 201


@bp.get("/jobs/<job_id>/events")
@requires("jobs:read")
@bp.input(EventsQuery, location="query")
@bp.doc(responses=STREAM)
def job_events(job_id: str, query_data: EventsQuery) -> Response:
    """What happens to a job, from its first event on, as server-sent events; ends when the job has ended."""
    connections.check(current_tenant())
    job, after = fleet().jobs.get(job_id, current_tenant()), _resume_after(query_data)
    if "Last-Event-ID" in request.headers and streams.nothing_left(fleet(), job, after):
        return Response(status=204)
    pause, sign_in = current_app.config["LIVE_KEEP_ALIVE"], revocation.topic_of(current_user())
    until, watched = _signed_in_until(), standings().of(current_user())
    return stream(streams.follow_job(fleet(), job, after, until, pause, sign_in=sign_in, watched=watched))


@bp.get("/workspace/<slug>/events")
@requires("documents:read")
@bp.input(EventsQuery, location="query")
@bp.doc(responses=STREAM)
def workspace_events(slug: str, query_data: EventsQuery) -> Response:
    """What happens to the jobs of a workspace, as server-sent events, until the client leaves."""
    tenant = current_tenant()
    connections.check(tenant)
    with database().read() as session:
        topic = f"workspace:{service.get_workspace(session, slug, tenant).id}"
    after, pause = _resume_after(query_data), current_app.config["LIVE_KEEP_ALIVE"]
    until, sign_in, watched = _signed_in_until(), revocation.topic_of(current_user()), standings().of(current_user())
    return stream(streams.follow_topic(fleet(), topic, tenant, after, until, pause, sign_in=sign_in, watched=watched))


@socket_bp.before_request
def _admit() -> None:
    """Answer strangers before the connection is a WebSocket, with a problem document that does not repeat the URL."""
    g.live_principal, g.live_until = _socket_caller()
    connections.check(g.live_principal.tenant)
    handshake.check(request)


def _serve(server: Server) -> None:
    slowest = current_app.config["LIVE_SLOWEST_SEND"]
    watched = standings().of(g.live_principal)
    LiveSocket(server, fleet().events, g.live_principal, g.live_until, slowest, watched).run()


Sock().route("/ws", bp=socket_bp)(_serve)
for _broken in handshake.ERRORS:
    socket_bp.register_error_handler(_broken, handshake.refuse)


@socket_bp.record
def _configure(state: BlueprintSetupState) -> None:
    state.app.config.update(
        SOCK_SERVER_OPTIONS={"ping_interval": PING_EVERY.total_seconds(), "max_message_size": MESSAGE_BYTES},
        LIVE_SLOWEST_SEND=SLOWEST_SEND,
        LIVE_KEEP_ALIVE=streams.KEEP_ALIVE,
    )


def _socket_caller() -> tuple[Principal, datetime]:
    """By ticket, by token, by header, or by the session when the page that asks is ours."""
    if word := request.args.get("ticket"):
        redeemed = tickets.redeem(fleet().notes, word)
        if redeemed is None:
            raise Problem(401, "The ticket is unknown, used or older than 30 seconds.")
        return redeemed
    if token := request.args.get("token"):
        return _with_its_end(verify_token(token))
    if "Authorization" in request.headers:
        return _with_its_end(current_user())
    if sessions.signed_in() is not None and not _our_origin(request.headers.get("Origin", "")):
        raise Problem(403, "This origin may not connect in the session's name.")
    return _with_its_end(current_user())


def _our_origin(origin: str) -> bool:
    return origin in settings().allowed_origins or origins.is_own(origin, request)


def _signed_in_until() -> datetime:
    return _with_its_end(current_user())[1]


def _with_its_end(principal: Principal) -> tuple[Principal, datetime]:
    return principal, principal.until or datetime.now(UTC) + sessions.LIFETIME


def _resume_after(query: EventsQuery) -> str | None:
    try:
        return event_id_of(request.headers.get("Last-Event-ID")) or query.after
    except BadRequest as error:
        raise Problem(400, f"Last-Event-ID: {error}.") from error
