"""The job types: can all be imported, do the overrides name one, do secrets have a key."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.checkup.findings import Finding
from jobs.engine import Fleet, registry
from jobs.engine.payloads import has_secrets
from jobs.settings import Settings

PART = "job types"


def examine(settings: Settings) -> Iterator[Finding]:
    """Import them and read what the environment changes."""
    fleet = Fleet(settings).discover()
    types = list(registry.all_types())
    yield Finding("ok", PART, f"{len(types)} are declared in {', '.join(settings.job_modules)}")
    queues = {fleet.policy(job_type).queue.value for job_type in types} - set(settings.queue_weights)
    for queue in sorted(queues):
        yield Finding("problem", PART, f"jobs go to the queue {queue}, which workers do not listen to",
                      "Name it in QUEUE_WEIGHTS.")  # fmt: skip
    names = {job_type.name.replace(".", "_").upper() for job_type in types}
    for variable in sorted(settings.overrides):
        _, separator, name = variable.partition("__")
        if variable.startswith("QUEUE_") and separator and name not in names:
            yield Finding("note", PART, f"{variable} names no job type, so it changes nothing",
                          "Check its spelling: the type's name in capitals with _ for the dot.")  # fmt: skip
    sealed = [job_type.name for job_type in types if has_secrets(job_type.payload_type)]
    if sealed and not settings.encryption_keys:
        yield Finding("problem", PART, f"{', '.join(sealed)} have secret fields and can't be enqueued",
                      "Set ENCRYPTION_KEYS.")  # fmt: skip
    fleet.keys.encrypt  # noqa: B018  raises where a key can't be used
