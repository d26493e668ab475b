"""Objects in an S3-compatible bucket."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from jobs.adapters.storage.objects import (
    Measured,
    ObjectNotFound,
    StorageError,
    Stored,
    StoredObject,
    checked,
    checked_prefix,
)

PART = 8 * 1024 * 1024
MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Storage:
    """A Storage below a prefix of a bucket, which must exist; holds about one 8 MiB part in memory a write."""

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint: str | None = None, region: str | None = None
    ) -> None:
        self.bucket, self.prefix = bucket, f"{checked(prefix)}/" if prefix else ""
        self._endpoint, self._region = endpoint, region
        self._lock, self._pid, self._shared = threading.Lock(), 0, None

    def write(self, key: str, stream: BinaryIO | Iterable[bytes], *, limit: int | None = None) -> Stored:
        from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

        measured = Measured(stream, limit)
        config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
        with self._errors(key):
            self._client.upload_fileobj(measured, self.bucket, self._name(key), Config=config)
        return measured.stored

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        with self._errors(key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"]
        with io.BufferedReader(_Body(body), PART // 8) as reader:
            yield cast(BinaryIO, reader)

    def download(self, key: str, path: Path) -> None:
        try:
            with self._errors(key), path.open("wb") as file:
                self._client.download_fileobj(self.bucket, self._name(key), file)
        except StorageError:
            path.unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def exists(self, key: str) -> bool:
        with suppress(ObjectNotFound), self._errors(key):
            self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            return True
        return False

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2")
        name = self.prefix + checked_prefix(prefix)
        with self._errors(prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=name):
                yield from (self._described(entry) for entry in page.get("Contents", ()))

    def has_folder(self, prefix: str) -> bool:
        checked_prefix(prefix)
        return True

    def remove_unfinished(self, before: datetime) -> int:
        pages = self._client.get_paginator("list_multipart_uploads")
        removed = 0
        with self._errors(""):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        key, upload_id = upload["Key"], upload["UploadId"]
                        self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
                        removed += 1
        return removed

    def _described(self, entry: Any) -> StoredObject:
        key = entry["Key"].removeprefix(self.prefix)
        return StoredObject(key, entry["Size"], entry["LastModified"].astimezone(UTC), entry["ETag"].strip('"'))

    def _name(self, key: str) -> str:
        return self.prefix + checked(key)

    @property
    def _client(self) -> Any:
        """A client of this very process: its connections must not be shared with a forked child."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
        with self._lock:
            if self._shared is None or self._pid != os.getpid():
                self._shared, self._pid = _new_client(self._endpoint, self._region), os.getpid()
            return self._shared

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in MISSING:
                raise ObjectNotFound(f"no stored object {key!r}") from None
            raise StorageError("the file storage refused what was asked of it; try again later") from error
        except BotoCoreError as error:
            raise StorageError("the file storage can't be reached; try again later") from error


class _Body(io.RawIOBase):
    """A response of S3 as a raw stream, so that the standard library can buffer it."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


def _new_client(endpoint: str | None, region: str | None) -> Any:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 4},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=config)
