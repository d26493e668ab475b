"""The tables of the local modes; every write to them is a `Step`, and steps happen one after another."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

NAME = String(300)
ID = String(128)

clock = Table(
    "local_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("ms", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("place", BigInteger, nullable=False),
)
"""One row: the id of the last event, and the last place given in a queue."""

jobs = Table(
    "local_jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("type", NAME, nullable=False),
    Column("tenant", NAME, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("lane", NAME, nullable=False),
    Column("status", String(20), nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("filed", NAME),
    Column("due", Float),
    Column("data", LargeBinary, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("topics", Text, nullable=False),
    Column("unique_key", NAME),
    Column("digest", String(100)),
    Column("gates", Text, nullable=False),
    Column("timeout", Float),
    Column("deadline", Float),
    Column("max_retries", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("worker_deaths", Integer, nullable=False),
    Column("execution", String(40)),
    Column("pool", NAME),
    Column("cancel_requested", Integer, nullable=False),
    Column("progress", Text),
    Column("result", Text),
    Column("error", Text),
    Column("traceback", Text),
    Column("checkpoint", Text),
    Column("created", Float, nullable=False),
    Column("queued", Float),
    Column("started", Float),
    Column("ended", Float),
    Column("expires", Float),
    Index("ix_local_jobs_status_queue_place", "status", "queue", "place"),
    Index("ix_local_jobs_status_due", "status", "due"),
    Index("ix_local_jobs_pool", "pool"),
    Index("ix_local_jobs_type_status_ended", "type", "status", "ended"),
    Index("ix_local_jobs_expires", "expires"),
    Index("ix_local_jobs_unique_key", "unique_key"),
)
"""A job that runs here: `status` in the words of `JobView`, times in epoch seconds by the database's clock.

`place` orders a queue, `filed` names the turn that it waits for, `gates` are `KEY=COUNT` with spaces between;
`execution` and `pool` are of its present or last run.
"""

holds = Table(
    "local_holds",
    metadata,
    Column("gate", NAME, primary_key=True),
    Column("job_id", ID, primary_key=True),
    Index("ix_local_holds_job_id", "job_id"),
)
"""The runs that each limit counts."""

begins = Table(
    "local_begins",
    metadata,
    Column("gate", NAME, primary_key=True),
    Column("ms", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
)
"""When jobs of a lane began, as far as they count for its rate windows."""

pools = Table(
    "local_pools",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("beat", BigInteger, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("since", Float, nullable=False),
)
"""The pools at work: whoever sees a beat stand still for a lease by its own clock gives the pool's runs back."""

periodic = Table(
    "local_periodic",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("due", Float, nullable=False),
    Column("reached", Float),
    Column("skipped", Integer, nullable=False),
    Column("missed", Integer, nullable=False),
    Column("last_id", ID),
    Column("last_due", Float),
)
"""Each periodic job type: its declaration, its next time, up to when times were looked at, and its last run."""

paused = Table("local_paused", metadata, Column("what", NAME, primary_key=True))
"""What begins no further jobs: `queue:NAME`, `lane:NAME`, `worker:NAME`."""

events = Table(
    "local_events",
    metadata,
    Column("ms", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("topic", NAME, nullable=False),
    Column("name", String(64), nullable=False),
    Column("data", Text, nullable=False),
    Index("ix_local_events_topic_ms_number", "topic", "ms", "number"),
)
"""Events of all topics, in order; a topic is written `TENANT:WORD:ID`."""

topics = Table(
    "local_topics",
    metadata,
    Column("topic", NAME, primary_key=True),
    Column("kept", Integer, nullable=False),
    Column("lost_ms", BigInteger, nullable=False),
    Column("lost_number", BigInteger, nullable=False),
    Column("expires", Float, nullable=False),
    Index("ix_local_topics_expires", "expires"),
)
"""How many events of a topic are kept, the id of the last that was trimmed, and until when."""

lines = Table(
    "local_lines",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("ms", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Text, nullable=False),
)
"""What jobs printed and logged: JSON objects."""

notes = Table(
    "local_notes",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("count", Integer, nullable=False),
    Column("expires", Float, nullable=False),
    Index("ix_local_notes_expires", "expires"),
)
"""Short-lived words that all web processes share."""
