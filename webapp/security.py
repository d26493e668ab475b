"""Security headers, trusted hosts and proxies, and the size limits of requests."""

from __future__ import annotations

from apiflask import APIFlask
from flask import Response, request
from flask_talisman import Talisman  # type: ignore[import-untyped]
from werkzeug.middleware.proxy_fix import ProxyFix

from jobs.settings import Settings

MAX_BODY = 2 * 1024 * 1024
MAX_FORM_PARTS = 100

CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
PERMISSIONS_POLICY = dict.fromkeys(("camera", "microphone", "geolocation", "payment", "usb"), "()")


def init_app(app: APIFlask, settings: Settings) -> None:
    """Set the limits and headers of every response; uploads lift the body limit for themselves.

    The Talisman is kept in `app.extensions["talisman"]`; a view loosens its own policy with it.
    """
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_BODY,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        TRUSTED_HOSTS=list(settings.trusted_hosts) or None,
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.after_request(_harden)
    app.extensions["talisman"] = Talisman(
        app,
        force_https=False,
        frame_options="DENY",
        content_security_policy=CONTENT_SECURITY_POLICY,
        content_security_policy_nonce_in=["script-src"],
        permissions_policy=PERMISSIONS_POLICY,
        referrer_policy="no-referrer",
        session_cookie_secure=settings.production,
        session_cookie_samesite="Lax",
    )


def _harden(response: Response) -> Response:
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if not request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
