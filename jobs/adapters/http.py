"""Fetch a stranger's URL into a file: public addresses only, one host, one deadline, one size limit."""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpcore2
import httpx2

from jobs.adapters._pinned import PinnedBackend
from jobs.engine import Permanent, Retryable
from jobs.engine.public_addresses import Deadline

MAX_REDIRECTS = 5
LONGEST_RETRY_AFTER = timedelta(hours=1)
CHUNK = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LONGEST_HOST = 254
LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Fetched:
    """What was written to the file; `size` in decoded bytes, `url` the last one after redirects."""

    url: str
    size: int
    etag: str | None
    last_modified: str | None
    media_type: str | None


@dataclass(frozen=True)
class NotModified:
    """The server says that nothing changed; nothing was written."""

    url: str


def fetch(
    url: str,
    into: Path,
    *,
    limit: int,
    timeout: timedelta,
    etag: str | None = None,
    last_modified: str | None = None,
    allow_private: bool = False,
) -> Fetched | NotModified:
    """GET `url` into the file `into`, at most `limit` decoded bytes within `timeout` altogether.

    With `etag` or `last_modified` of an earlier fetch the request is conditional. Raises Permanent for an address that
    is refused, an answer of 4xx, a redirect to another host or a body over the limit; Retryable for everything that
    may mend: the network, 429 and 5xx (with the server's Retry-After).
    """
    target = check_url(url)
    conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    headers: dict[bytes | str, bytes | str] = {"User-Agent": "rq-fleet", "Accept": "*/*", "Accept-Encoding": "gzip"}
    headers |= {name: value for name, value in conditions.items() if value and _is_plain(value)}
    deadline = Deadline(timeout)
    backend = PinnedBackend(deadline, allow_private=allow_private)
    with httpcore2.ConnectionPool(ssl_context=httpx2.create_ssl_context(), network_backend=backend) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            answer = _get(pool, target, headers, into, limit, deadline)
            if not isinstance(answer, httpx2.URL):
                return answer
            target = answer
    raise Permanent(f"{target.host} redirects more than {MAX_REDIRECTS} times")


def check_url(url: str) -> httpx2.URL:
    """The parsed URL. Raises Permanent when it is no plain http or https URL."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise Permanent("the address is no valid URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Permanent("only http:// and https:// addresses can be fetched")
    if not _is_host(parsed.raw_host.decode("ascii", "replace")):
        raise Permanent("the address names a host that can't exist")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise Permanent("the address has a port that does not exist")
    if parsed.userinfo:
        raise Permanent("the address must not hold a user name or password")
    return parsed


def _is_host(host: str) -> bool:
    """An IP address, or a name as the DNS can hold it: labels of 1 to 63 letters, digits, hyphens and underscores."""
    with suppress(ValueError):
        return "%" not in host and bool(ipaddress.ip_address(host.strip("[]")))
    return len(host) <= LONGEST_HOST and all(LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and len(value) <= 1000


def _get(
    pool: httpcore2.ConnectionPool,
    url: httpx2.URL,
    headers: Mapping[bytes | str, bytes | str],
    into: Path,
    limit: int,
    deadline: Deadline,
) -> Fetched | NotModified | httpx2.URL:
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), deadline.left())
    target = str(url.copy_with(fragment=None))
    headers = {"Host": url.netloc.decode("ascii"), **headers}
    try:
        with pool.stream("GET", target, headers=headers, extensions={"timeout": timeouts}) as response:
            return _read(url, response, into, limit)
    except httpcore2.TimeoutException:
        raise Retryable(f"{url.host} did not answer in time") from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise Retryable(f"{url.host} can't be reached: {error}") from None


def _read(url: httpx2.URL, response: httpcore2.Response, into: Path, limit: int) -> Fetched | NotModified | httpx2.URL:
    headers = httpx2.Headers(response.headers)
    if response.status in REDIRECTS and "location" in headers:
        return _next_hop(url, headers["location"])
    if response.status == 304:
        return NotModified(str(url))
    _expect_success(url.host, response.status, headers)
    if int(headers.get("content-length", "0")) > limit:
        raise _too_large(limit)
    body = _decoded(response.iter_stream(), headers.get("content-encoding", "identity").strip().lower())
    size = _save(body, into, limit)
    media_type = headers.get("content-type", "").partition(";")[0].strip() or None
    return Fetched(str(url), size, headers.get("etag"), headers.get("last-modified"), media_type)


def _next_hop(url: httpx2.URL, location: str) -> httpx2.URL:
    try:
        target = check_url(str(url.join(location)))
    except (httpx2.InvalidURL, ValueError):
        raise Permanent(f"{url.host} redirects to what is no valid URL") from None
    if target.host != url.host:
        raise Permanent(f"{url.host} redirects to another host ({target.host}): use that address instead")
    if url.scheme == "https" and target.scheme != "https":
        raise Permanent(f"{url.host} redirects from https to http")
    return target


def _expect_success(host: str, status: int, headers: httpx2.Headers) -> None:
    if status in TRY_AGAIN or status >= 500:
        raise Retryable(f"{host} answered {status}", after=_retry_after(headers.get("retry-after")))
    if status not in (200, 203):
        raise Permanent(f"{host} answered {status}")


def _retry_after(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        wait = timedelta(seconds=int(text)) if text.isdigit() else parsedate_to_datetime(text) - datetime.now(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The body without its gzip coding, in pieces of at most CHUNK bytes: a bomb is stopped after its first pieces."""
    if encoding in ("identity", ""):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip"):
        raise Permanent(f"the server sent a content encoding that was not asked for ({encoding[:40]})")
    decoder = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            while chunk:
                if decoder.eof:
                    decoder = zlib.decompressobj(wbits=31)
                yield decoder.decompress(chunk, CHUNK)
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error:
        raise Permanent("the server sent a broken gzip body") from None
    if not decoder.eof:
        raise Retryable("the server's answer ended early")


def _save(body: Iterable[bytes], into: Path, limit: int) -> int:
    size = 0
    with into.open("wb") as file:
        for piece in body:
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            file.write(piece)
    return size


def _too_large(limit: int) -> Permanent:
    return Permanent(f"the file is over the limit of {limit / 1024**2:g} MiB")
