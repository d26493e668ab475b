"""The registry: every declared job type by name, found by importing the packages that hold them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.engine.errors import InvalidJob, UnknownJob

if TYPE_CHECKING:
    from jobs.engine.job_types import JobType

_declared: dict[str, JobType[Any]] = {}


def register(job_type: JobType[Any]) -> None:
    """Take in a declaration. Raises InvalidJob where another function has that name."""
    known = _declared.get(job_type.name)
    if known is not None and _where(known) != _where(job_type):
        raise InvalidJob(f"{job_type.name} is declared twice: in {_where(known)} and {_where(job_type)}")
    _declared[job_type.name] = job_type


def get(name: str) -> JobType[Any]:
    """The job type of that name. Raises UnknownJob."""
    try:
        return _declared[name]
    except KeyError:
        raise UnknownJob(f"no job type is called {name!r}") from None


def is_known(name: str) -> bool:
    """Whether this release has a job type of that name."""
    return name in _declared


def all_types() -> Iterator[JobType[Any]]:
    """Every declared job type, by name."""
    return iter(sorted(_declared.values(), key=lambda each: each.name))


def any_durable() -> bool:
    """Whether any declared type is durable, so that there is a ledger."""
    return any(each.durable for each in _declared.values())


@contextmanager
def also(job_type: JobType[Any]) -> Iterator[None]:
    """Know one type more meanwhile."""
    _declared[job_type.name] = job_type
    try:
        yield
    finally:
        del _declared[job_type.name]


def discover(packages: tuple[str, ...]) -> None:
    """Import the public modules of the packages, so that what they declare is known. A second time costs nothing."""
    for name in packages:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            if not any(part.startswith("_") for part in found.name.split(".")):
                importlib.import_module(found.name)


def _where(job_type: JobType[Any]) -> str:
    return f"{job_type.function.__module__}.{job_type.function.__qualname__}"
