"""The tables of what was done once in SQL, and of who wrote last."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, PrimaryKeyConstraint, String, Table, Text

from jobs.engine.columns import Instant

metadata = MetaData()

STEPS = Table(
    "job_steps",
    metadata,
    Column("job_id", String(128), nullable=False),
    Column("name", String(100), nullable=False),
    Column("execution_id", String(200), nullable=False),
    Column("result", Text),
    Column("done_at", Instant, nullable=False),
    PrimaryKeyConstraint("job_id", "name", name="pk_job_steps"),
    Index("ix_job_steps_done_at", "done_at"),
)

LONGEST_ID = 128


def key_of(job_id: str, nonce: str) -> str:
    """What stands for a job in `job_steps.job_id`: a later job of the same id has another nonce."""
    return f"{job_id[: LONGEST_ID - 1 - len(nonce)]}:{nonce}" if nonce else job_id


FENCES = Table(
    "job_fences",
    metadata,
    Column("resource", String(200), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("execution_id", String(200), nullable=False),
    Column("passed_at", Instant, nullable=False),
    PrimaryKeyConstraint("resource", name="pk_job_fences"),
    Index("ix_job_fences_passed_at", "passed_at"),
)
