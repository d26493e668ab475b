"""The signed envelope: what a job's `data` says in Redis, and how it is told from what others wrote there."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from jobs.engine.errors import InvalidPayload, MissingEncryptionKey, Untrusted
from jobs.engine.mac import Mac
from jobs.settings import InvalidSettings, Settings

PERFORM = "jobs.engine.execute.perform"
VERSION = 1
COMPRESS_OVER = 1024
LARGEST_DATA = 16 * 1024 * 1024
LARGEST_CARRIED = 4096
CARRIED_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
NONCE = "nonce"
"""Under this name a job whose id was chosen carries what tells it from others of that id, before and after it."""
_raw_decode = json.JSONDecoder().raw_decode
NOTHING: Mapping[str, str] = {}


class Envelope(NamedTuple):
    """A job as it was enqueued: its type's name, the payload's JSON text, for whom, and the limits that hold for it."""

    job_id: str
    name: str
    payload: str
    tenant: str = ""
    correlation_id: str = ""
    gates: str = ""
    carried: Mapping[str, str] = NOTHING
    """What middlewares send along, such as a trace's context."""
    flow: str = ""
    """Of a workflow's job: its place there and where its inputs are; `jobs.engine.workflows.inputs` reads it."""

    def signed_text(self) -> bytes:
        """What the signature covers; JSON keeps the parts apart."""
        job_id, name, payload, tenant, correlation_id, gates, carried, flow = self
        more = f",{quoted(gates)}" if gates or carried or flow else ""
        more += f",{_canonical(carried)}" if carried or flow else ""
        more += f",{quoted(flow)}" if flow else ""
        parts = f"{quoted(job_id)},{quoted(name)},{quoted(payload)},{quoted(tenant)},{quoted(correlation_id)}"
        return f"[{VERSION},{parts}{more}]".encode("ascii")


class Seal:
    """Signs the jobs of one type and tenant; what their envelopes have in common is written once."""

    def __init__(self, key_id: str, key: bytes, name: str, tenant: str) -> None:
        self._mac = Mac(key)
        self._name, self._tenant = quoted(name), quoted(tenant)
        self._begin = f'["{PERFORM}",null,[{self._name},'
        self._headers = f'{{"v":{VERSION},"kid":{quoted(key_id)},"sig":"'

    def data(
        self, job_id: str, payload: str, correlation_id: str, gates: str = "", carried: str = "", flow: str = ""
    ) -> bytes:
        """RQ's `data` for its JSON serializer: [function, instance, args, kwargs]; compressed when that pays."""
        text, tenant, cid = quoted(payload), self._tenant, quoted(correlation_id)
        signed, told = (f",{quoted(gates)}", f',"gates":{quoted(gates)}') if gates else ("", "")
        if carried:
            signed, told = f",{quoted(gates)},{carried}", f'{told},"carried":{carried}'
        if flow:
            signed, told = f",{quoted(gates)},{carried or '{}'},{quoted(flow)}", f'{told},"flow":{quoted(flow)}'
        mac = self._mac.hexdigest(
            f"[{VERSION},{quoted(job_id)},{self._name},{text},{tenant},{cid}{signed}]".encode("ascii")
        )
        headers = f'{self._headers}{mac}","tenant":{tenant},"cid":{cid}{told}}}'
        data = f"{self._begin}{text},{headers}],{{}}]".encode("ascii")
        return zlib.compress(data) if len(data) > COMPRESS_OVER else data


