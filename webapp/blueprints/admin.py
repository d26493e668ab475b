"""The administrator's login: one account from the settings, slowed down and locked out after repeated failures."""

from __future__ import annotations

import hmac
import ipaddress
import re
from datetime import timedelta

from apiflask import APIBlueprint
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp import sessions
from webapp.errors import Problem
from webapp.principal import OPERATORS, Principal
from webapp.services import fleet, settings

bp = APIBlueprint("admin", __name__, enable_openapi=False)

WINDOW = timedelta(minutes=15)
TRIES_PER_ADDRESS = 5
TRIES_PER_ACCOUNT = 50
HOME = "/admin/rq/"
_INSIDE = re.compile(r"/admin/[A-Za-z0-9_.:/-]*")
LONGEST_PASSWORD = 1024


@bp.get("/admin/login")
def login_form() -> ResponseReturnValue:
    """The form; whoever is an administrator already goes on."""
    principal = sessions.signed_in()
    target = _target(request.args.get("next", ""))
    return redirect(target, 303) if principal and principal.may("admin") else _form(target)


@bp.post("/admin/login")
def login() -> ResponseReturnValue:
    """Start an administrator's session; 403 for wrong words, 429 once there were too many tries."""
    if not sessions.csrf_passes():
        raise Problem(403, "The form is too old; open the login page again.")
    target = _target(request.form.get("next", ""))
    counters = _counters()
    if wait := _locked_for(counters):
        minutes = max(1, round(wait.total_seconds() / 60))
        text = f"Too many tries. Wait {minutes} minutes, then try again."
        return _form(target, text), 429, {"Retry-After": str(int(wait.total_seconds()))}
    if not _right(request.form.get("username", ""), request.form.get("password", "")):
        return _form(target, "That name or password is not right."), 403
    fleet().notes.forget(*counters)
    sessions.sign_in(Principal(settings().admin_username, OPERATORS, frozenset({"admin"}), frozenset({"operator"})))
    return redirect(target, 303)


def _form(target: str, problem: str = "") -> str:
    return render_template(
        "admin_login.html",
        configured=bool(settings().admin_password_hash),
        development=not settings().production,
        csrf_token=sessions.csrf_token(),
        next=target,
        problem=problem,
    )


def _target(wanted: str) -> str:
    """Where to go afterwards: a page below /admin/ and nothing else."""
    return wanted if _INSIDE.fullmatch(wanted) and wanted != "/admin/login" else HOME


def _counters() -> list[str]:
    return [f"login:address:{_network(request.remote_addr)}", "login:account"]


def _network(address: str | None) -> str:
    """The address, or for IPv6 the /64 that one host is given."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _locked_for(counters: list[str]) -> timedelta | None:
    """How long to wait if this try is one too many. It counts before it is judged, so tries side by side count too."""
    tries = zip(fleet().notes.count(counters, WINDOW), (TRIES_PER_ADDRESS, TRIES_PER_ACCOUNT), strict=True)
    return max((count.left for count, most in tries if count.number > most), default=None)


def _right(username: str, password: str) -> bool:
    """Both are compared whatever the other gives, so that the time taken tells nothing about the name."""
    stored = settings().admin_password_hash
    if stored is None or len(password) > LONGEST_PASSWORD:
        return False
    same_name = hmac.compare_digest(username.encode(), settings().admin_username.encode())
    try:
        return PasswordHasher().verify(stored, password) and same_name
    except (VerificationError, InvalidHashError):
        return False
