"""Reading JSON bodies strictly: no duplicate keys, no NaN, no bottomless nesting, and no other media type."""

from __future__ import annotations

from typing import Any

from apiflask import APIFlask
from flask import Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from webapp.bodies import GuardedBodies


def init_app(app: APIFlask) -> None:
    """Have every body read and every answer written by the strict provider."""
    app.request_class = ApiRequest
    app.json = StrictJson(app)
    app.wsgi_app = GuardedBodies(app.wsgi_app)  # type: ignore[method-assign]


class StrictJson(DefaultJSONProvider):
    """JSON as RFC 8259 has it; what Python's parser forgives is a ValueError here."""

    sort_keys = False
    compact = True

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse `s`. Raises ValueError for anything that is not interoperable JSON."""
        try:
            return super().loads(s, object_pairs_hook=_once, parse_constant=_no_constant, **kwargs)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


class ApiRequest(Request):
    """A request whose JSON body needs the JSON media type: 415 without it, 400 when it does not parse."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The parsed body; `force` is ignored, so that no form or plain text passes for JSON."""
        return super().get_json(force=False, silent=silent, cache=cache)

    def on_json_loading_failure(self, e: ValueError | None) -> Any:
        """The reason without a quotation of the body; 415 when no parsing was tried."""
        if e is None:
            raise UnsupportedMediaType("Send the body as application/json.")
        raise BadRequest("The body is not valid JSON.") from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
