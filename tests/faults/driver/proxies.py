"""A TCP relay before a server. Told so, it loses a request, or an answer after the request went through, or delays one.

Owns bytes and connections, and knows nothing of what they mean but for one word by which a request is known.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 16
CONTINUE = b"HTTP/1.1 100"
"""Not the answer yet: the server asks for the body."""


class Harm(StrEnum):
    """What is done to one exchange."""

    request_lost = "request lost"
    """The connection breaks before the request has reached the server."""
    answer_lost = "answer lost"
    """The server has it and answers; the connection breaks instead of the answer."""
    answer_late = "answer late"


@dataclass(eq=False)
class Trap:
    """Harm that waits for the next request that holds `word`. `sprung` is set once it has struck."""

    harm: Harm
    word: bytes = b""
    seconds: float = 0
    sprung: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Listens on a port of its own for the server at `target`, which may come and go."""

    def __init__(self, target: int, sees: Callable[[bytes], None] | None = None) -> None:
        """sees: is shown everything that the server says."""
        self._target, self._sees = target, sees
        self._traps: deque[Trap] = deque()
        self._live: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> int:
        """The port on which it listens."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    def set_target(self, port: int) -> None:
        """Where the server is, when that was not known at first."""
        self._target = port

    async def close(self) -> None:
        """Ends everything."""
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> int:
        """Breaks every connection at this moment; how many."""
        live = list(self._live)
        for connection in live:
            connection.abort()
        return len(live)

    async def harm(self, trap: Trap, patience: float) -> bool:
        """Lays the trap; whether something ran into it in time. Otherwise it is taken away again."""
        self._traps.append(trap)
        try:
            async with asyncio.timeout(patience):
                await trap.sprung.wait()
        except TimeoutError:
            if trap in self._traps:
                self._traps.remove(trap)
            return trap.sprung.is_set()
        return True

    def trap_for(self, request: bytes) -> Trap | None:
        """The oldest trap for this request, which is then gone."""
        for trap in self._traps:
            if trap.word in request:
                self._traps.remove(trap)
                return trap
        return None

    def saw(self, answer: bytes) -> None:
        """The server has said this."""
        if self._sees is not None:
            self._sees(answer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer, *upstream)
        self._live.add(connection)
        try:
            await connection.run()
        finally:
            self._live.discard(connection)


class Connection:
    """One connection of a client, with its own to the server."""

    def __init__(
        self,
        proxy: Proxy,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._trap: Trap | None = None

    def abort(self) -> None:
        """Both sides see the connection break."""
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    async def run(self) -> None:
        """Until one side ends."""
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in (self._to_client, self._to_server):
                with contextlib.suppress(OSError):
                    writer.close()

    async def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._client.read(CHUNK):
                trap = self._proxy.trap_for(data)
                if trap is not None and trap.harm is Harm.request_lost:
                    trap.sprung.set()
                    self.abort()
                    return
                self._trap = trap or self._trap
                self._to_server.write(data)
                await self._to_server.drain()

    async def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._server.read(CHUNK):
                self._proxy.saw(data)
                trap = self._trap
                if trap is not None and not data.startswith(CONTINUE):
                    self._trap = None
                    trap.sprung.set()
                    if trap.harm is Harm.answer_lost:
                        self.abort()
                        return
                    await asyncio.sleep(trap.seconds)
                self._to_client.write(data)
                await self._to_client.drain()
