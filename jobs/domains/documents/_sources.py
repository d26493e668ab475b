"""Where a source may point to: a public web address, or a folder of its own tenant in the storage."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from jobs.adapters.storage import InvalidKey
from jobs.adapters.storage.objects import checked_prefix
from jobs.domains.documents._names import misleads
from jobs.engine import InvalidPayload, Permanent

FOLDER = "sources"


def check(kind: str, location: str, tenant: str) -> None:
    """Raise InvalidPayload, saying what is wrong, unless `location` is one that a source of that kind can have."""
    if misleads(location):
        raise _invalid("location", "the location holds characters that can't be seen")
    try:
        if kind == "url":
            from jobs.adapters.http import check_url

            check_url(location)
        elif kind == "prefix":
            checked_prefix(prefix_of(tenant, location))
        else:
            raise _invalid("kind", 'a source is of kind "url" or "prefix"')
    except (Permanent, InvalidKey) as error:
        raise _invalid("location", str(error)) from None


def prefix_of(tenant: str, location: str) -> str:
    """The storage prefix of a source: `location` below the tenant's folder, so that no tenant reads another's."""
    name = quote(tenant, safe="").replace(".", "%2E")
    return f"{FOLDER}/{name}/{location.lstrip('/')}"


def name_of(url: str) -> str:
    """What a document fetched from `url` is called: the last part of its path, or its host."""
    parts = urlsplit(url)
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or url


def _invalid(field: str, message: str) -> InvalidPayload:
    return InvalidPayload(message, [{"field": field, "message": message}])
