"""A WebSocket's handshake, looked at before the library does, which answers a bad one with an error of ours."""

from __future__ import annotations

import base64
import binascii

from flask import Request, Response
from simple_websocket import ConnectionError as NotConnected  # type: ignore[import-untyped]
from wsproto.utilities import ProtocolError

from webapp.errors import Problem, problem

VERSION = "13"
KEY_BYTES = 16
ERRORS: tuple[type[Exception], ...] = (ProtocolError, NotConnected)


def check(request: Request) -> None:
    """Raises a 426 problem for another version of the protocol, and a 400 problem for what is no handshake."""
    if request.method != "GET":
        raise Problem(400, "A WebSocket begins with a GET.")
    if request.headers.get("Sec-WebSocket-Version") != VERSION:
        headers = {"Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
        raise Problem(426, "This speaks version 13 of the WebSocket protocol.", headers=headers)
    if not _is_key(request.headers.get("Sec-WebSocket-Key", "")):
        raise Problem(400, "Sec-WebSocket-Key is missing or wrong.")


def refuse(error: Exception) -> Response:
    """The answer to what the library can't make sense of; nothing has been sent by then."""
    return problem(400, "This is no proper WebSocket handshake.")


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False
