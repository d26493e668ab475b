"""Measurements of the running system, each beside its last result."""
