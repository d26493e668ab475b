"""Single jobs for operators: found in Redis and in the ledger, looked at, run again, cancelled, thrown away."""

from jobs.engine.dead_letters.actions import Done, Refusal
from jobs.engine.inspection.bulk import Plan, Verb
from jobs.engine.inspection.desk import Inspection
from jobs.engine.inspection.details import Details
from jobs.engine.inspection.places import bound_of
from jobs.engine.inspection.search import Page
from jobs.engine.inspection.where import State, Where

__all__ = ["Details", "Done", "Inspection", "Page", "Plan", "Refusal", "State", "Verb", "Where", "bound_of"]
