"""The tables of the local modes: jobs, their gates, pools, events, output and notes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME, ID = sa.String(300), sa.String(128)
TABLES = ("jobs", "holds", "begins", "pools", "periodic", "paused", "events", "topics", "lines", "notes", "clock")


def upgrade() -> None:
    """Make the tables."""
    _create("clock", _id("id", sa.Integer()), _number("ms"), _number("number"), _number("place"))
    _create_jobs()
    _create("holds", _id("gate", NAME), _id("job_id", ID))
    _create("begins", _id("gate", NAME), _id("ms", sa.BigInteger()), _id("number", sa.BigInteger()))
    _create("pools", _id("name", NAME), _number("beat"), _whole("slots"), _time("since"))
    last = sa.Column("reached", sa.Float()), sa.Column("last_id", ID), sa.Column("last_due", sa.Float())
    _create("periodic", _id("id", NAME), _text("mark"), _time("due"), _whole("skipped"), _whole("missed"), *last)
    _create("paused", _id("what", NAME))
    _create_events()
    _create("lines", _id("job_id", ID), _id("ms", sa.BigInteger()), _id("number", sa.BigInteger()), _text("line"))
    value = sa.Column("value", sa.LargeBinary(), nullable=False)
    _create("notes", _id("name", NAME), value, _whole("count"), _time("expires"))
    for table, columns in (
        ("jobs", ("status", "queue", "place")),
        ("jobs", ("status", "due")),
        ("jobs", ("pool",)),
        ("jobs", ("type", "status", "ended")),
        ("jobs", ("expires",)),
        ("jobs", ("unique_key",)),
        ("holds", ("job_id",)),
        ("events", ("topic", "ms", "number")),
        ("topics", ("expires",)),
        ("notes", ("expires",)),
    ):
        op.create_index(f"ix_local_{table}_{'_'.join(columns)}", f"local_{table}", list(columns))


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.drop_table(f"local_{table}")


def _create_jobs() -> None:
    names = ("type", "tenant", "queue", "lane")
    whole = ("max_retries", "attempts", "deaths", "worker_deaths", "cancel_requested")
    _create(
        "jobs",
        _id("id", ID),
        *(sa.Column(name, NAME, nullable=False) for name in names),
        sa.Column("status", sa.String(20), nullable=False),
        _number("place"),
        sa.Column("filed", NAME),
        sa.Column("due", sa.Float()),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        *(_text(name) for name in ("correlation_id", "topics", "gates")),
        sa.Column("unique_key", NAME),
        sa.Column("digest", sa.String(100)),
        *(sa.Column(name, sa.Float()) for name in ("timeout", "deadline")),
        *(_whole(name) for name in whole),
        sa.Column("execution", sa.String(40)),
        sa.Column("pool", NAME),
        *(sa.Column(name, sa.Text()) for name in ("progress", "result", "error", "traceback", "checkpoint")),
        _time("created"),
        *(sa.Column(name, sa.Float()) for name in ("queued", "started", "ended", "expires")),
    )


def _create_events() -> None:
    place = (_id("ms", sa.BigInteger()), _id("number", sa.BigInteger()))
    topic = sa.Column("topic", NAME, nullable=False)
    _create("events", *place, topic, sa.Column("name", sa.String(64), nullable=False), _text("data"))
    _create("topics", _id("topic", NAME), _whole("kept"), _number("lost_ms"), _number("lost_number"), _time("expires"))


def _create(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(f"local_{name}", *columns)


def _id(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=False)


def _whole(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Float(), nullable=False)
