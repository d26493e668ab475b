"""Maintenance: keeping what lies about in bounds."""
