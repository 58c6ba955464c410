"""The object store in S3: boto3 against a real S3 server, which is also taken away."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from botocore.exceptions import ClientError

from activities.adapters.s3_store import S3Settings, S3Store, translate
from activities.ports import ObjectNotFound, ObjectStore, StoreRefused, StoreUnavailable
from deploy.embedded import s3
from deploy.embedded.process import Part

from .servers import free_port

KEY = "documents/tenant_1/0f3a.pdf"
HOUR = timedelta(hours=1)

# The server is known by its pid and outlives the call that started it, which Popen takes for an oversight.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    """A server of its own, since these tests kill it."""
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    part = Part(lambda: s3.start(folder / "data", port, folder / "s3.log"), s3.GENTLY)
    yield part
    part.stop()


@pytest.fixture
def settings(server: Part, monkeypatch: pytest.MonkeyPatch) -> S3Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.running.extra["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.running.extra["secret_key"])
    extra = server.running.extra
    return S3Settings(extra["bucket"], server.running.url, region=extra["region"], path_style=True)


async def test_what_is_put_is_got(settings: S3Settings) -> None:
    port: ObjectStore = S3Store(settings)
    assert not await port.exists("a/b.pdf")
    with pytest.raises(ObjectNotFound, match=r"a/b\.pdf"):
        await port.get("a/b.pdf")
    await port.put(KEY, b"first", "application/pdf")
    await port.put(KEY, b"second", "application/pdf")
    assert await port.exists(KEY)
    assert await port.get(KEY) == b"second"
    with pytest.raises(ValueError, match="object key"):
        await port.get("../x")


@pytest.mark.parametrize("filename", [None, "INV-202503-00001.pdf", "счёт 請求書.pdf"])
async def test_a_presigned_url_opens_the_document(settings: S3Settings, filename: str | None) -> None:
    store = S3Store(settings)
    await store.put(KEY, b"%PDF", "application/pdf")
    url = await store.signed_url(KEY, HOUR, datetime.now(UTC), filename)
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        altered = await client.get(url.replace("0f3a", "0f3b"))
        without = await client.get(url.partition("?")[0])
    assert (answer.status_code, answer.content) == (200, b"%PDF")
    assert answer.headers["content-type"] == "application/pdf"
    assert ("attachment" in answer.headers.get("content-disposition", "")) is (filename is not None)
    assert (altered.status_code, without.status_code) == (403, 403)
    with pytest.raises(ValueError, match="expires_in"):
        await store.signed_url(KEY, timedelta(days=8), datetime.now(UTC))


async def test_links_are_made_for_the_public_address(settings: S3Settings) -> None:
    settings = S3Settings(settings.bucket, settings.endpoint_url, "https://files.example", path_style=True)
    url = await S3Store(settings).signed_url(KEY, HOUR, datetime.now(UTC))
    assert url.startswith(f"https://files.example/{settings.bucket}/{KEY}?")


async def test_a_bucket_is_created_once(settings: S3Settings) -> None:
    store = S3Store(S3Settings("another", settings.endpoint_url, path_style=True))
    with pytest.raises(StoreRefused, match="NoSuchBucket"):
        await store.put(KEY, b"", "application/pdf")
    await store.ensure_bucket()
    await store.ensure_bucket()
    await store.put(KEY, b"", "application/pdf")


async def test_wrong_or_missing_credentials_are_named(settings: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreRefused, match="SignatureDoesNotMatch"):
        await S3Store(settings).put(KEY, b"", "application/pdf")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(StoreRefused, match="no credentials"):
        await S3Store(settings).put(KEY, b"", "application/pdf")


async def test_a_server_that_is_down_is_retryable_and_keeps_what_it_had(settings: S3Settings, server: Part) -> None:
    store = S3Store(settings)
    await store.put(KEY, b"kept", "application/pdf")
    server.kill()
    with pytest.raises(StoreUnavailable):
        await store.put(KEY, b"new", "application/pdf")
    with pytest.raises(StoreUnavailable):
        await store.get(KEY)
    server.restart()
    assert await store.get(KEY) == b"kept"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("XMinioStorageFull", 507, StoreUnavailable),
        ("InternalError", 500, StoreUnavailable),
        ("SlowDown", 503, StoreUnavailable),
        ("RequestTimeout", 400, StoreUnavailable),
        ("AccessDenied", 403, StoreRefused),
        ("NoSuchKey", 404, ObjectNotFound),
    ],
)
def test_what_a_server_says_is_put_in_the_ports_terms(code: str, status: int, expected: type[Exception]) -> None:
    """Answers that a server in a temporary folder cannot be brought to give, such as a full disk."""
    said = ClientError(
        {
            "Error": {"Code": code, "Message": "said the server"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "PutObject",
    )
    problem = translate(said, "s3://bucket/key")
    assert type(problem) is expected
    assert f"{code} said the server" in str(problem)
