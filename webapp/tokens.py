"""JWT bearer tokens: verifying those of an identity provider or of our own secret, and making the latter."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt import PyJWKClient
from jwt.exceptions import PyJWKClientConnectionError, PyJWKSetError

from jobs.settings import Settings
from webapp.principal import Principal
from webapp.revocation import name_of

REQUIRED_CLAIMS = ("exp", "iss", "aud", "tenant")
MAX_TOKEN_LENGTH = 8192
CLOCK_LEEWAY = timedelta(seconds=10)


class InvalidToken(Exception):
    """The bearer token proves nothing; the message says why without repeating any of it."""


class KeysUnavailable(Exception):
    """The identity provider's keys can't be fetched now, so no token of its can be verified."""


class TokenVerifier:
    """Turns a compact JWT into a Principal; the algorithm decides the key, never the token's own word on keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: PyJWKClient | None = None
        if settings.jwt_jwks_url:
            self._keys = PyJWKClient(settings.jwt_jwks_url, lifespan=300, timeout=2, cooldown_duration=5)

    def verify(self, token: str) -> Principal:
        """The caller the token names. Raises InvalidToken, or KeysUnavailable when its key can't be looked up."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken("the token is too long")
        try:
            algorithm = str(jwt.get_unverified_header(token).get("alg"))
            claims = self._claims(token, algorithm, self._key(token, algorithm))
            return self._principal_of(claims)
        except (PyJWKClientConnectionError, PyJWKSetError, OSError) as error:
            raise KeysUnavailable("the signing keys can't be fetched") from error
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken("the token has expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidToken("the token is not valid here") from error

    def _key(self, token: str, algorithm: str) -> Any:
        if algorithm == "HS256" and self._settings.jwt_secret:
            return self._settings.jwt_secret
        if algorithm in ("RS256", "ES256") and self._keys is not None:
            return self._keys.get_signing_key_from_jwt(token).key
        raise InvalidToken("the token's algorithm is not accepted")

    def _principal_of(self, claims: dict[str, Any]) -> Principal:
        subject, tenant = claims.get("sub", ""), claims["tenant"]
        if not isinstance(tenant, str) or not isinstance(subject, str):
            raise InvalidToken("the claims sub and tenant are texts")
        said = _words(_found(claims, self._settings.roles_claim))
        roles = frozenset(role for word, role in self._settings.role_words.items() if word in said)
        jti = claims.get("jti")
        sign_in = name_of("token", jti) if isinstance(jti, str) and jti else ""
        everywhere = tenant == self._settings.operators_tenant
        return Principal(subject, tenant, _words(claims.get("scope")), roles, _expiry_of(claims), sign_in, everywhere)

    def _claims(self, token: str, algorithm: str, key: Any) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self._settings.jwt_issuer,
            audience=self._settings.jwt_audience,
            leeway=CLOCK_LEEWAY,
            options={"require": list(REQUIRED_CLAIMS)},
        )


def make_token(
    settings: Settings,
    tenant: str,
    scopes: list[str] | frozenset[str],
    subject: str = "user",
    ttl: timedelta = timedelta(hours=1),
    **claims: Any,
) -> str:
    """An HS256 token of `tenant` signed with JWT_SECRET. Raises ValueError when there is no such secret."""
    if not settings.jwt_secret:
        raise ValueError("JWT_SECRET is not set, so no token can be made; make one with: openssl rand -hex 32")
    now = datetime.now(UTC)
    body = {
        "sub": subject,
        "tenant": tenant,
        "scope": " ".join(sorted(scopes)),
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": now,
        "exp": now + ttl,
        "jti": secrets.token_hex(16),
    }
    return jwt.encode(body | claims, settings.jwt_secret, algorithm="HS256")


def _found(claims: dict[str, Any], name: str) -> Any:
    """The claim of that very name, or else what its dots lead to; None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _expiry_of(claims: dict[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidToken("the claim exp is no time in seconds") from None


def _words(claim: Any) -> frozenset[str]:
    if claim is None:
        return frozenset()
    words = claim.split() if isinstance(claim, str) else claim
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidToken("the claims scope and roles are texts or lists of texts")
    return frozenset(words)
