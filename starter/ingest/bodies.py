"""The body of an ASGI request, within a limit, plain or compressed."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import zstandard

BODY_BYTES: Final = 32 * 1024 * 1024
HELD_BYTES: Final = 128 * 1024 * 1024
"""Bytes of all requests together that are read and not answered. As objects they take several times as much."""
_PIECE = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyTooLarge(Exception):
    """More than the limit, as sent or when unpacked."""


class BodyUnreadable(Exception):
    """Not what its Content-Encoding says, or cut short."""


class ClientGone(Exception):
    """The client went away before its request was whole; nobody waits for an answer."""


class TooMuchHeld(Exception):
    """The requests that wait for an answer hold as many bytes as they may: the client is to come back."""


class Intake:
    """Bounds what all requests hold together, so that a flood while the broker stalls cannot take all memory."""

    def __init__(self, limit: int = HELD_BYTES) -> None:
        self._limit = limit
        self._held = 0

    def request(self) -> "Held":
        """What one request holds, given back when it is answered: to be entered."""
        return Held(self)

    def take(self, size: int, own: int) -> None:
        """`size` more for a request that holds `own`. Raises TooMuchHeld. One request alone is never too much."""
        if self._held > own and self._held + size > self._limit:
            raise TooMuchHeld
        self._held += size

    def give_back(self, size: int) -> None:
        """What a request held that is answered."""
        self._held -= size


class Held:
    """How many bytes a request holds, until it is left."""

    __slots__ = ("_intake", "size")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.size = 0

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self._intake.give_back(self.size)

    def add(self, size: int) -> None:
        """Raises TooMuchHeld."""
        self._intake.take(size, self.size)
        self.size += size


async def read_body(receive: Receive, content_length: str, encoding: str, held: Held, limit: int = BODY_BYTES) -> bytes:
    """The whole body, unpacked. `encoding` is the Content-Encoding: gzip, zstd or none.

    Raises BodyTooLarge as soon as the limit (bytes, also of the unpacked body) is passed, TooMuchHeld, BodyUnreadable,
    ClientGone.
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
        held.add(len(part))
        parts.append(part)
        if not message.get("more_body"):
            body = unpacked(b"".join(parts), encoding, limit)
            held.add(max(len(body) - size, 0))
            return body


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
