"""What REDIS_URL says: hosts, database, credentials, TLS and Sentinel, each validated, no secret printed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

from jobs.settings import InvalidSettings

FORMS = "redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
TCP_OPTIONS = {"db", "master", "sentinel_username", "sentinel_password"}
UNIX_OPTIONS = {"db", "username", "password"}
REDIS_PORT, SENTINEL_PORT = 6379, 26379
_HOST = re.compile(r"^(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>\d{1,5}))?$")


@dataclass(frozen=True)
class Address:
    """Where Redis is; `master` names the Sentinel service and is None where Redis is reached directly."""

    hosts: tuple[tuple[str, int], ...] = ()
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    socket_path: str | None = None
    master: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(url: str) -> Address:
    """Read a REDIS_URL. Raises InvalidSettings that says which part can't be used, without repeating its value."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        _refuse(f"it must begin with {FORMS}")
    rest, _, query = rest.partition("?")
    if "#" in rest or "#" in query:
        _refuse("it holds a '#'; percent-encode special characters of the password")
    credentials, _, location = rest.rpartition("@")
    username, password = _credentials(credentials)
    if scheme == "unix":
        return _unix(location, username, password, _options(query, UNIX_OPTIONS))
    if scheme not in ("redis", "rediss", "redis+sentinel", "rediss+sentinel"):
        _refuse(f"it must begin with {FORMS}")
    return _network(scheme, location, username, password, _options(query, TCP_OPTIONS))


def _network(
    scheme: str, location: str, username: str | None, password: str | None, options: dict[str, str]
) -> Address:
    names, _, path = location.partition("/")
    several = "," in names
    sentinel = several or scheme.endswith("+sentinel") or "master" in options
    if sentinel and not options.get("master"):
        _refuse("several hosts are Sentinels and need the service they watch: add ?master=NAME")
    if not sentinel and {"sentinel_username", "sentinel_password"} & options.keys():
        _refuse("sentinel_username and sentinel_password need ?master=NAME")
    default_port = SENTINEL_PORT if sentinel else REDIS_PORT
    return Address(
        hosts=tuple(_host(name, default_port) for name in (names.split(",") if names else ["localhost"])),
        db=_database(path, options),
        username=username,
        password=password,
        tls=scheme.startswith("rediss"),
        master=options.get("master"),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _unix(path: str, username: str | None, password: str | None, options: dict[str, str]) -> Address:
    if not path.startswith("/"):
        _refuse("a unix:// address needs the absolute path of the socket: unix:///run/redis.sock")
    return Address(
        db=_database("", options),
        username=options.get("username", username),
        password=options.get("password", password),
        socket_path=unquote(path),
    )


def _credentials(text: str) -> tuple[str | None, str | None]:
    username, _, password = text.partition(":")
    return unquote(username) or None, unquote(password) or None


def _options(query: str, known: set[str]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - known:
        _refuse(f"after the '?' only these are known: {', '.join(sorted(known))}")
    return options


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.match(text)
    if match is None:
        _refuse("a host is not of the form NAME:PORT; percent-encode special characters of the password")
    port = int(match["port"]) if match["port"] else default_port
    if not 0 < port < 65536:
        _refuse("a port is not between 1 and 65535")
    return match["v6"] or match["name"], port


def _database(path: str, options: dict[str, str]) -> int:
    text = options.get("db", path.strip("/") or "0")
    if not re.fullmatch(r"[0-9]{1,5}", text):
        _refuse("the database after the '/' is not a number; percent-encode special characters of the password")
    return int(text)


def _refuse(problem: str) -> NoReturn:
    raise InvalidSettings(f"REDIS_URL: {problem}")
