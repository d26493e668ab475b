"""Webhooks of plain RQ jobs: one request to a public address that was looked up once, no redirects, one deadline."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rq.webhook import Webhook

from jobs.engine.errors import Permanent, Retryable
from jobs.engine.public_addresses import Deadline, public_addresses_of

LONGEST = timedelta(seconds=30)
OURS = ("host", "connection", "content-length", "transfer-encoding")


def send(webhook: Webhook, payload: Mapping[str, Any], *, allow_private: bool) -> int:
    """Make the request and give the status of the answer, whose body is not read; redirects are not followed.

    Raises Permanent for an address or header that is refused, Retryable when there is no answer within the webhook's
    timeout (30 s at most, everything included).
    """
    deadline = Deadline(min(timedelta(seconds=webhook.timeout), LONGEST))
    url = _checked(webhook.url)
    addresses = public_addresses_of(str(url.hostname), deadline, allow_private=allow_private)
    headers = {name: value for name, value in (webhook.headers or {}).items() if name.strip().lower() not in OURS}
    body = None
    if webhook.method == "POST":
        body = json.dumps(payload).encode()
        headers = {"Content-Type": "application/json", **headers}
    try:
        with _connection(url, addresses, deadline) as connection:
            connection.request(webhook.method, _target(url), body, headers)
            return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Retryable(f"{url.hostname} did not answer: {error!r}") from None
    except ValueError as error:
        raise Permanent(f"the webhook is no valid request: {error}") from None


def _checked(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise Permanent("the webhook's address is no valid URL") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise Permanent("only http:// and https:// addresses can be called")
    if url.username is not None or url.password is not None:
        raise Permanent("the webhook's address must not hold a user name or password")
    return url


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


@contextmanager
def _connection(url: SplitResult, addresses: list[str], deadline: Deadline) -> Iterator[http.client.HTTPConnection]:
    """A connection to the first of the addresses that answers; whatever it is doing at the deadline, it is cut off."""
    secure = url.scheme == "https"
    host, port = str(url.hostname), url.port or (443 if secure else 80)
    plain = _first_that_answers(addresses, port, deadline)
    guard = plain.dup()  # TLS takes the socket over, but a shutdown reaches it through any descriptor
    cut = threading.Timer(deadline.left(), _cut_off, [guard])
    cut.daemon = True
    cut.start()
    try:
        connection = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        with closing(connection):
            yield connection
    finally:
        cut.cancel()
        guard.close()
        plain.close()


def _first_that_answers(addresses: list[str], port: int, deadline: Deadline) -> socket.socket:
    failure = OSError("it has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), deadline.left())
        except OSError as error:
            failure = error
    raise failure


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
