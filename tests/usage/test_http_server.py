"""The short way of small requests answers as the usual way does, on real connections; and idle ones are closed."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from activities.ingestion.events import Event
from deploy.embedded.ports import LOOPBACK, free_port
from starter.api.http_server import SHORT_BYTES, Headers, protocol_with
from starter.cli.api_server import serve_to_the_end
from starter.ingest.app import SINGLE, Ingest, Response
from tests.usage.doubles import Acceptor, authenticate, clocks_of

EVENT: Final[dict[str, Any]] = {
    "event_name": "call",
    "external_customer_id": "c-1",
    "event_id": "e-1",
    "timestamp": "2025-12-02T10:00:00Z",
    "properties": {"n": 1.5},
}
GOOD: Final = json.dumps(EVENT).encode()
CHANGES: Final = re.compile(rb"date: [^\r]*|x-request-id: [0-9a-f]{32}")
"""What is different in each answer."""


def request(body: bytes = GOOD, *headers: str, line: str = "POST /v1/events HTTP/1.1", key: str = "sk_known") -> bytes:
    """A request as it goes over the wire; with a Content-Length unless a header says how the body is sent."""
    lines = [line, "host: api", f"x-api-key: {key}", *headers]
    if not any(header.lower().startswith(("transfer-encoding", "content-length")) for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


class Slow(Acceptor):
    """Takes events when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def accept(self, events: Sequence[Event]) -> None:
        self.waits.set()
        await self.goes_on.wait()
        await super().accept(events)


