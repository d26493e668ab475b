"""The operators' login: accounts from the settings, slowed down and locked out after repeated failures."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from datetime import timedelta

import structlog
from apiflask import APIBlueprint
from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from jobs.engine.audit_log import Actor
from webapp import operators, refused_sign_ins, sessions
from webapp.accounts import Account
from webapp.errors import Problem
from webapp.services import accounts, fleet, settings

bp = APIBlueprint("admin", __name__, enable_openapi=False)

WINDOW = timedelta(minutes=15)
TRIES_PER_ADDRESS = 5
TRIES_PER_ACCOUNT = 50
_INSIDE = re.compile(r"/admin/[A-Za-z0-9_.:/-]*(?:\?[A-Za-z0-9_.:/%&=+~*-]*)?")


@bp.get("/admin/login")
def login_form() -> ResponseReturnValue:
    """The form; whoever has a role already goes on."""
    principal, wanted = sessions.signed_in(), request.args.get("next", "")
    if principal and principal.role:
        return redirect(_target(wanted), 303)
    return _form(wanted)


@bp.post("/admin/login")
def login() -> ResponseReturnValue:
    """Start an operator's session; 403 for wrong words, 429 once there were too many tries."""
    if not sessions.csrf_passes():
        raise Problem(403, "The form is too old; open the login page again.")
    wanted, name = request.form.get("next", ""), request.form.get("username", "")
    counters = _counters(name)
    if wait := _locked_for(name, counters):
        minutes = max(1, round(wait.total_seconds() / 60))
        text = f"Too many tries. Wait {minutes} minutes, then try again."
        return _form(wanted, text), 429, {"Retry-After": str(int(wait.total_seconds()))}
    account = accounts().signed_in(name, request.form.get("password", ""))
    if account is None:
        refused_sign_ins.failed(name, _network(request.remote_addr))
        return _form(wanted, "That name or password is not right."), 403
    fleet().notes.forget(*counters)
    return _welcome(account, wanted)


def _welcome(account: Account, wanted: str) -> ResponseReturnValue:
    sessions.sign_in(account.principal(), account)
    by = Actor(account.name, account.role, account.tenant, "page")
    after = {"address": _network(request.remote_addr)}
    fleet().audit.record(action="operator.sign-in", target=account.name, by=by, after=after)
    if account.is_weak:
        structlog.get_logger("webapp").warning("a password hash is weak; make another", name=account.name)
    return redirect(wanted if _is_inside(wanted) else operators.CONSOLE, 303)


def _form(wanted: str, problem: str = "") -> str:
    return render_template(
        "admin_login.html",
        configured=bool(accounts().all()),
        development=not settings().production,
        csrf_token=sessions.csrf_token(),
        next=wanted if _is_inside(wanted) else "",
        problem=problem,
    )


def _target(wanted: str) -> str:
    return wanted if _is_inside(wanted) else operators.CONSOLE


def _is_inside(wanted: str) -> bool:
    """Whether to go there afterwards: a page below /admin/ and nothing else."""
    return bool(_INSIDE.fullmatch(wanted)) and not wanted.startswith("/admin/login")


def _counters(name: str) -> list[str]:
    """A name is counted whether anybody has it or not, so that being locked out tells nothing about it."""
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
    return [f"login:address:{_network(request.remote_addr)}", f"login:account:{digest}"]


def _network(address: str | None) -> str:
    """The address, or for IPv6 the /64 that one host is given."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _locked_for(name: str, counters: list[str]) -> timedelta | None:
    """How long to wait if this try is one too many. It counts before it is judged, so tries side by side count too.

    The tries of an address that is locked out do not count for the account: one address alone locks nobody else out.
    """
    address, kinds = _network(request.remote_addr), ((TRIES_PER_ADDRESS, False), (TRIES_PER_ACCOUNT, True))
    for counter, (most, is_account) in zip(counters, kinds, strict=True):
        (count,) = fleet().notes.count([counter], WINDOW)
        if count.number == most + 1:
            refused_sign_ins.locked_out(name, address, count.left, is_account=is_account)
        if count.number > most:
            return count.left
    return None
