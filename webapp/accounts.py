"""The operators' accounts of the login page: who there is, in which role, and whether a password is theirs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from jobs.settings import InvalidSettings, Role, Settings
from webapp.principal import OPERATORS, ROLES, Principal

LONGEST_PASSWORD = 1024
_ENTRY = re.compile(r"([^\s:@]{1,100}):([a-z]+)(?:@([A-Za-z0-9_.-]{1,64}))?:(\$argon2(?:id|i|d)\$\S+)")
log = structlog.get_logger("webapp")


@dataclass(frozen=True)
class Account:
    """Who may sign in with a password; `tenant` is the only one whose things they see, None means all of them."""

    name: str
    role: Role
    tenant: str | None
    hash: str

    def principal(self) -> Principal:
        """Who has signed in with it."""
        scopes = frozenset({"admin"} if self.role == "admin" else ())
        everywhere = self.tenant is None
        return Principal(self.name, self.tenant or OPERATORS, scopes, frozenset({self.role}), fleet_wide=everywhere)

    @property
    def is_weak(self) -> bool:
        """Whether a hash made today would be harder to guess (RFC 9106's second choice, argon2-cffi's default)."""
        return PasswordHasher().check_needs_rehash(self.hash)


class Accounts:
    """Those of the settings and of their file, which is read again when it changes.

    Raises InvalidSettings for an entry that is none; while the file can't be read later on, nobody of it comes in.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.operators_file
        self._lock = threading.Lock()
        self._fixed = _by_name(_of_settings(settings))
        self._seen: tuple[int, ...] = ()
        self._complained = False
        self._filed = _by_name(_read(self._file)) if self._file else {}
        for account in self.all():
            if account.is_weak:
                log.warning("an operator's password hash is weak; make another: operators hash", name=account.name)

    def all(self) -> list[Account]:
        """Every account; those of the settings go before those of the file."""
        return list((self._of_file() | self._fixed).values())

    def named(self, name: str) -> Account | None:
        """The account of that name."""
        return self._fixed.get(name) or self._of_file().get(name)

    def signed_in(self, name: str, password: str) -> Account | None:
        """Whose words these are. It takes as long for a name that nobody has, so that the time tells nothing."""
        account = self.named(name)
        decoy = account or next(iter(self.all()), None)
        if decoy is None or len(password) > LONGEST_PASSWORD:
            return None
        try:
            return account if PasswordHasher().verify(decoy.hash, password) and account else None
        except (VerificationError, InvalidHashError):
            return None

    def _of_file(self) -> dict[str, Account]:
        if self._file is None:
            return {}
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            with self._lock:
                if seen != self._seen:
                    self._filed, self._seen, self._complained = _by_name(_read(self._file)), seen, False
                return self._filed
        except (InvalidSettings, OSError) as error:
            if not self._complained:
                log.error("nobody of the operators' file can sign in", reason=str(error))
            self._seen, self._complained = (), True
            return {}


def _of_settings(settings: Settings) -> Iterator[Account]:
    for entry in settings.operators.split():
        yield _account("OPERATORS", entry)
    if settings.admin_password_hash:
        yield _checked(
            "ADMIN_PASSWORD_HASH", Account(settings.admin_username, "admin", None, settings.admin_password_hash)
        )


def _read(path: Path) -> Iterator[Account]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"OPERATORS_FILE: it can't be read: {type(error).__name__}") from None
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            yield _account("OPERATORS_FILE", line.strip())


def _account(source: str, entry: str) -> Account:
    """One entry. Its text is in no message: a hash is nobody's business."""
    found = _ENTRY.fullmatch(entry)
    if found is None or found[2] not in ROLES:
        named = entry.partition(":")[0][:20] if ":" in entry else "(no name)"
        raise InvalidSettings(
            f"{source}: the account {named!r} must be name:role:hash or name:role@tenant:hash, with a role of"
            f" {', '.join(ROLES)} and a hash from: flask --app webapp operators hash"
        )
    role = next(role for role in ROLES if role == found[2])
    return _checked(source, Account(found[1], role, found[3], found[4]))


def _checked(source: str, account: Account) -> Account:
    try:
        extract_parameters(account.hash)
    except InvalidHashError:
        raise InvalidSettings(f"{source}: the hash of {account.name!r} is no argon2 hash") from None
    return account


def _by_name(accounts: Iterator[Account]) -> dict[str, Account]:
    found: dict[str, Account] = {}
    for account in accounts:
        if account.name in found:
            raise InvalidSettings(f"OPERATORS: there are two accounts of the name {account.name!r}")
        found[account.name] = account
    return found