@dataclass
class Connection:
    """One to a server, and what it has answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """The next one whole; b"" when the server has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as ended:
            return ended.partial
        length = re.search(rb"content-length: (\d+)", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        return CHANGES.sub(b"", head) + body


@dataclass
class Running:
    """A server, and how many requests took the short way."""

    port: int
    uvicorn: uvicorn.Server
    short: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def answers(self, *parts: bytes, count: int) -> list[bytes]:
        """To what is sent on one connection in `parts`, each in a packet of its own."""
        async with asyncio.timeout(60), self.connection() as connection:
            for part in parts:
                connection.writer.write(part)
                await asyncio.sleep(0.02)
            return [await connection.answer() for _ in range(count)]


@asynccontextmanager
async def serving(acceptor: Acceptor, with_short_way: bool = True, keep_alive: int = 60) -> AsyncIterator[Running]:
    """Ingestion on uvicorn as `durabill api` serves it."""
    app = Ingest(PlainTextResponse("the rest"), acceptor, authenticate, clocks_of)
    running: Running

    async def single(headers: Headers, body: bytes) -> Response:
        running.short.append(len(body))
        return await app.single(headers, body)

    protocol = protocol_with({SINGLE.encode(): single} if with_short_way else {})
    config = uvicorn.Config(
        app, LOOPBACK, free_port(), http=protocol, log_config=None, access_log=False, timeout_keep_alive=keep_alive
    )
    running = Running(config.port, uvicorn.Server(config))
    serve = asyncio.create_task(running.uvicorn.serve())
    async with asyncio.timeout(60):
        while not running.uvicorn.started:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    yield running
    running.uvicorn.should_exit = True
    await serve


SHORT: Final = {
    "one event": [request()],
    "its id comes back": [request(GOOD, "x-request-id: r-1")],
    "by a bearer": [request(GOOD, "authorization: Bearer sk_known", key="")],
    "in pieces": [request()[:30], request()[30:200], request()[200:]],
    "no JSON": [request(b"{")],
    "no body": [request(b"")],
    "not an event": [request(b"[]")],
    "too old": [request(json.dumps(EVENT | {"timestamp": "2001-01-01T00:00:00Z"}).encode())],
    "an unknown key": [request(key="sk_other")],
    "the last one": [request(GOOD, "connection: close")],
    "as large as may be": [request(json.dumps(EVENT | {"properties": {"x": "y" * (SHORT_BYTES - 200)}}).encode())],
}
USUAL: Final = {
    "larger": [request(json.dumps(EVENT | {"properties": {"x": "y" * SHORT_BYTES}}).encode())],
    "too large": [request(GOOD, f"content-length: {1 << 30}", "connection: close")],
    "chunked": [request(chunked(GOOD), "transfer-encoding: chunked")],
    "first asks": [request(b"", "expect: 100-continue", f"content-length: {len(GOOD)}"), GOOD],
    "old HTTP": [request(line="POST /v1/events HTTP/1.0")],
    "with a query": [request(line="POST /v1/events?a=b HTTP/1.1")],
    "another path": [request(line="POST /v1/other HTTP/1.1")],
    "a question": [request(line="GET /v1/events HTTP/1.1")],
    "no HTTP": [b"POST\r\n\r\n"],
    "many events": [request(b'{"events":[%b]}' % GOOD, line="POST /v1/events/bulk HTTP/1.1")],
}


@pytest.mark.parametrize("name", [*SHORT, *USUAL])
async def test_the_short_way_answers_as_the_usual_one(name: str) -> None:
    parts = (SHORT | USUAL)[name]
    found = []
    for with_short_way in (True, False):
        acceptor = Acceptor()
        async with serving(acceptor, with_short_way) as server:
            found.append((await server.answers(*parts, count=1 + (name == "first asks")), acceptor.events))
            assert len(server.short) == (with_short_way and name in SHORT)
    assert found[0] == found[1]
    assert found[0][0][0].startswith(b"HTTP/1.1 ")


async def test_a_packed_event_and_a_store_that_is_down() -> None:
    for down, status in ((False, b"202"), (True, b"503")):
        found = []
        for with_short_way in (True, False):
            acceptor = Acceptor()
            acceptor.down = down
            async with serving(acceptor, with_short_way) as server:
                found.append(await server.answers(request(gzip.compress(GOOD), "content-encoding: gzip"), count=1))
        assert found[0] == found[1]
        assert found[0][0].split()[1] == status


async def test_requests_that_do_not_wait_are_answered_in_their_order() -> None:
    sent = [request(json.dumps(EVENT | {"event_id": f"e-{number}"}).encode()) for number in range(6)]
    sent[3] = request(line="GET /v1/events HTTP/1.1", body=b"")
    acceptor = Acceptor()
    async with serving(acceptor) as server:
        answers = await server.answers(b"".join(sent), count=6)
    assert [answer.partition(b"event_id\":\"")[2][:3] for answer in answers] == [
        b"e-0", b"e-1", b"e-2", b"", b"e-4", b"e-5"
    ]  # fmt: skip
    assert [one.event_id for one in acceptor.events] == ["e-0", "e-1", "e-2", "e-4", "e-5"]


async def test_a_connection_is_closed_when_it_has_been_idle() -> None:
    acceptor = Slow()
    async with serving(acceptor, keep_alive=2) as server, server.connection() as connection:
        loop = asyncio.get_running_loop()
        connection.writer.write(request())
        await asyncio.sleep(2.5)  # longer than it may be idle: but somebody waits for an answer
        acceptor.goes_on.set()
        async with asyncio.timeout(60):
            assert b"e-1" in await connection.answer()
            for _ in range(4):  # idle, but never for so long
                await asyncio.sleep(0.4)
                connection.writer.write(request())
                assert b"e-1" in await connection.answer()
            begun = loop.time()
            assert await connection.answer() == b""
        assert loop.time() - begun > 1.9


async def test_a_client_that_goes_away_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    acceptor = Slow()
    async with serving(acceptor) as server:
        for sent in (request()[:-5], request()):
            async with server.connection() as connection:
                connection.writer.write(sent)
                await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            await acceptor.waits.wait()
            acceptor.goes_on.set()
            assert len(await server.answers(request(), count=1)) == 1
    assert [one.event_id for one in acceptor.events] == ["e-1", "e-1"]
    assert not caplog.records


async def test_a_server_that_stops_answers_what_it_has_begun() -> None:
    acceptor = Slow()
    async with serving(acceptor) as server, server.connection() as connection:
        connection.writer.write(request())
        async with asyncio.timeout(60):
            await acceptor.waits.wait()
            server.uvicorn.should_exit = True
            await asyncio.sleep(0.5)
            acceptor.goes_on.set()
            answer = await connection.answer()
            assert b" 202 " in answer
            assert b"connection: close" in answer
            assert await connection.answer() == b""


async def test_what_nobody_expected_is_an_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(headers: Headers, body: bytes) -> Response:
        raise ValueError("broken")

    protocol = protocol_with({b"/": broken})
    config = uvicorn.Config(PlainTextResponse("the rest"), LOOPBACK, free_port(), http=protocol, log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(serve_to_the_end(server))
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
        [answer] = await Running(config.port, server).answers(request(line="POST / HTTP/1.1"), count=1)
    server.should_exit = True
    await task
    assert b" 500 " in answer
    assert "broken" in caplog.text
