"""Alembic's environment: it runs on the connection and in the transaction that `migration.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from jobs.adapters.database import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.whole(),
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
