"""Operators: their accounts, what ends their sessions, where they are sent, and what is hidden from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from apiflask import APIFlask
from argon2 import PasswordHasher
from click.testing import Result

from jobs.settings import InvalidSettings, Settings
from tests.webapp.operators import PAGE, PASSWORD, accounts, bearer_of, csrf_of, enter, hash_of
from webapp import create_app
from webapp.accounts import Accounts
from webapp.blueprints.admin import TRIES_PER_ADDRESS
from webapp.console import frame

QUEUES = "/admin/rq/0/data/queues.json"
FILED = "\n# staff\nfay:operator:{hash}\n\n  gus:viewer@a:{hash}  \n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "operators.txt"
    path.write_text(FILED.format(hash=hash_of()))
    return path


@pytest.fixture
def environ(environ: dict[str, str], file: Path) -> dict[str, str]:
    more = {"ADMIN_USERNAME": "root", "ADMIN_PASSWORD_HASH": hash_of()}
    return environ | more | {"OPERATORS": accounts(), "OPERATORS_FILE": str(file)}


def test_accounts_come_from_both_settings_and_the_file(app: APIFlask) -> None:
    found = {account.name: (account.role, account.tenant) for account in app.extensions["accounts"].all()}
    assert (found["root"], found["viewer"], found["admin-a"]) == (("admin", None), ("viewer", None), ("admin", "a"))
    assert (found["fay"], found["gus"]) == (("operator", None), ("viewer", "a"))


def test_the_old_account_stays_an_administrator_beside_the_others(environ: dict[str, str], tables: None) -> None:
    app = create_app(Settings.from_env(environ | {"OPERATORS": f"ann:viewer:{hash_of()}", "ADMIN_USERNAME": "root"}))
    assert enter(app, "root").get(QUEUES).status_code == 200
    assert enter(app, "ann").get(QUEUES).status_code == 200
    assert enter(app, "root").get("/api/metrics").status_code == 200


@pytest.mark.parametrize(
    "entries",
    [
        "ann",
        "ann:viewer",
        "ann:viewer:plain-password",
        "ann:root:HASH",
        "ann:Viewer:HASH",
        ":viewer:HASH",
        "ann:viewer@:HASH",
        "ann:viewer@a b:HASH",
        "ann:viewer@a/b:HASH",
        "ann:viewer:$argon2id$nonsense",
        "ann:viewer:HASH ann:admin:HASH",
    ],
)
def test_an_entry_that_is_none_is_refused_without_repeating_its_hash(entries: str) -> None:
    settings = Settings(environment="test", operators=entries.replace("HASH", hash_of()))
    with pytest.raises(InvalidSettings, match="OPERATORS") as refused:
        Accounts(settings)
    assert "plain-password" not in str(refused.value) and "$argon2" not in str(refused.value)


@pytest.mark.parametrize("hash_", ["secret", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=65536"])
def test_a_password_that_is_no_hash_keeps_the_application_from_starting(hash_: str) -> None:
    with pytest.raises(InvalidSettings, match="ADMIN_PASSWORD_HASH") as refused:
        Accounts(Settings(environment="test", admin_password_hash=hash_))
    assert hash_ not in str(refused.value)


def test_a_file_that_is_not_there_keeps_the_application_from_starting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="OPERATORS_FILE"):
        Accounts(Settings(environment="test", operators_file=tmp_path / "nowhere"))


def test_a_role_taken_away_ends_at_the_next_request(app: APIFlask, file: Path) -> None:
    fay = enter(app, "fay")
    assert fay.get(QUEUES).status_code == 200
    rewrite(file, f"fay:operator@a:{hash_of()}")
    assert fay.get(QUEUES).status_code == 401
    rewrite(file, FILED.format(hash=hash_of()))
    assert enter(app, "fay").get(QUEUES).status_code == 200


@pytest.mark.parametrize(
    "now", ["fay:viewer:HASH", "gus:viewer@a:HASH", "fay:operator:OTHER", "# fay:operator:HASH", "fay:nonsense"]
)
def test_whatever_changes_of_an_account_ends_its_sessions_and_no_others(app: APIFlask, file: Path, now: str) -> None:
    fay, viewer = enter(app, "fay"), enter(app, "viewer")
    rewrite(file, now.replace("HASH", hash_of()).replace("OTHER", hash_of("another password")))
    assert fay.get(QUEUES).status_code == 401
    assert viewer.get(QUEUES).status_code == 200


def test_nobody_of_a_file_that_is_gone_comes_in_or_stays(app: APIFlask, file: Path) -> None:
    fay = enter(app, "fay")
    file.unlink()
    assert fay.get(QUEUES).status_code == 401
    with pytest.raises(AssertionError, match="not right"):
        enter(app, "fay")
    file.write_text(FILED.format(hash=hash_of()))
    assert enter(app, "fay").get(QUEUES).status_code == 200


def test_a_role_of_the_settings_taken_away_ends_with_the_next_start(environ: dict[str, str], tables: None) -> None:
    first = create_app(Settings.from_env(environ))
    cookie = enter(first, "admin").get_cookie("session")
    assert cookie is not None
    second = create_app(Settings.from_env(environ | {"OPERATORS": f"admin:viewer:{hash_of()}"}))
    later = second.test_client()
    later.set_cookie("session", cookie.value)
    assert later.get(QUEUES).status_code == 401


def test_each_name_is_locked_by_itself_and_so_is_each_address(environ: dict[str, str], tables: None) -> None:
    app = create_app(Settings.from_env(environ | {"TRUSTED_PROXIES": "1"}))

    def tries(name: str, address: str, password: str = "wrong") -> int:
        client = app.test_client()
        client.get("/admin/login")
        form = {"username": name, "password": password, "csrf_token": csrf_of(client)["X-CSRF-Token"]}
        return client.post("/admin/login", data=form, headers={"X-Forwarded-For": address}).status_code

    for number in range(50):
        assert tries("viewer", f"192.0.2.{number}") == 403
    assert tries("viewer", "198.51.100.1", PASSWORD) == 429
    assert tries("operator", "198.51.100.1", PASSWORD) == 303
    for name in ("viewer-a", "operator-a", "admin-a", "nobody", "nobody else")[:TRIES_PER_ADDRESS]:
        assert tries(name, "198.51.100.2") == 403
    assert tries("admin", "198.51.100.2", PASSWORD) == 429


def test_everybody_is_sent_to_their_overview_or_where_they_wanted(app: APIFlask) -> None:
    for name, place in (("viewer", "/admin/queues"), ("viewer-a", "/admin/queues")):
        client = enter(app, name)
        assert client.get("/admin/login").location == place
        assert client.get("/admin/login?next=/admin/queues/jobs%3Fstate%3Dfailed").location.endswith("?state=failed")
    for odd in ("/admin/login?next=/admin/x", "/admin/queues?a=<script>", "/admin/\r\nX: y", "//evil.example/admin/"):
        assert enter(app, "viewer").get("/admin/login", query_string={"next": odd}).location == "/admin/queues"


def test_a_page_sends_strangers_to_the_login_with_their_question(app: APIFlask) -> None:
    answer = app.test_client().get("/admin/queues?state=failed&text=a%26b", headers=PAGE)
    assert answer.status_code == 303
    assert answer.location == "/admin/login?next=/admin/queues%3Fstate%3Dfailed%26text%3Da%2526b"


def test_a_view_of_the_console_that_names_no_role_is_for_admins_of_the_whole_fleet(app: APIFlask) -> None:
    forgotten = frame.blueprint("forgotten", "/forgotten")
    forgotten.get("")(lambda: "everything")
    app.register_blueprint(forgotten)
    for name, status in (("viewer", 403), ("operator", 403), ("admin-a", 403), ("admin", 200)):
        assert enter(app, name).get("/admin/queues/forgotten").status_code == status
    assert app.test_client().get("/admin/queues/forgotten").status_code == 303


def test_the_password_helper_prints_an_entry_and_never_the_password(app: APIFlask) -> None:
    made = operators(app, "hash", "--name", "eve", "--role", "operator", "--tenant", "a", typed=f"{PASSWORD}\n" * 2)
    entry = made.stdout.strip()
    assert PASSWORD not in made.output and entry.startswith("eve:operator@a:$argon2id$")
    found = Accounts(Settings(environment="test", operators=entry))
    assert found.signed_in("eve", PASSWORD) is not None and found.signed_in("eve", PASSWORD + "x") is None
    assert not found.all()[0].is_weak
    alone = operators(app, "hash", typed=f"{PASSWORD}\n" * 2).stdout.strip()
    assert PasswordHasher().verify(alone, PASSWORD)


@pytest.mark.parametrize(
    ("words", "typed"),
    [((), "short\nshort\n"), (("--name", "a:b"), ""), (("--tenant", "a b"), ""), (("--role", "root"), "")],
)
def test_the_password_helper_refuses_what_makes_no_account(app: APIFlask, words: tuple[str, ...], typed: str) -> None:
    assert operators(app, "hash", *words, typed=typed).exit_code in (1, 2)


def test_the_accounts_are_listed_with_a_hint_to_weak_hashes_and_no_hash(app: APIFlask) -> None:
    listed = operators(app, "list").stdout
    assert "operator-a  operator  a  (weak hash: make another)" in listed and "viewer  viewer  every tenant" in listed
    assert "$argon2" not in listed


def test_a_claim_of_another_name_and_other_words_makes_roles(environ: dict[str, str], tables: None) -> None:
    words = '{"CN=ops,OU=it": "operator", "look": "viewer"}'
    app = create_app(Settings.from_env(environ | {"ROLES_CLAIM": "realm_access.roles", "ROLE_WORDS": words}))

    def status(**claims: object) -> int:
        return app.test_client().get("/api/metrics", headers=bearer_of(app, "admin", **claims)).status_code

    assert status(realm_access={"roles": ["look"]}) == 200
    assert status(**{"realm_access.roles": "look"}) == 200
    assert status(realm_access={"roles": ["CN=ops,OU=it"]}) == 200
    assert status(realm_access={"roles": ["viewer", "admin"]}) == status() == status(realm_access="roles") == 403


@pytest.mark.parametrize("words", ["viewer", "look=viewer,ops=root", '{"look": 7}', "{nonsense", '["viewer"]'])
def test_words_that_name_no_role_are_refused_at_the_start(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match="ROLE_WORDS"):
        Settings.from_env(environ | {"ROLE_WORDS": words})


def rewrite(file: Path, text: str) -> None:
    """Another file in its place, as deployments do it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def operators(app: APIFlask, *words: str, typed: str = "") -> Result:
    return app.test_cli_runner().invoke(args=["operators", *words], input=typed)
