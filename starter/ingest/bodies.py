"""The body of an ASGI request, within a limit, plain or compressed."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import zstandard

BODY_BYTES: Final = 32 * 1024 * 1024
_PIECE = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyTooLarge(Exception):
    """More than the limit, as sent or when unpacked."""


class BodyUnreadable(Exception):
    """Not what its Content-Encoding says, or cut short."""


class ClientGone(Exception):
    """The client went away before its request was whole; nobody waits for an answer."""


async def read_body(receive: Receive, content_length: str, encoding: str, limit: int = BODY_BYTES) -> bytes:
    """The whole body, unpacked. `encoding` is the Content-Encoding: gzip, zstd or none.

    Raises BodyTooLarge as soon as the limit (bytes, also of the unpacked body) is passed, BodyUnreadable, ClientGone.
    """
    if content_length.isdigit() and int(content_length) > limit:
        raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge
        parts.append(part)
        if not message.get("more_body"):
            return unpacked(b"".join(parts), encoding, limit)


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` after its Content-Encoding. Unpacks no more than `limit` bytes, whatever the body claims."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name in ("gzip", "x-gzip"):
        return _gunzipped(body, limit)
    if name == "zstd":
        return _unzstd(body, limit)
    raise BodyUnreadable(f"Content-Encoding must be gzip, zstd or none; got {encoding[:40]!r}")


def _gunzipped(body: bytes, limit: int) -> bytes:
    found = bytearray()
    rest = body
    try:
        while rest:
            decoder = zlib.decompressobj(wbits=31)
            found += decoder.decompress(rest, limit + 1 - len(found))
            if len(found) > limit:
                raise BodyTooLarge
            if not decoder.eof:
                raise BodyUnreadable("the gzip body is cut short")
            rest = decoder.unused_data
    except zlib.error as error:
        raise BodyUnreadable(f"the body is not gzip: {error}") from error
    return bytes(found)


def _unzstd(body: bytes, limit: int) -> bytes:
    found = bytearray()
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body, read_across_frames=True)
        while piece := reader.read(_PIECE):
            found += piece
            if len(found) > limit:
                raise BodyTooLarge
    except zstandard.ZstdError as error:
        raise BodyUnreadable(f"the body is not zstd: {error}") from error
    return bytes(found)
