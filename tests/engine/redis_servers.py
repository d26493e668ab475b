"""Redis servers of every kind for the tests of connections: TLS, unix socket, replicas and Sentinels."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import redis_binary, wait_until


@dataclass(frozen=True)
class Certificates:
    authority: Path
    certificate: Path
    key: Path

    def server_options(self) -> list[str]:
        files = ("--tls-ca-cert-file", self.authority, "--tls-cert-file", self.certificate, "--tls-key-file", self.key)
        return [*map(str, files), "--tls-auth-clients", "no"]


def make_certificates(folder: Path, name: str = "localhost") -> Certificates:
    """An authority of our own and a server's certificate for `name` and 127.0.0.1."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("test authority", "test authority", authority_key, authority_key, authority=True)
    server = _certificate(name, "test authority", server_key, authority_key, authority=False)
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    made.key.write_bytes(server_key.private_bytes(serialization.Encoding.PEM, *private))
    return made


def _certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.DNSName(subject), x509.IPAddress(ip_address("127.0.0.1"))] if subject == "localhost" else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not authority:
        alternatives = x509.SubjectAlternativeName(names or [x509.DNSName(subject)])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(authority: bool) -> x509.KeyUsage:
    """Python 3.13 wants to be told what a key is for (RFC 5280)."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def tls_binary(folder: Path) -> str:
    """A server binary that was built with TLS; without one the test is skipped, in CI it fails."""
    candidates = (redis_binary(), shutil.which("redis-server"), shutil.which("valkey-server"))
    for binary in filter(None, candidates):
        without_certificate = [binary, "--port", "0", "--tls-port", "7"]
        probe = subprocess.run(without_certificate, capture_output=True, text=True, cwd=folder, timeout=30)
        if "Failed to configure TLS" in probe.stdout:
            return binary
    reason = "no redis-server with TLS: install Debian's redis-server"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running(
    binary: str, arguments: list[str], folder: Path, client: Callable[[], redis.Redis]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that answers the client's ping; killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([binary, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None, f"{binary} ended: {arguments}"
        try:
            with client() as probe:
                return bool(probe.ping())
        except redis.RedisError:
            return False

    try:
        wait_until(answers)
        yield process
    finally:
        process.kill()
        process.wait(10)
