"""Durable job types for the tests of the ledger."""
