"""Uploads: many files a request, each accepted or refused on its own, and bodies that are not what they say."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from jobs.adapters.database.models import DOCUMENTS, UPLOADS
from jobs.settings import Settings
from webapp import create_app

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
on_both = pytest.mark.parametrize("environ", BOTH, indirect=True)
Header = dict[str, str]
Post = Callable[..., list[dict[str, Any]]]
URL = "/api/workspace/papers/upload"
BOUNDARY = "frontier"


def part(name: str | None = "a.txt", content: bytes = b"words", field: str = "files") -> bytes:
    filename = b"" if name is None else b'; filename="' + name.encode() + b'"'
    return (
        b'Content-Disposition: form-data; name="' + field.encode() + b'"' + filename + b"\r\n\r\n" + content + b"\r\n"
    )


def body(*parts: bytes, end: bytes = b"--frontier--\r\n") -> bytes:
    return b"".join(b"--frontier\r\n" + each for each in parts) + end


def post_raw(client: FlaskClient, headers: Header, data: bytes, **changes: Any) -> Any:
    arguments = {"content_type": f"multipart/form-data; boundary={BOUNDARY}", "data": data, "headers": headers}
    return client.post(URL, **(arguments | changes))


def kept(app: APIFlask) -> tuple[int, int, int]:
    """How many documents, upload rows and stored objects there are."""
    with app.extensions["database"].read() as session:
        documents = session.scalar(select(func.count()).select_from(DOCUMENTS))
        uploads = session.scalar(select(func.count()).select_from(UPLOADS))
    storage = app.extensions["storage"]
    return documents, uploads, len(list(storage.list("uploads/"))) if storage.root.exists() else 0


@pytest.fixture
def small(settings: Settings, workspace: str) -> FlaskClient:
    """The application with files of at most 1,000 bytes and 3 of them a request."""
    return create_app(settings.model_copy(update={"upload_max_bytes": 1000, "upload_max_files": 3})).test_client()


@on_both
def test_each_file_becomes_a_document_with_a_job(client: FlaskClient, us: Header, upload: Post, app: APIFlask) -> None:
    documents = upload(("a.txt", b"first"), ("b.txt", b"second"))
    assert [document["name"] for document in documents] == ["a.txt", "b.txt"]
    assert [document["status"] for document in documents] == ["queued", "queued"]
    for document in documents:
        job = client.get(f"/api/jobs/{document['job_id']}", headers=us).get_json()
        assert (job["type"], job["status"], job["tenant"]) == ("documents.ingest", "queued", "ours")
    assert kept(app) == (2, 2, 2)


def test_what_was_sent_is_what_is_stored(upload: Post, app: APIFlask) -> None:
    content = bytes(range(256)) * 2000 + b"\r\n--frontie\r\n--\r\n\r"
    upload(("a.bin", content))
    (stored,) = app.extensions["storage"].list("uploads/")
    with app.extensions["storage"].open(stored.key) as file:
        assert file.read() == content


def test_the_answer_points_to_the_first_job(client: FlaskClient, us: Header, workspace: str) -> None:
    answer = post_raw(client, us, body(part("", b""), part("b.txt")))
    assert answer.status_code == 202
    refused, accepted = answer.get_json()["documents"]
    assert refused["id"] is None
    assert answer.headers["Location"] == f"/api/jobs/{accepted['job_id']}"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (part("empty.txt", b""), "empty"),
        (part("", b"words"), "no name"),
        (part("big.txt", b"x" * 1001), "larger"),
        (part("other.txt", b"words", field="file"), "field files"),
    ],
)
def test_a_bad_file_is_refused_and_its_neighbours_are_not(
    small: FlaskClient, us: Header, app: APIFlask, bad: bytes, why: str
) -> None:
    answer = post_raw(small, us, body(part("a.txt"), bad, part("b.txt")))
    first, refused, last = answer.get_json()["documents"]
    assert (first["status"], refused["status"], last["status"]) == ("queued", "failed", "queued")
    assert why in refused["error"]
    assert refused["id"] is refused["job_id"] is None
    assert kept(app) == (2, 2, 2)


def test_a_file_far_over_the_limit_does_not_refuse_its_batch(
    settings: Settings, workspace: str, us: Header, app: APIFlask
) -> None:
    client = create_app(settings.model_copy(update={"upload_max_bytes": 100_000})).test_client()
    answer = post_raw(client, us, body(part("a.txt"), part("huge.txt", b"x" * 700_000), part("b.txt")))
    documents = answer.get_json()["documents"]
    assert [document["status"] for document in documents] == ["queued", "failed", "queued"]
    assert "larger" in documents[1]["error"]
    assert kept(app) == (2, 2, 2)


def test_a_request_of_only_bad_files_is_422_with_each_reason(small: FlaskClient, us: Header, app: APIFlask) -> None:
    answer = post_raw(small, us, body(part("a.txt", b""), part("b.txt", b"x" * 1001)))
    problem = answer.get_json()
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert [document["name"] for document in problem["documents"]] == ["a.txt", "b.txt"]
    assert all(document["error"] for document in problem["documents"])
    assert kept(app) == (0, 0, 0)


def test_a_file_of_exactly_the_limit_is_accepted(small: FlaskClient, us: Header) -> None:
    assert post_raw(small, us, body(part("a.txt", b"x" * 1000))).status_code == 202


@on_both
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\\\secret\\\\a.txt", "a.txt"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("\u202egpj.exe", "gpj.exe"),
        ("n\u00e4me.txt", "n\u00e4me.txt"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("..", "unnamed"),
    ],
)
def test_a_name_is_shown_but_never_a_path(
    client: FlaskClient, us: Header, workspace: str, sent: str, shown: str
) -> None:
    answer = post_raw(client, us, body(part(sent)))
    assert answer.get_json()["documents"][0]["name"] == shown


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"--frontier--\r\n",
        body(part("a.txt"), end=b""),
        body(part("a.txt"), end=b"--frontier"),
        b"--frontier\r\nContent-Disposition: form-data",
        b"--frontier\r\nX: y\r\n\r\nwords\r\n--frontier--\r\n",
        b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="\xff"\r\n\r\nwords\r\n--frontier--\r\n',
        b"--frontier\r\n" + b"X-Long: " + b"x" * 500_000 + b"\r\n\r\n",
        body(part(None, b"only a field")),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_a_body_without_readable_files_is_4xx_and_leaves_nothing(
    client: FlaskClient, us: Header, workspace: str, app: APIFlask, data: bytes
) -> None:
    answer = post_raw(client, us, data)
    assert answer.status_code in (400, 413, 422)
    assert answer.mimetype == "application/problem+json"
    assert kept(app) == (0, 0, 0)


def test_files_before_the_break_of_a_broken_body_are_forgotten(
    client: FlaskClient, us: Header, workspace: str, app: APIFlask
) -> None:
    answer = post_raw(client, us, body(part("a.txt"), part("b.txt"), end=b""))
    assert answer.status_code == 400
    assert kept(app) == (0, 0, 0)


@pytest.mark.parametrize("length", [0, 20, 10_000, -5, "many"])
def test_a_wrong_content_length_is_4xx(
    client: FlaskClient, us: Header, workspace: str, app: APIFlask, length: Any
) -> None:
    answer = client.post(
        URL,
        input_stream=BytesIO(body(part("a.txt"))),
        headers=us,
        content_type=f"multipart/form-data; boundary={BOUNDARY}",
        environ_overrides={"CONTENT_LENGTH": str(length)},
    )
    assert answer.status_code in (400, 413, 422)
    assert kept(app) == (0, 0, 0)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=frontier", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "b" * 1000, 400),
        ("multipart/form-data; boundary=ü", 400),
    ],
)
def test_another_content_type_is_refused(
    client: FlaskClient, us: Header, workspace: str, content_type: str, status: int
) -> None:
    assert post_raw(client, us, body(part("a.txt")), content_type=content_type).status_code == status


def test_too_many_files_are_413_and_nothing_is_kept(small: FlaskClient, us: Header, app: APIFlask) -> None:
    answer = post_raw(small, us, body(*[part("a.txt")] * 4))
    assert answer.status_code == 413
    assert kept(app) == (0, 0, 0)


def test_a_thousand_and_one_fields_are_413(client: FlaskClient, us: Header, workspace: str) -> None:
    assert post_raw(client, us, body(*[part(None, b"x")] * 1001)).status_code == 413


def test_what_follows_a_file_over_the_limit_is_not_read_for_ever(small: FlaskClient, us: Header, app: APIFlask) -> None:
    answer = post_raw(small, us, body(part("a.txt"), part("endless.txt", b"x" * 200_000)))
    assert answer.status_code == 413
    assert kept(app) == (0, 0, 0)


def test_an_unknown_workspace_is_404_before_anything_is_stored(client: FlaskClient, us: Header, app: APIFlask) -> None:
    assert post_raw(client, us, body(part("a.txt"))).status_code == 404
    assert kept(app) == (0, 0, 0)


@on_both
def test_the_same_key_and_files_are_answered_as_the_first_time(upload: Post, app: APIFlask) -> None:
    first = upload(("a.txt", b"words"), **{"Idempotency-Key": "k1"})
    again = upload(("a.txt", b"words"), **{"Idempotency-Key": "k1"})
    assert again == first
    assert kept(app) == (1, 1, 1)


@on_both
def test_the_same_key_at_the_same_moment_makes_one_document(app: APIFlask, us: Header, workspace: str) -> None:
    def post(_: int) -> Any:
        found = post_raw(app.test_client(), us | {"Idempotency-Key": "k1"}, body(part("a.txt"))).get_json()
        assert found["documents"][0].pop("queued") in ("redis", "ledger"), "it moves meanwhile"
        return found

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(post, range(12)))
    assert answers == [answers[0]] * 12
    assert kept(app) == (1, 1, 1)


@pytest.mark.parametrize("other", [("a.txt", b"other words"), ("b.txt", b"words")])
def test_the_same_key_with_other_files_is_422(
    client: FlaskClient, us: Header, upload: Post, app: APIFlask, other: tuple[str, bytes]
) -> None:
    upload(("a.txt", b"words"), **{"Idempotency-Key": "k1"})
    answer = post_raw(client, us | {"Idempotency-Key": "k1"}, body(part(*other)))
    assert answer.status_code == 422
    assert kept(app) == (1, 1, 1)


def test_a_key_is_one_tenants_own(client: FlaskClient, them: Header, upload: Post, app: APIFlask) -> None:
    upload(("a.txt", b"words"), **{"Idempotency-Key": "k1"})
    client.post("/api/workspaces", json={"slug": "papers", "name": "Theirs"}, headers=them)
    answer = post_raw(client, them | {"Idempotency-Key": "k1"}, body(part("z.txt", b"other")))
    assert answer.status_code == 202
    assert kept(app) == (2, 2, 2)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_a_strange_key_is_422(client: FlaskClient, us: Header, workspace: str, key: str) -> None:
    assert post_raw(client, us | {"Idempotency-Key": key}, body(part("a.txt"))).status_code == 422
