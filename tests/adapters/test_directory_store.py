"""The object store in a folder: what is stored is whole, and only our own, living links open it."""

import asyncio
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from activities.adapters.directory_store import DirectoryStore, LinkRefused, content_type_of
from activities.ports import ObjectNotFound, ObjectStore, StoreUnavailable

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
KEY = "documents/tenant_1/0f3a.pdf"
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects", "http://localhost:8080/v1/files/", b"0123456789abcdef")


async def open_url(store: DirectoryStore, url: str, now: datetime) -> bytes:
    """Do what the API's route does with a link."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    key = unquote(parts.path).removeprefix("/v1/files/")
    return await store.open_link(key, int(query["expires"]), query["signature"], now, query.get("filename"))


async def test_what_is_put_is_got(store: DirectoryStore) -> None:
    port: ObjectStore = store
    assert not await port.exists(KEY)
    await port.put(KEY, b"first", "application/pdf")
    await port.put(KEY, b"second", "application/pdf")
    assert await port.exists(KEY)
    assert await port.get(KEY) == b"second"


async def test_many_writers_of_one_key_leave_one_whole_object(store: DirectoryStore, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(20)]
    await asyncio.gather(*(store.put(KEY, content, "application/pdf") for content in contents))
    assert await store.get(KEY) in contents
    assert [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()] == ["0f3a.pdf"]


async def test_a_missing_object_is_named(store: DirectoryStore) -> None:
    with pytest.raises(ObjectNotFound, match=r"0f3a\.pdf"):
        await store.get(KEY)
    await store.put(KEY, b"", "application/pdf")
    with pytest.raises(ObjectNotFound):
        await store.get("documents/tenant_1")


BAD_KEYS = ["", "/etc/passwd", "../x.pdf", "a/../b.pdf", "a//b", "a/.part-x", "a\nb", "a/", "ä.pdf", "x" * 513]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_cannot_leave_the_folder(store: DirectoryStore, key: str) -> None:
    with pytest.raises(ValueError, match="object key"):
        await store.get(key)
    with pytest.raises(ValueError, match="object key"):
        await store.put(key, b"", content_type_of(key))
    with pytest.raises(ValueError, match="object key"):
        await store.signed_url(key, HOUR, NOW)


async def test_the_suffix_says_the_content_type(store: DirectoryStore) -> None:
    await store.put("exports/usage.csv", b"a,b", "text/csv; charset=utf-8")
    with pytest.raises(ValueError, match="means application/pdf"):
        await store.put(KEY, b"", "text/html")


async def test_a_full_disk_is_retryable_and_leaves_the_old_content(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(KEY, b"old", "application/pdf")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await store.put(KEY, b"new", "application/pdf")
    assert await store.get(KEY) == b"old"
    assert len([path for path in (tmp_path / "objects").rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("filename", [None, "INV-202503-00001.pdf", "счёт & 請求書.pdf"])
async def test_a_link_opens_until_it_expires(store: DirectoryStore, filename: str | None) -> None:
    await store.put(KEY, b"%PDF", "application/pdf")
    url = await store.signed_url(KEY, HOUR, NOW, filename)
    assert url.startswith("http://localhost:8080/v1/files/documents/tenant_1/0f3a.pdf?")
    assert await open_url(store, url, NOW + HOUR - timedelta(seconds=1)) == b"%PDF"
    with pytest.raises(LinkRefused, match="expired at 2025-03-01T13:00:00"):
        await open_url(store, url, NOW + HOUR)


async def test_an_altered_link_opens_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    await store.put(KEY, b"%PDF", "application/pdf")
    await store.put("documents/tenant_2/0f3a.pdf", b"%PDF", "application/pdf")
    url = await store.signed_url(KEY, HOUR, NOW, "a.pdf")
    expires = str(int((NOW + HOUR).timestamp()))
    for old, new in [
        ("tenant_1", "tenant_2"),
        (expires, str(int(expires) + 1)),
        ("a.pdf", "b.pdf"),
        ("filename=", "other="),
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%A4"),
    ]:
        with pytest.raises(LinkRefused, match="not made by us"):
            await open_url(store, url.replace(old, new), NOW)
    stranger = DirectoryStore(tmp_path / "objects", "http://localhost:8080/v1/files", b"another secret..")
    with pytest.raises(LinkRefused):
        await open_url(stranger, url, NOW)


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=7, seconds=1)])
async def test_a_lifetime_is_bounded(store: DirectoryStore, lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        await store.signed_url(KEY, lifetime, NOW)


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 at least"):
        DirectoryStore(tmp_path, "http://localhost", b"short")
