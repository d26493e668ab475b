"""What the routes work with: the fleet, the database and the storage of this application, connected on first use."""

from __future__ import annotations

from typing import cast

from apiflask import APIFlask
from flask import current_app

from jobs.adapters import database as databases
from jobs.adapters import storage as storages
from jobs.adapters.database import Database
from jobs.adapters.storage import Storage
from jobs.engine import Fleet, connect
from jobs.settings import Settings
from webapp.accounts import Accounts
from webapp.eras import Eras
from webapp.revocation import Revocations
from webapp.standings import Standings


def init_app(app: APIFlask, settings: Settings) -> None:
    """Keep the three in `app.extensions`; none of them opens a connection before it is used in a worker process."""
    app.extensions["fleet"] = connect(settings).discover()
    app.extensions["fleet"].refuse_while_away()
    app.extensions["revocations"] = Revocations(app.extensions["fleet"])
    app.extensions["accounts"] = Accounts(settings)
    app.extensions["eras"] = Eras(app.extensions["fleet"], app.extensions["accounts"], settings.secret_key)
    known, begun = app.extensions["accounts"], app.extensions["eras"]
    app.extensions["standings"] = Standings(known, begun, settings.secret_key)
    app.extensions["database"] = databases.connect(settings)
    app.extensions["storage"] = storages.connect(settings)


def keep_ledger(app: APIFlask) -> None:
    """In a process that serves: be ready to keep the ledger, for as long as the process lives."""
    fleet: Fleet = app.extensions["fleet"]
    if fleet.has_broker:
        fleet.ledger.kept("web").__enter__()


def settings() -> Settings:
    """The running application's settings."""
    return cast(Settings, current_app.extensions["settings"])


def fleet() -> Fleet:
    """The running application's fleet."""
    return cast(Fleet, current_app.extensions["fleet"])


def revocations() -> Revocations:
    """The sign-ins that were ended before their time."""
    return cast(Revocations, current_app.extensions["revocations"])


def accounts() -> Accounts:
    """The operators' accounts of the login page."""
    return cast(Accounts, current_app.extensions["accounts"])


def eras() -> Eras:
    """Since when each account is as it is."""
    return cast(Eras, current_app.extensions["eras"])


def standings() -> Standings:
    """What ends the live connections of accounts that have changed."""
    return cast(Standings, current_app.extensions["standings"])


def database() -> Database:
    """The running application's database."""
    return cast(Database, current_app.extensions["database"])


def storage() -> Storage:
    """The running application's object storage."""
    return cast(Storage, current_app.extensions["storage"])
