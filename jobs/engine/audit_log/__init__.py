"""The audit log: who changed what from where, with what was there before and after, kept in SQL."""

from jobs.engine.audit_log.book import AuditLog
from jobs.engine.audit_log.lines import Actor, AuditLine, AuditPage, of_shell

__all__ = ["Actor", "AuditLine", "AuditLog", "AuditPage", "of_shell"]
