"""`flask --app webapp operators ...`: making accounts for the login page, and looking at those there are."""

from __future__ import annotations

import re

import click
from argon2 import PasswordHasher
from flask.cli import AppGroup

from webapp.accounts import LONGEST_PASSWORD
from webapp.principal import ROLES
from webapp.services import accounts

group = AppGroup("operators", help="Accounts of the login page: make a password's hash, list.")
SHORTEST_PASSWORD = 12
NAME = re.compile(r"[^\s:@]{1,100}")
TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@group.command("hash")
@click.option("--name", default=None, help="Print a whole entry for OPERATORS or OPERATORS_FILE, of this name.")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True)
@click.option("--tenant", default=None, help="The only tenant whose things the account sees.")
def make_hash(name: str | None, role: str, tenant: str | None) -> None:
    """Ask for a password twice, without showing it, and print its argon2 hash."""
    if name is not None and not NAME.fullmatch(name):
        raise click.UsageError("a name has no spaces, colons or at-signs")
    if tenant is not None and not TENANT.fullmatch(tenant):
        raise click.UsageError("a tenant is 1 to 64 letters, digits, dots, dashes or underscores")
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise click.ClickException(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD:,} characters")
    hashed = PasswordHasher().hash(password)
    whose = role if tenant is None else f"{role}@{tenant}"
    click.echo(hashed if name is None else f"{name}:{whose}:{hashed}")


@group.command("list")
def list_accounts() -> None:
    """The accounts there are, without their hashes."""
    for account in accounts().all():
        tenant = "every tenant" if account.tenant is None else account.tenant
        weak = "  (weak hash: make another)" if account.is_weak else ""
        click.echo(f"{account.name}  {account.role}  {tenant}{weak}")
