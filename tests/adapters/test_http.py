"""Fetching strangers' URLs, against a real HTTP server on the loopback address."""

from __future__ import annotations

import gzip
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobs.adapters.http import Fetched, NotModified, fetch
from jobs.engine import Permanent, Retryable
from jobs.engine.public_addresses import is_public
from tests.website import Site

MIB = 1024 * 1024


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Fetched | NotModified]:
    def call(url: str, **options: Any) -> Fetched | NotModified:
        values = {"limit": MIB, "timeout": timedelta(seconds=20), "allow_private": True, **options}
        return fetch(url, tmp_path / "body", **values)

    return call


def test_a_page_is_written_to_the_file(site: Site, get: Any, tmp_path: Path) -> None:
    site.page(
        "/a.pdf", b"hello", ETag='"1"', Last_Modified="Tue, 01 Sep 2026 10:00:00 GMT", Content_Type="text/plain; x=y"
    )
    got = get(site.url("/a.pdf"))
    assert got == Fetched(site.url("/a.pdf"), 5, '"1"', "Tue, 01 Sep 2026 10:00:00 GMT", "text/plain")
    assert (tmp_path / "body").read_bytes() == b"hello"
    assert site.requests[0]["host"] == f"127.0.0.1:{site.port}"


def test_an_unchanged_page_is_not_modified(site: Site, get: Any) -> None:
    site.page("/", status=304)
    assert get(site.url("/"), etag='"1"', last_modified="then") == NotModified(site.url("/"))
    assert (site.requests[0]["if-none-match"], site.requests[0]["if-modified-since"]) == ('"1"', "then")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "//127.0.0.1/x",
        "http:///x",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1/\r\nX-Injected: 1",
        "http://127.0.0.1:99999/",
        "http://a..b/",
        "http://-a.example/",
        "http://xn--/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        "http://[fe80::1%25lo]/",
        "http://a b/",
        "http://127.0.0.1\\@example.com/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "",
        "no address",
    ],
)
def test_what_is_no_plain_http_address_is_refused(get: Any, url: str) -> None:
    with pytest.raises(Permanent):
        get(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_private_address_is_refused_however_it_is_written(site: Site, get: Any, host: str) -> None:
    site.page("/", b"secret")
    with pytest.raises(Permanent, match="not a public address"):
        get(site.url("/", host), allow_private=False)
    assert site.requests == []


SPECIAL = """
10.1.2.3 172.16.0.1 192.168.0.1 127.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 240.0.0.1
255.255.255.255 192.0.0.9 192.0.2.1 198.18.0.1 192.88.99.1 ::1 :: ::ffff:8.8.8.8 ::ffff:127.0.0.1
::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 3fff::1 fc00::1 fe80::1
fe80::1%1 fec0::1 ff02::1 ff0e::1 5f00::1
"""


@pytest.mark.parametrize("address", SPECIAL.split())
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_redirect_on_the_same_host_is_followed(site: Site, get: Any) -> None:
    site.page("/old", status=301, Location="/new#part")
    site.page("/new", b"moved")
    assert get(site.url("/old")).url.startswith(site.url("/new"))


def test_a_redirect_to_another_host_is_refused(site: Site, get: Any) -> None:
    site.page("/old", status=302, Location=site.url("/new", host="localhost"))
    with pytest.raises(Permanent, match="another host"):
        get(site.url("/old"))
    assert len(site.requests) == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://", "http://a:b@127.0.0.1/", "http://[broken"])
def test_a_redirect_is_checked_like_an_address(site: Site, get: Any, location: str) -> None:
    site.page("/old", status=302, Location=location)
    with pytest.raises(Permanent):
        get(site.url("/old"))


def test_redirects_end_after_five(site: Site, get: Any) -> None:
    for hop in range(7):
        site.page(f"/{hop}", status=307, Location=f"/{hop + 1}")
    with pytest.raises(Permanent, match="more than 5 times"):
        get(site.url("/0"))
    assert len(site.requests) == 6


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 206, 300])
def test_an_answer_that_stays_wrong_is_permanent(site: Site, get: Any, status: int) -> None:
    site.page("/", status=status)
    with pytest.raises(Permanent, match=str(status)):
        get(site.url("/"))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_an_answer_that_may_mend_is_retryable_after_what_the_server_says(site: Site, get: Any, status: int) -> None:
    site.page("/", status=status, Retry_After="7")
    with pytest.raises(Retryable, match=str(status)) as caught:
        get(site.url("/"))
    assert caught.value.after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("said", "low", "high"),
    [
        ("Fri, 31 Dec 2199 23:59:59 GMT", 3600, 3600),
        ("Tue, 01 Sep 2020 10:00:00 GMT", 0, 0),
        ("99999999999999999999", None, None),
        ("864000", 3600, 3600),
        ("soon", None, None),
    ],
)
def test_retry_after_may_be_a_date_and_is_bounded(site: Site, get: Any, said: str, low: Any, high: Any) -> None:
    site.page("/", status=429, Retry_After=said)
    with pytest.raises(Retryable) as caught:
        get(site.url("/"))
    if low is None:
        assert caught.value.after is None
    else:
        assert timedelta(seconds=low) <= caught.value.after <= timedelta(seconds=high)