@dataclass(frozen=True, slots=True)
class Call:
    """A job of a plain RQ client: a function's path and its arguments."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]


class Keys:
    """The signing and encryption keys of the settings; the first signs and encrypts, all verify and decrypt."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._signing = dict(_signing_key(text) for text in settings.job_signing_keys) or {
            "secret": hmac.digest(settings.secret_key.encode(), b"rq-fleet job signing", "sha256")
        }
        self._newest = next(iter(self._signing))
        self._macs = {key_id: Mac(key) for key_id, key in self._signing.items()}

    def seal(self, name: str, tenant: str) -> Seal:
        """What signs jobs of this type and tenant, with the newest key."""
        return Seal(self._newest, self._signing[self._newest], name, tenant)

    def verify(self, job_id: str, name: Any, payload: Any, headers: Any) -> Envelope:
        """The envelope that these arguments of `perform` are. Raises Untrusted."""
        if not (isinstance(name, str) and isinstance(payload, str) and isinstance(headers, dict)):
            raise Untrusted("the envelope has the wrong shape")
        get = headers.get
        tenant, cid, gates, flow = get("tenant", ""), get("cid", ""), get("gates", ""), get("flow", "")
        are_texts = (
            isinstance(tenant, str) and isinstance(cid, str) and isinstance(gates, str) and isinstance(flow, str)
        )
        if get("v") != VERSION or not are_texts:
            raise Untrusted("the envelope is of an unknown version")
        envelope = Envelope(job_id, name, payload, tenant, cid, gates, _carried(get("carried")), flow)
        known = self._macs.get(str(get("kid")))
        if known is None:
            raise Untrusted("the envelope is signed with an unknown key")
        mac = known.hexdigest(envelope.signed_text())
        if not hmac.compare_digest(mac.encode(), str(get("sig")).encode()):
            raise Untrusted("the envelope's signature is wrong")
        return envelope

    def digests(self, text: str) -> tuple[str, ...]:
        """Fingerprints that only the fleet can compute, by each key, the newest first, to compare payloads by."""
        return tuple(hmac.digest(key, text.encode(), "sha256").hex()[:32] for key in self._signing.values())

    @cached_property
    def encrypt(self) -> Callable[[str], str] | None:
        """Encrypts a secret field, or None without ENCRYPTION_KEYS."""
        fernet = self._fernet
        return (lambda text: str(fernet.encrypt(text.encode()).decode())) if fernet else None

    @cached_property
    def decrypt(self) -> Callable[[str], str]:
        """Decrypts a secret field. Raises MissingEncryptionKey, Untrusted."""

        def decrypt(token: str) -> str:
            from cryptography.fernet import InvalidToken

            if self._fernet is None:
                raise MissingEncryptionKey("a secret field needs ENCRYPTION_KEYS to be set")
            try:
                return str(self._fernet.decrypt(token.encode()).decode())
            except InvalidToken:
                raise Untrusted("a secret field can't be decrypted with any of ENCRYPTION_KEYS") from None

        return decrypt

    @cached_property
    def _fernet(self) -> Any:
        if not self._settings.encryption_keys:
            return None
        from cryptography.fernet import Fernet, MultiFernet

        try:
            return MultiFernet([Fernet(key) for key in self._settings.encryption_keys])
        except ValueError:
            raise InvalidSettings(
                "ENCRYPTION_KEYS: each must be 32 url-safe base64 bytes; make one with: "
                "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
            ) from None


def decode(data: bytes) -> Call:
    """What RQ's `data` calls, read as JSON only. Raises Untrusted for a pickle or anything else."""
    text = _decompressed(data)
    try:
        function, instance, args, kwargs = _read(text.decode())
    except (ValueError, RecursionError, TypeError):
        raise Untrusted("the job's data is not RQ's JSON") from None
    if instance is not None or not (isinstance(function, str) and isinstance(args, list) and isinstance(kwargs, dict)):
        raise Untrusted("the job's data is not a plain function call")
    return Call(function, args, kwargs)


def _read(text: str) -> Any:
    """JSON; what has no white space around it, as RQ and we write it, is not searched for any."""
    if text.startswith("["):
        found, end = _raw_decode(text)
        if end == len(text):
            return found
    return json.loads(text)


def _canonical(carried: Mapping[str, str]) -> str:
    return json.dumps(carried, sort_keys=True, separators=(",", ":"))


def _carried(said: Any) -> Mapping[str, str]:
    if said is None:
        return NOTHING
    if not isinstance(said, dict) or not all(isinstance(each, str) for each in said.values()):
        raise Untrusted("the envelope has the wrong shape")
    return said


def _decompressed(data: bytes) -> bytes:
    if data.startswith(b"["):
        return data
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, LARGEST_DATA)
    except zlib.error:
        return data
    if unpacker.unconsumed_tail:
        raise Untrusted(f"the job's data is over {LARGEST_DATA} bytes")
    return text


def carried_text(carried: Mapping[str, str]) -> str:
    """What a job carries, as JSON with sorted names; empty for nothing. Raises InvalidPayload for too much of it."""
    if not carried:
        return ""
    if not all(CARRIED_NAME.fullmatch(name) for name in carried):
        raise InvalidPayload("what a middleware carries has names of up to 64 letters, digits and ._-")
    text = _canonical(carried)
    if len(text) > LARGEST_CARRIED:
        raise InvalidPayload(f"what middlewares carry with a job is over {LARGEST_CARRIED} bytes")
    return text


def idempotent_job_id(tenant: str, name: str, key: str) -> str:
    """The job id that an idempotency key stands for, within its tenant and job type."""
    return hashlib.sha256(json.dumps([tenant, name, key]).encode()).hexdigest()[:32]


def _signing_key(text: str) -> tuple[str, bytes]:
    kid, _, secret = text.partition(":")
    if not kid or len(secret) < 16:
        raise InvalidSettings("JOB_SIGNING_KEYS: write name:secret,name:secret, newest first, 16 characters or more")
    return kid, secret.encode()
