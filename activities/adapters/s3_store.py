"""An `ObjectStore` in an S3 bucket, or in any server that speaks S3, by boto3.

boto3 blocks, so every call runs in a thread; a boto3 client may be shared by threads.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from activities.ports import ObjectNotFound, ObjectStoreError, StoreRefused, StoreUnavailable, check_key, check_lifetime

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MISSING = frozenset({"NoSuchKey", "404"})
OURS_ALREADY = "BucketAlreadyOwnedByYou"
BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "TooManyRequests", "RequestLimitExceeded"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is. Credentials come from boto3's own chain (environment, profile, instance role)."""

    bucket: str
    endpoint_url: str | None = None
    """None for Amazon itself; else the address of the server."""
    public_endpoint_url: str | None = None
    """The address by which those who open signed URLs reach the server, where it differs from `endpoint_url`."""
    region: str | None = None
    """None: what `AWS_DEFAULT_REGION` or the profile says."""
    path_style: bool = False
    """`https://host/bucket/key` instead of `https://bucket.host/key`: most servers other than Amazon's want it."""


class S3Store:
    """`ObjectStore` in one bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._bucket = settings.bucket
        self._client = _client(settings, settings.endpoint_url)
        public = settings.public_endpoint_url
        self._signer = _client(settings, public) if public else self._client

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `ObjectStore.put`."""
        await self._call(
            key, self._client.put_object, Bucket=self._bucket, Key=check_key(key), Body=data, ContentType=content_type
        )

    async def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""

        def read(**where: Any) -> bytes:
            return self._client.get_object(**where)["Body"].read()

        return await self._call(key, read, Bucket=self._bucket, Key=check_key(key))

    async def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            await self._call(key, self._client.head_object, Bucket=self._bucket, Key=check_key(key))
        except ObjectNotFound:
            return False
        return True

    async def signed_url(self, key: str, expires_in: timedelta, now: datetime, filename: str | None = None) -> str:
        """See `ObjectStore.signed_url`. boto3 dates the URL by the machine's clock, which `now` is expected to be."""
        params = {"Bucket": self._bucket, "Key": check_key(key)}
        if filename is not None:
            params["ResponseContentDisposition"] = content_disposition(filename)
        seconds = int(check_lifetime(expires_in).total_seconds())

        def presign(**_: Any) -> str:
            return self._signer.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

        return await self._call(key, presign)

    async def ensure_bucket(self) -> None:
        """Create the bucket if it is not there: for the embedded stack; in production somebody else owns it."""
        try:
            await self._call("", self._client.head_bucket, Bucket=self._bucket)
        except ObjectNotFound:
            await self._call("", self._create_bucket)

    def _create_bucket(self) -> None:
        try:
            self._client.create_bucket(Bucket=self._bucket)
        except ClientError as failure:
            # Another process was faster.
            if failure.response["Error"]["Code"] != OURS_ALREADY:
                raise

    async def _call(self, key: str, work: Callable[..., T], **arguments: Any) -> T:
        try:
            return await asyncio.to_thread(work, **arguments)
        except ClientError as failure:
            raise translate(failure, f"s3://{self._bucket}/{key}") from failure
        except NoCredentialsError as missing:
            raise StoreRefused(f"s3://{self._bucket}: no credentials in the environment or a profile") from missing
        except (BotoCoreError, HTTPClientError) as failure:
            raise StoreUnavailable(f"s3://{self._bucket}/{key}: {failure}") from failure


def content_disposition(filename: str) -> str:
    """The header that names a download, for any script (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def translate(failure: ClientError, where: str) -> ObjectStoreError:
    """What the server answered, in the port's terms; `where` names the object for the message."""
    error = failure.response.get("Error", {})
    code = error.get("Code", "")
    status = failure.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    problem = f"{where}: {code} {error.get('Message', '')} (HTTP {status})"
    if code in MISSING:
        return ObjectNotFound(problem)
    # Servers name a full disk differently (InternalError, XMinioStorageFull, HTTP 507): all of them are 5xx.
    if status >= 500 or status == 429 or code in BUSY:
        return StoreUnavailable(problem)
    return StoreRefused(problem)


def _client(settings: S3Settings, endpoint_url: str | None) -> "S3Client":
    # A session of our own: boto3's default one keeps the credentials that the first client in the process found.
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.path_style else "auto"},
            # Temporal retries, not boto3; the timeouts stay below the 30 s of the calling activity.
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
            # Servers other than Amazon's know no trailing checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
