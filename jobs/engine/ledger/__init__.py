"""Durable jobs: rows in SQL, written in the caller's transaction, relayed to Redis, and searchable afterwards."""
