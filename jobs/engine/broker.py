"""Connections to Redis that answer or fail within about a second, and one error for every way it can be away."""

from __future__ import annotations

import encodings.idna  # noqa: F401  what each connection's address needs: it is loaded once, before forks
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ContextDecorator
from datetime import timedelta
from types import TracebackType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from jobs.engine.broker_address import Address, parse
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.presence import Presence
from jobs.engine.sentinels import ONE_ANSWERS_WITHIN, Sentinels
from jobs.engine.server_names import Naming
from jobs.settings import InvalidSettings, Settings

ANSWER_WITHIN = timedelta(seconds=0.8)
LONGEST_BLOCK = timedelta(seconds=5)
CONNECT_WITHIN = timedelta(seconds=0.6)
FOUND_WITHIN, LEAST = timedelta(seconds=0.7), timedelta(seconds=0.3)
"""So long a request waits for Sentinels and the primary that they name together, and for that one at least."""
HEALTH_CHECK_EVERY = timedelta(seconds=20)
CONNECTIONS = 100
RETRY_AFTER = timedelta(seconds=1)
RETRY_WHEN_FULL = timedelta(seconds=5)
_PIPELINED = " of pipeline caused error: "
_REFUSALS = ("MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE")
_PROBLEMS: tuple[tuple[tuple[type[Exception], ...], str, timedelta], ...] = (
    ((AuthenticationError, AuthorizationError), "Redis refuses the credentials in REDIS_URL", RETRY_WHEN_FULL),
    ((OutOfMemoryError,), "Redis is full (maxmemory) and refuses writes", RETRY_WHEN_FULL),
    ((BusyLoadingError,), "Redis is loading its data", RETRY_AFTER),
    ((ReadOnlyError,), "this Redis is a replica: a failover is under way", RETRY_AFTER),
    ((ClusterDownError, TryAgainError), "Redis is between two primaries", RETRY_AFTER),
    ((redis.ConnectionError, redis.TimeoutError), "Redis can't be reached or did not answer in time", RETRY_AFTER),
)


def connect(
    settings: Settings,
    *,
    socket_timeout: timedelta | None = ANSWER_WITHIN,
    purpose: str = "client",
    blocking: bool = False,
    presence: Presence | None = None,
    naming: Naming | None = None,
) -> redis.Redis:
    """A client of REDIS_URL with bytes answers, safe to share between threads and greenlets and to keep over a fork.

    Nothing is sent yet, and nothing is ever sent twice: scripts are idempotent and their callers retry them. `purpose`
    shows in CLIENT LIST. `blocking` is for BLMOVE and the like that wait up to LONGEST_BLOCK inside Redis: reads then
    wait that much longer; `socket_timeout=None` waits for ever. `presence` is told of silence and asked
    before each use, `naming` asks the server of each new connection for its name. Raises InvalidSettings that names
    REDIS_URL.
    """
    address = parse(settings.redis_url)
    timeout = None if socket_timeout is None else socket_timeout.total_seconds()
    if timeout is not None and blocking:
        timeout += LONGEST_BLOCK.total_seconds()
    options = _connection_options(address, settings) | {
        "socket_timeout": timeout,
        "client_name": _client_name(purpose),
        "max_connections": CONNECTIONS,
        "timeout": ANSWER_WITHIN.total_seconds(),
    }
    pool = _pool(address, options)
    if presence is not None:
        pool.watch(presence)
    if naming is not None:
        pool.connection_class = type("_Named", (_Named, pool.connection_class), {"naming": naming})
    return redis.Redis.from_pool(pool)


