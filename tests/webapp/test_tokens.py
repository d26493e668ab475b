"""Bearer tokens: which are believed, and every way of forging one that is not."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from jobs.settings import Settings
from webapp.tokens import InvalidToken, KeysUnavailable, TokenVerifier, make_token

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SECRET = "a-secret-for-signing-tokens-" + "0123456789" * 4
EC = ec.generate_private_key(ec.SECP256R1())


class KeyServer:
    """An identity provider's JWKS endpoint on localhost that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.keys = [
            RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": "rsa", "use": "sig"},
            ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "ec", "use": "sig"},
        ]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.stop()


@pytest.fixture
def own() -> Settings:
    return Settings(environment="test", jwt_secret=SECRET)


@pytest.fixture
def provider(key_server: KeyServer) -> Settings:
    return Settings(environment="test", jwt_jwks_url=key_server.url)


def claims(**changes: Any) -> dict[str, Any]:
    """Valid claims; a change to None takes one away."""
    base = {
        "sub": "ann",
        "tenant": "ours",
        "scope": "documents:read jobs:read",
        "iss": "rq-fleet",
        "aud": "rq-fleet",
        "exp": datetime.now(UTC) + timedelta(minutes=5),
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


def signed(settings: Settings, **changes: Any) -> str:
    assert settings.jwt_secret
    return jwt.encode(claims(**changes), settings.jwt_secret, algorithm="HS256")


def unsigned(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(part, default=str).encode() for part in (header, body)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, signature])


def test_a_token_of_our_own_secret_names_its_bearer(own: Settings) -> None:
    principal = TokenVerifier(own).verify(make_token(own, "ours", ["jobs:read"], "ann"))
    assert (principal.subject, principal.tenant, principal.scopes) == ("ann", "ours", {"jobs:read"})


@pytest.mark.parametrize("scope", ["documents:read jobs:read", ["documents:read", "jobs:read"]])
def test_scopes_are_a_text_or_a_list(own: Settings, scope: Any) -> None:
    assert TokenVerifier(own).verify(signed(own, scope=scope)).scopes == {"documents:read", "jobs:read"}


def test_a_token_without_scopes_may_nothing(own: Settings) -> None:
    assert TokenVerifier(own).verify(signed(own, scope=None)).scopes == frozenset()


@pytest.mark.parametrize("missing", ["exp", "iss", "aud", "tenant"])
def test_a_token_without_a_required_claim_is_refused(own: Settings, missing: str) -> None:
    with pytest.raises(InvalidToken):
        TokenVerifier(own).verify(signed(own, **{missing: None}))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"exp": datetime.now(UTC) - timedelta(hours=1)}, id="expired"),
        pytest.param({"nbf": datetime.now(UTC) + timedelta(hours=1)}, id="not yet valid"),
        {"iss": "somebody-else"},
        {"aud": "another-service"},
        {"tenant": ""},
        {"tenant": "a:b*"},
        {"tenant": ["ours"]},
        {"tenant": 7},
        {"scope": 7},
        {"scope": [7]},
        {"scope": {"documents:read": True}},
        {"roles": 7},
        {"exp": "soon"},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(own: Settings, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        TokenVerifier(own).verify(signed(own, **change))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "a" * 10_000,
        "é.é.é",
        unsigned({"alg": "none", "typ": "JWT"}, {}),
        unsigned({"alg": "nOnE"}, {}),
        unsigned({"alg": None}, {}),
        unsigned({"alg": ["HS256"]}, {}),
        unsigned({"alg": "RS256", "kid": "rsa"}, {}),
        unsigned({}, {}),
        base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
    ],
)
def test_what_is_no_signed_token_is_refused(own: Settings, token: str) -> None:
    with pytest.raises(InvalidToken):
        TokenVerifier(own).verify(token)


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_no_other_algorithm_is_believed_with_the_right_secret(own: Settings, algorithm: str) -> None:
    key = None if algorithm == "none" else own.jwt_secret
    with pytest.raises(InvalidToken):
        TokenVerifier(own).verify(jwt.encode(claims(), key, algorithm=algorithm))


def test_a_token_of_another_secret_is_refused(own: Settings) -> None:
    with pytest.raises(InvalidToken):
        TokenVerifier(own).verify(jwt.encode(claims(), "another-secret-0123456789-0123456789", algorithm="HS256"))


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec")])
def test_a_token_of_the_identity_provider_is_believed(provider: Settings, key: Any, algorithm: str, kid: str) -> None:
    token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
    assert TokenVerifier(provider).verify(token).tenant == "ours"


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (OTHER_RSA, "RS256", "rsa"),
        (RSA, "RS256", "unknown"),
        (RSA, "RS512", "rsa"),
        (RSA, "PS256", "rsa"),
        (RSA, "RS256", "ec"),
    ],
)
def test_another_key_kid_or_algorithm_is_refused(provider: Settings, key: Any, algorithm: str, kid: str) -> None:
    token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
    with pytest.raises(InvalidToken):
        TokenVerifier(provider).verify(token)


@pytest.mark.parametrize("secret", [None, SECRET])
def test_the_providers_public_key_is_no_secret(key_server: KeyServer, secret: str | None) -> None:
    """The classic confusion: HS256, keyed with the RSA public key that everybody knows."""
    settings = Settings(environment="test", jwt_jwks_url=key_server.url, jwt_secret=secret)
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signer = jwt.PyJWS()
    signer.unregister_algorithm("HS256")
    signer.register_algorithm("HS256", _Careless(jwt.algorithms.HMACAlgorithm.SHA256))
    body = json.dumps(claims(exp=int(datetime.now(UTC).timestamp()) + 300)).encode()
    token = signer.encode(body, public, algorithm="HS256", headers={"kid": "rsa"})
    with pytest.raises(InvalidToken):
        TokenVerifier(settings).verify(token)


class _Careless(jwt.algorithms.HMACAlgorithm):
    """Signs with any bytes, as an attacker's library would."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else key.encode()


def test_keys_are_fetched_once_for_many_tokens(provider: Settings, key_server: KeyServer) -> None:
    verifier, before = TokenVerifier(provider), key_server.asked
    token = jwt.encode(claims(), RSA, algorithm="RS256", headers={"kid": "rsa"})
    for _ in range(5):
        verifier.verify(token)
    assert key_server.asked == before + 1


def test_unknown_key_ids_do_not_make_us_ask_each_time(provider: Settings, key_server: KeyServer) -> None:
    verifier, before = TokenVerifier(provider), key_server.asked
    for number in range(10):
        token = jwt.encode(claims(), OTHER_RSA, algorithm="RS256", headers={"kid": f"made-up-{number}"})
        with pytest.raises(InvalidToken):
            verifier.verify(token)
    assert key_server.asked <= before + 2


def test_tokens_can_not_be_judged_while_the_provider_is_away() -> None:
    settings = Settings(environment="test", jwt_jwks_url="http://127.0.0.1:9/jwks.json")
    token = jwt.encode(claims(), RSA, algorithm="RS256", headers={"kid": "rsa"})
    with pytest.raises(KeysUnavailable):
        TokenVerifier(settings).verify(token)


def test_no_token_is_made_without_a_secret() -> None:
    with pytest.raises(ValueError, match="JWT_SECRET"):
        make_token(Settings(environment="test"), "ours", ["jobs:read"])
