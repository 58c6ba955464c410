"""An `ObjectStore` in a folder, for one machine. Its signed URLs lead to a route of our own API.

Owns the files and the links. The API's route calls `open_link` and answers with the content.
"""

import asyncio
import errno
import hmac
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import quote, urlencode

from activities.ports import ObjectNotFound, StoreRefused, StoreUnavailable, check_key, check_lifetime

CONTENT_TYPES = {
    ".pdf": "application/pdf",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".txt": "text/plain",
}
"""A file keeps no headers: its suffix says the content type, so `put` insists that the two agree."""
UNKNOWN_TYPE = "application/octet-stream"
SHORTEST_SECRET = 16
T = TypeVar("T")


class LinkRefused(Exception):
    """The link has expired or was not made by us; the route answers 403."""


class DirectoryStore:
    """`ObjectStore` under `folder`. `base_url` is the public address of the API's route for links, without the key."""

    def __init__(self, folder: Path, base_url: str, secret: bytes) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"the secret for signed links has {len(secret)} bytes: {SHORTEST_SECRET} at least")
        self._folder = folder
        self._base_url = base_url.rstrip("/")
        self._secret = secret

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `ObjectStore.put`. Raises ValueError when the key's suffix says another content type."""
        expected = content_type_of(key)
        if content_type.partition(";")[0].strip() != expected:
            raise ValueError(f"object key {key!r} means {expected}, but the content type given is {content_type!r}")
        await _in_thread(key, lambda: _write(self._path(key), data))

    async def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return await _in_thread(key, self._path(key).read_bytes)

    async def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return await _in_thread(key, self._path(key).is_file)

    async def signed_url(self, key: str, expires_in: timedelta, now: datetime, filename: str | None = None) -> str:
        """See `ObjectStore.signed_url`. The object need not exist yet."""
        expires = int((now + check_lifetime(expires_in)).timestamp())
        query = {"expires": str(expires), "signature": self._signature(check_key(key), expires, filename)}
        if filename is not None:
            query["filename"] = filename
        return f"{self._base_url}/{quote(key)}?{urlencode(query)}"

    async def open_link(
        self, key: str, expires: int, signature: str, now: datetime, filename: str | None = None
    ) -> bytes:
        """The content behind a link that `signed_url` made; the arguments are the parts of the link as they came.

        Raises `LinkRefused`, and what `get` raises.
        """
        self.check_link(key, expires, signature, now, filename)
        return await self.get(key)

    def check_link(self, key: str, expires: int, signature: str, now: datetime, filename: str | None = None) -> None:
        """Nothing for a link that we made and that is still alive. Raises `LinkRefused`."""
        expected = self._signature(key, expires, filename)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise LinkRefused("this link was not made by us, or was altered: ask for a new one")
        # The signature was right, so `expires` is a number of ours and in the range of a date.
        if now.timestamp() >= expires:
            expired_at = datetime.fromtimestamp(expires, UTC).isoformat()
            raise LinkRefused(f"this link expired at {expired_at}: ask for a new one")

    def _signature(self, key: str, expires: int, filename: str | None) -> str:
        # No key contains a line break (`check_key`), so that the three parts cannot be shifted into each other.
        message = f"{key}\n{expires}\n{'' if filename is None else '=' + filename}"
        return hmac.new(self._secret, message.encode(), sha256).hexdigest()

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)


def content_type_of(key: str) -> str:
    """What the suffix of a key says about its content."""
    return CONTENT_TYPES.get(PurePosixPath(key).suffix, UNKNOWN_TYPE)


def _write(path: Path, data: bytes) -> None:
    """Write beside the target, sync, then rename: readers see the old content or the new, never a part."""
    made = _make_folders(path.parent)
    # A leading dot: no key can name a file that a crash left behind half written.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    for folder in [path.parent, *(new.parent for new in made)]:
        _sync_folder(folder)


def _make_folders(folder: Path) -> list[Path]:
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def _in_thread(key: str, work: Callable[[], T]) -> T:
    """Run file work off the event loop, and name its failures in the port's terms."""
    try:
        return await asyncio.to_thread(work)
    except (FileNotFoundError, IsADirectoryError) as missing:
        raise ObjectNotFound(f"no object is stored under {key!r}") from missing
    except PermissionError as refused:
        raise StoreRefused(f"object {key!r}: {refused}") from refused
    except OSError as failure:
        space = " (the disk is full)" if failure.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreUnavailable(f"object {key!r}: {failure}{space}") from failure