class translate_errors(ContextDecorator):
    """Around commands (or as a decorator): BrokerUnavailable when Redis is away, hangs, loads, is full or a replica."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, redis.RedisError) and (problem := unavailable(error)) is not None:
            raise problem from error


def unavailable(error: redis.RedisError) -> BrokerUnavailable | None:
    """What an error of redis-py means: Redis is away for now, or (None) the command or our rights are wrong."""
    for kinds, message, retry_after in _PROBLEMS:
        if isinstance(error, kinds):
            return BrokerUnavailable(message, retry_after)
    if isinstance(error, ResponseError) and str(error).rpartition(_PIPELINED)[2].startswith(_REFUSALS):
        return BrokerUnavailable("Redis refuses commands at the moment", RETRY_AFTER)
    return None


class _Watchable:
    presence: Presence | None = None
    connection_class: Any

    def watch(self, presence: Presence) -> None:
        """Ask this before each use, and tell it of silence."""
        self.presence = presence
        self.connection_class = type("_Watched", (_Watched, self.connection_class), {"presence": presence})


class _QuickPool(_Watchable, BlockingConnectionPool):
    """Keeps the connection that came back last at hand: the way through the pool takes longer than a short script."""

    def reset(self) -> None:
        """Begin anew, in a new process too."""
        self._at_hand: deque[Connection] = deque()
        super().reset()  # type: ignore[no-untyped-call]

    def get_connection(self, command_name: str | None = None, *keys: Any, **options: Any) -> Any:
        """The connection at hand if it is as good as new, or one of the pool."""
        if self.presence is not None:
            self.presence.check()
        if self.pid == os.getpid():
            try:
                connection = self._at_hand.pop()
            except IndexError:
                return super().get_connection()  # type: ignore[no-untyped-call]
            if _is_quiet(connection):
                return connection
            super().release(connection)  # type: ignore[no-untyped-call]
        return super().get_connection()  # type: ignore[no-untyped-call]

    def release(self, connection: Any) -> None:
        """Keep it at hand unless another one is, somebody waits for one, or it is of another process."""
        if self._at_hand or not self.pool.queue or connection.pid != os.getpid() or connection.should_reconnect():
            super().release(connection)  # type: ignore[no-untyped-call]
        else:
            self._at_hand.append(connection)


def _is_quiet(connection: Any) -> bool:
    try:
        if connection.is_connected and not connection.can_read():
            return True
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        pass
    connection.disconnect()
    return False


class _Watched:
    """Tells when a connection can't be had or an answer does not come, but not when somebody waits on purpose."""

    presence: Presence
    began = 0.0

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        self.began = time.monotonic()
        return self._told(super().connect, *args, certain=True, **kwargs)  # type: ignore[misc]

    def connect_to(self, address: Any) -> None:
        """Of a primary that Sentinels have named: the longer they took, the less it is waited for."""
        left = FOUND_WITHIN.total_seconds() - (time.monotonic() - self.began)
        waits: Any = self
        usual, usual_connect = waits.socket_timeout, waits.socket_connect_timeout
        waits.socket_timeout = waits.socket_connect_timeout = max(left, LEAST.total_seconds())
        try:
            super().connect_to(address)  # type: ignore[misc]
        finally:
            waits.socket_timeout, waits.socket_connect_timeout = usual, usual_connect
        waits._sock.settimeout(usual)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        read = super().read_response  # type: ignore[misc]
        return read(*args, **kwargs) if "timeout" in kwargs else self._told(read, *args, **kwargs)

    def _told(self, do: Callable[..., Any], *args: Any, certain: bool = False, **kwargs: Any) -> Any:
        try:
            return do(*args, **kwargs)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if not isinstance(error, AuthenticationError | BusyLoadingError):
                self.presence.lost(certain=certain or isinstance(error, redis.ConnectionError))
            raise


class _Named:
    """Asks its server for its name before anything else."""

    naming: Naming

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]
        self.naming.check(self)


class _LeavesReplicas:
    """Drops a connection whose server turns out to be a replica, so that the next one finds the primary."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except ReadOnlyError:
            self.disconnect()  # type: ignore[attr-defined]
            raise


class _Tcp(_LeavesReplicas, Connection):
    pass


class _Tls(_LeavesReplicas, SSLConnection):
    pass


class _SentinelPool(_Watchable, SentinelConnectionPool, BlockingConnectionPool):
    """Asks the Sentinels for the primary and makes greenlets wait for a free connection."""

    def get_connection(self, command_name: str | None = None, *keys: Any, **options: Any) -> Any:
        """A connection to the primary."""
        if self.presence is not None:
            self.presence.check()
        return super().get_connection()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        super().close()
        self.sentinel_manager.close()


def _pool(address: Address, options: dict[str, Any]) -> _QuickPool | _SentinelPool:
    if address.master is not None:
        connection = SentinelManagedSSLConnection if address.tls else SentinelManagedConnection
        return _SentinelPool(  # type: ignore[no-untyped-call]
            address.master, _sentinels(address, options), connection_class=connection, **options
        )
    if address.socket_path is not None:
        del options["socket_keepalive"]
        options |= {"path": address.socket_path, "connection_class": UnixDomainSocketConnection}
    else:
        host, port = address.hosts[0]
        options |= {"host": host, "port": port, "connection_class": _Tls if address.tls else _Tcp}
    return _QuickPool(**options)  # type: ignore[no-untyped-call]


def _sentinels(address: Address, options: dict[str, Any]) -> Sentinel:
    seconds = ONE_ANSWERS_WITHIN.total_seconds()
    shared = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return Sentinels(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=shared
        | {
            "ssl": address.tls,
            "username": address.sentinel_username,
            "password": address.sentinel_password,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": options["client_name"],
        },
    )


def _connection_options(address: Address, settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": CONNECT_WITHIN.total_seconds(),
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_EVERY.total_seconds(),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if address.tls and settings.redis_tls_ca is not None:
        if not settings.redis_tls_ca.is_file():
            raise InvalidSettings("REDIS_TLS_CA: there is no such file; it must hold the CA certificates in PEM form")
        options["ssl_ca_certs"] = str(settings.redis_tls_ca)
    return options


def _client_name(purpose: str) -> str:
    host = "".join(character for character in socket.gethostname() if character.isalnum() or character in "-_.")
    return f"rq-fleet-{purpose}@{host}"
