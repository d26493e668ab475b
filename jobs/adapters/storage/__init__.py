"""The object storage for uploaded files: a folder, or anything that speaks S3."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from jobs.adapters.storage.disk import DiskStorage
from jobs.adapters.storage.objects import (
    InvalidKey,
    ObjectNotFound,
    Storage,
    StorageError,
    StorageMissing,
    Stored,
    StoredObject,
    TooLarge,
)
from jobs.settings import InvalidSettings, Settings

__all__ = [
    "InvalidKey",
    "ObjectNotFound",
    "Storage",
    "StorageError",
    "StorageMissing",
    "Stored",
    "StoredObject",
    "TooLarge",
    "connect",
]


def connect(settings: Settings) -> Storage:
    """The process's storage of that URL: `file:///abs`, `file://relative/dir` or `s3://bucket/prefix?endpoint=&region=`.

    S3 credentials come from where boto3 looks for them. Raises InvalidSettings for another URL; opens no connection.
    """
    return _storage_of(settings.storage_url)


@lru_cache(maxsize=16)
def _storage_of(url: str) -> Storage:
    parts = urlsplit(url)
    if parts.scheme == "file" and (parts.netloc or parts.path):
        return DiskStorage(Path(unquote(parts.netloc + parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from jobs.adapters.storage.s3 import S3Storage

        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not options.keys() <= {"endpoint", "region"}:
            raise InvalidSettings("STORAGE_URL: s3:// takes the options endpoint and region")
        return S3Storage(parts.netloc, unquote(parts.path).strip("/"), **options)
    raise InvalidSettings("STORAGE_URL: use file:///path, file://relative/path or s3://bucket/prefix?endpoint=...")
