"""S3 and what speaks like it, by botocore: credentials by its usual chain, ranges, parts, conditional puts.

Environment variables, shared configuration files, container and instance roles are read as every AWS tool reads
them (``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, ``AWS_REGION`` ...). Keys have no place in chronicle.toml.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from chronicle.core.errors import (
    CapacityError,
    ChronicleError,
    ConfigError,
    NotFoundError,
    StoreError,
    TornSegmentError,
    UnavailableError,
)
from chronicle.storage.stores.requests import ConditionFailedError, ConditionRefusedError, Part, Upload
from chronicle.storage.stores.s3_client import client_of

__all__ = ["S3Requests"]

T = TypeVar("T")
_AGAIN: Final = {408, 425, 429, 500, 502, 503, 504, 509}
_AGAIN_CODES: Final = {
    "RequestTimeout",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "IncompleteBody",
    "BadDigest",
    "Throttling",
    "ThrottlingException",
    "RequestTimeTooSkewed",
}
_FULL_CODES: Final = {"QuotaExceeded", "XMinioStorageFull", "EntityQuotaExceeded", "InsufficientStorage"}


class S3Requests:
    """Implements :class:`chronicle.storage.stores.requests.Requests` over a bucket and a prefix.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``.
    options : mapping
        Of :data:`chronicle.storage.stores.s3_client.OPTIONS`.

    Raises
    ------
    ConfigError
        When the URL or an option cannot be used, or botocore is not installed.
    """

    staged = False

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        scheme, _, rest = url.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if scheme != "s3" or not self._bucket:
            raise ConfigError("this is no S3 URL", expected="s3://bucket/prefix", found=url)
        self.location = f"s3://{self._bucket}" + (f"/{prefix}" if prefix else "")
        self._write, self._read, self._client = client_of(options, self.location)
        encrypted = "ServerSideEncryption" in self._write
        self.made_as = " ".join(f"{name}={self._write[name]}" for name in sorted(self._write)) if encrypted else ""

    def get(self, name: str, start: int | None, length: int | None) -> tuple[bytes, str]:
        """Return a range of an object, or all of it."""
        ranged = {} if start is None or length is None else {"Range": f"bytes={start}-{start + length - 1}"}

        def request() -> tuple[bytes, str]:
            answer = self._client.get_object(**self._at(name), **ranged, **self._read)
            data = answer["Body"].read()
            if len(data) != self._told(answer, "ContentLength", name):
                raise UnavailableError("an answer was cut short", path=self._path(name), found=len(data))
            return data, str(self._told(answer, "ETag", name))

        return self._ask(request, "read", name)

    def size(self, name: str) -> int | None:
        """Return the bytes of an object."""
        try:
            answer = self._ask(lambda: self._client.head_object(**self._at(name), **self._read), "look at", name)
            return int(self._told(answer, "ContentLength", name))
        except NotFoundError:
            return None

    def put(self, name: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        """Write an object with its checksum."""
        condition = {"IfMatch": match} if match else {"IfNoneMatch": "*"} if absent else {}
        request = lambda: self._client.put_object(**self._at(name), Body=data, **condition, **self._write)  # noqa: E731
        answer = self._ask(request, f"write {len(data)} bytes to", name, conditional=bool(condition))
        return str(self._told(answer, "ETag", name))

    def begin(self, name: str) -> str:
        """Begin a multipart upload."""
        request = lambda: self._client.create_multipart_upload(**self._at(name), **self._write)  # noqa: E731
        return str(self._told(self._ask(request, "begin an upload of", name), "UploadId", name))

    def part(self, name: str, upload: str, number: int, data: bytes) -> Part:
        """Upload a part with its checksum."""
        answer = self._ask(
            lambda: self._client.upload_part(
                **self._at(name), UploadId=upload, PartNumber=number, Body=data, **self._read
            ),
            f"upload part {number} of",
            name,
        )
        return Part(number, str(self._told(answer, "ETag", name)))

    def parts(self, name: str, upload: str, after: int) -> tuple[list[Part], int | None]:
        """Return up to 1,000 parts that the store holds of an upload."""
        answer = self._ask(
            lambda: self._client.list_parts(**self._at(name), UploadId=upload, PartNumberMarker=after, **self._read),
            "list the parts of",
            name,
        )
        rows = [Part(int(row["PartNumber"]), str(row["ETag"]), int(row["Size"])) for row in answer.get("Parts") or ()]
        more = bool(answer.get("IsTruncated")) and bool(rows)
        return rows, rows[-1].number if more else None

    def holds(self, part: Part, data: bytes) -> bool:
        """Compare size and ETag, which is the MD5 of a part unless KMS encrypts it; then nothing is proven."""
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return part.size == len(data) and part.token.strip('"') == digest

    def complete(self, name: str, upload: str, parts: Sequence[Part], *, absent: bool = False) -> None:
        """Complete a multipart upload."""
        listed = {"Parts": [{"PartNumber": part.number, "ETag": part.token} for part in parts]}
        condition = {"IfNoneMatch": "*"} if absent else {}
        self._ask(
            lambda: self._client.complete_multipart_upload(
                **self._at(name), UploadId=upload, MultipartUpload=listed, **condition, **self._read
            ),
            "complete the upload of",
            name,
            conditional=absent,
        )

    def abort(self, name: str, upload: str) -> None:
        """Give a multipart upload up."""
        self._ask(
            lambda: self._client.abort_multipart_upload(**self._at(name), UploadId=upload, **self._read),
            "give up the upload of",
            name,
        )

    def uploads(self, prefix: str, token: str | None = None) -> tuple[list[Upload], str | None]:
        """Return up to 1,000 unfinished multipart uploads; the token is (key, upload id) of the last one.

        An upload carries class and encryption from its beginning. The encryption is not listed, so that none is
        alike where one is asked for.
        """
        key, _, upload = (token or "").partition("\0")
        more = {"KeyMarker": key, "UploadIdMarker": upload} if token else {}
        where = f"{self._prefix}{prefix}"
        answer = self._ask(
            lambda: self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=where, **more, **self._read),
            "list uploads of",
            prefix,
        )
        cut, kept_as = len(self._prefix), self._write.get("StorageClass", "STANDARD")
        rows = [
            Upload(
                str(row["Key"])[cut:],
                str(row["UploadId"]),
                alike="ServerSideEncryption" not in self._write
                and (row.get("StorageClass") or "STANDARD") == kept_as,
            )
            for row in answer.get("Uploads") or ()
        ]
        if not answer.get("IsTruncated") or not answer.get("NextKeyMarker"):
            return rows, None
        return rows, f"{answer['NextKeyMarker']}\0{answer.get('NextUploadIdMarker', '')}"

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._ask(lambda: self._client.delete_object(**self._at(name), **self._read), "remove", name)

    def move(self, source: str, target: str) -> None:
        """Refuse: an upload is made under its own name here."""
        raise StoreError("objects of S3 are not renamed", path=self._path(source), expected=source, found=target)

    def page(self, prefix: str, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        """Return up to 1,000 objects under `prefix`."""
        more = {"ContinuationToken": token} if token else {}
        where = f"{self._prefix}{prefix}"
        answer = self._ask(
            lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=where, **more, **self._read),
            "list",
            prefix,
        )
        cut = len(self._prefix)
        rows = [(str(row["Key"])[cut:], int(row["Size"])) for row in answer.get("Contents") or ()]
        return rows, str(answer["NextContinuationToken"]) if answer.get("IsTruncated") else None

    def _told(self, answer: Mapping[str, Any], field: str, name: str) -> Any:
        """Return a field that each whole answer has; one whose head was cut short is asked for again."""
        if field not in answer:
            raise UnavailableError("an answer was cut short", path=self._path(name), expected=field)
        return answer[field]

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{name}"}

    def _path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def _ask(self, request: Callable[[], T], attempt: str, name: str, *, conditional: bool = False) -> T:
        """Send one request; whatever it meets becomes one of our errors."""
        from botocore import exceptions as aws
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        broken = (aws.ConnectionError, aws.HTTPClientError, aws.IncompleteReadError, ResponseParserError, HTTPError)
        try:
            return request()
        except aws.ClientError as error:
            raise _refusal(error, attempt, self._path(name), conditional=conditional) from error
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
            raise ConfigError(
                f"there are no credentials for the store: {error}",
                path=self.location,
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the tier's option profile",
            ) from error
        except (*broken, OSError) as error:
            raise UnavailableError(f"could not {attempt} an object: {error}", path=self._path(name)) from error
        except aws.BotoCoreError as error:
            raise StoreError(f"could not {attempt} an object: {error}", path=self._path(name)) from error
        except (ValueError, KeyError) as error:  # what botocore makes of an answer whose head was cut short
            raise UnavailableError(f"an answer cannot be read: {error}", path=self._path(name)) from error


def _refusal(error: Any, attempt: str, path: str, *, conditional: bool) -> ChronicleError:
    """Return our error for an answer that is one."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = f"could not {attempt} an object: {code} {error.response.get('Error', {}).get('Message', '')}".strip()
    if conditional and (status in (409, 412) or code in {"PreconditionFailed", "ConditionalRequestConflict"}):
        return ConditionFailedError(message, path=path)
    if conditional and (status == 501 or code == "NotImplemented"):
        return ConditionRefusedError(message, path=path)
    if status == 404 or code in {"NoSuchKey", "NoSuchUpload", "404"}:
        hint = "the bucket is not there" if code == "NoSuchBucket" else "it may have moved to another tier"
        return NotFoundError("the object is not there", path=path, hint=hint)
    if status == 416 or code == "InvalidRange":
        return TornSegmentError("an object is shorter than published", path=path)
    if status == 507 or code in _FULL_CODES:
        return CapacityError(message, path=path, hint="free space there; nothing was lost")
    if status in _AGAIN or code in _AGAIN_CODES:
        return UnavailableError(message, path=path)
    if status in (401, 403):
        return StoreError(message, path=path, hint="check the credentials and the bucket's policy")
    return StoreError(message, path=path)
