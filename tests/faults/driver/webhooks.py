"""The way of a payment company's webhooks to us, as the internet is: twice, out of order, answers lost."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import StrEnum

import httpx

LOOPBACK = "127.0.0.1"
HELD_SECONDS = 20
"""How long one waits for others to overtake it; its signature is good for minutes."""
OVERTAKEN_BY = 2
SPACING_SECONDS = 0.3


class Way(StrEnum):
    """What happens to one webhook on its way."""

    twice = "twice"
    """It arrives two or three times, partly at once."""
    out_of_order = "out of order"
    """Later ones arrive before it."""
    answer_lost = "answer lost"
    """Our answer does not reach the company, which sends it again."""


@dataclass(eq=False)
class Mishap:
    """Waits for the next webhook."""

    way: Way
    struck: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Letter:
    """One request of the company."""

    path: str
    headers: dict[str, str]
    body: bytes


class WebhookRelay:
    """Listens where the company sends, and carries on to the API. What it has taken over it delivers, if late."""

    def __init__(self, api_port: int, chance: random.Random) -> None:
        self._api, self._chance = f"http://{LOOPBACK}:{api_port}", chance
        self._mishaps: deque[Mishap] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(timeout=10, trust_env=False)
        self._server: asyncio.Server | None = None
        self._passed = asyncio.Condition()
        self._count = 0

    async def start(self) -> int:
        """The port on which it listens."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Ends everything; nothing is held any more when all is quiet."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await self._client.aclose()

    @property
    def holds(self) -> int:
        """How many it still has to deliver."""
        return len(self._tasks)

    async def harm(self, mishap: Mishap, patience: float) -> bool:
        """Waits for a webhook to which it happens; whether one came in time."""
        self._mishaps.append(mishap)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await mishap.struck.wait()
        if mishap in self._mishaps:
            self._mishaps.remove(mishap)
        return mishap.struck.is_set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            letter = await _read(reader)
            if letter is None:
                return
            status = await self._take(letter)
            if status is not None:
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _take(self, letter: Letter) -> int | None:
        """The status for the company; None: it gets no answer."""
        mishap = self._mishaps.popleft() if self._mishaps else None
        if mishap is None:
            return await self._carry(letter)
        if mishap.way is Way.out_of_order:
            self._later(self._hold(letter, mishap))
            return 200
        if mishap.way is Way.twice:
            again = self._chance.randint(1, 2)
            statuses = await asyncio.gather(*(self._carry(letter) for _ in range(again + 1)))
            if statuses.count(200) > 1:
                mishap.struck.set()
            return 200 if 200 in statuses else statuses[0]
        status = await self._carry(letter)
        if status != 200:
            return status
        mishap.struck.set()
        return None

    async def _carry(self, letter: Letter) -> int:
        try:
            answer = await self._client.post(self._api + letter.path, content=letter.body, headers=letter.headers)
        except httpx.HTTPError:
            return 502
        if answer.is_success:
            async with self._passed:
                self._count += 1
                self._passed.notify_all()
            return 200
        return answer.status_code

    async def _hold(self, letter: Letter, mishap: Mishap) -> None:
        """Until others have overtaken it, or for a while; then until it is accepted."""
        async with self._passed:
            before = self._count
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD_SECONDS):
                    await self._passed.wait_for(lambda: self._count >= before + OVERTAKEN_BY)
            overtaken = self._count > before
        while await self._carry(letter) != 200:  # noqa: ASYNC110 (the API tells nobody when it is back)
            await asyncio.sleep(SPACING_SECONDS)
        if overtaken:
            mishap.struck.set()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _read(reader: asyncio.StreamReader) -> Letter | None:
    """One HTTP/1.1 request; None when the other side just goes."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    kept = {name: value for name, value in headers.items() if name.startswith(("webhook-", "content-type"))}
    return Letter(first.split(" ")[1], kept, body)