def test_nobody_listening_is_retryable(site: Site, get: Any) -> None:
    url = site.url("/")
    site.close()
    with pytest.raises(Retryable, match="can't be reached"):
        get(url)


def test_an_unknown_name_is_retryable(get: Any) -> None:
    with pytest.raises(Retryable, match="can't be found"):
        get("http://nowhere.invalid/")


def test_a_body_at_the_limit_passes_and_one_byte_more_does_not(site: Site, get: Any) -> None:
    site.page("/", b"x" * 1000)
    assert get(site.url("/"), limit=1000).size == 1000
    with pytest.raises(Permanent, match="over the limit"):
        get(site.url("/"), limit=999)


def test_an_endless_body_stops_at_the_limit(site: Site, get: Any) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while not site.closing.is_set():
            request.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    site.pages["/"] = endless
    with pytest.raises(Permanent, match="over the limit"):
        get(site.url("/"))


def test_the_limit_counts_unpacked_bytes(site: Site, get: Any, tmp_path: Path) -> None:
    site.page("/bomb", gzip.compress(b"\0" * 50 * MIB), Content_Encoding="gzip")
    with pytest.raises(Permanent, match="over the limit"):
        get(site.url("/bomb"))
    assert (tmp_path / "body").stat().st_size <= MIB


def test_a_packed_body_is_unpacked(site: Site, get: Any, tmp_path: Path) -> None:
    text = b"line\n" * 100_000
    site.page("/", gzip.compress(text[:1000]) + gzip.compress(text[1000:]), Content_Encoding="gzip")
    assert get(site.url("/")).size == len(text)
    assert (tmp_path / "body").read_bytes() == text


@pytest.mark.parametrize(
    ("body", "encoding", "error"),
    [
        (b"not gzip", "gzip", Permanent),
        (gzip.compress(b"text" * 1000)[:-9], "gzip", Retryable),
        (b"text", "br", Permanent),
        (b"text", "gzip, gzip", Permanent),
    ],
    ids=["not gzip", "cut short", "unknown", "packed twice"],
)
def test_a_body_that_can_not_be_unpacked_is_an_error(
    site: Site, get: Any, body: bytes, encoding: str, error: Any
) -> None:
    site.page("/", body, Content_Encoding=encoding)
    with pytest.raises(error):
        get(site.url("/"))


def test_a_body_cut_short_is_retryable(site: Site, get: Any) -> None:
    site.page("/", b"half", Content_Length="8")
    with pytest.raises(Retryable):
        get(site.url("/"))


@pytest.mark.parametrize("drip", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_server_that_drips_is_stopped_at_the_deadline(site: Site, get: Any, drip: bytes) -> None:
    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(drip)
        while not site.closing.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    site.pages["/"] = slowly
    with pytest.raises(Retryable):
        get(site.url("/"), timeout=timedelta(seconds=0.4))


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    site: Site, get: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.page("/", b"private words")
    certificate = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    with pytest.raises(Retryable, match="can't be reached"):
        get(site.url("/", host="localhost", scheme="https"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get(site.url("/", host="localhost", scheme="https")).size == 13
    assert asked[-1] == "localhost"
    with pytest.raises(Retryable, match="can't be reached"):
        get(site.url("/", scheme="https"))


def make_certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path
