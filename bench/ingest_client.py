"""A load client for the ingest routes: a process of its own, many connections, one request in flight on each.

`python -m bench.ingest_client --help`. Prints one JSON object. Latencies count from the moment at which a request was
due, so that a server that stalls cannot hide behind a client that waits for it.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

import psutil
import uvloop

TEMPLATES: Final = 40
"""Different bodies that take turns; the ids of each request are new."""

MARK: Final = b"########"
MODELS: Final = ("small", "medium", "large", "ultra")
REGIONS: Final = ("eu-west-1", "us-east-1", "ap-south-1")


@dataclass
class Options:
    """What is sent."""

    url: str
    key: str
    single: bool
    connections: int
    seconds: float
    rate: float
    """Events a second over all connections; 0: as fast as they are answered."""

    batch: int
    customers: int
    names: int
    months: int
    duplicates: int
    """Each so many-th request repeats the one before it, with the same ids; 0: none."""

    prefix: str
    seed: int


@dataclass
class Counts:
    """What was answered."""

    accepted: int = 0
    repeated: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    last: float = 0.0


def template(options: Options, chance: random.Random, events: int) -> bytes:
    """A body of `events` events whose ids hold MARK; about 240 bytes an event."""
    now = datetime.now(UTC)
    span = 30 * 86_400 * max(options.months, 0) or 3600
    parts = []
    for number in range(events):
        at = now - timedelta(seconds=chance.uniform(0, span))
        event = {
            "event_name": f"call_{chance.randrange(options.names)}",
            "external_customer_id": f"customer-{chance.randrange(options.customers):05d}",
            "event_id": f"{options.prefix}-{MARK.decode()}-{number:04d}",
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "source": "bench",
            "properties": {
                "tokens": str(chance.randrange(1, 5000)),
                "seconds": chance.randrange(30_000) / 100,
                "model": chance.choice(MODELS),
                "region": chance.choice(REGIONS),
                "user": f"u-{chance.randrange(10_000)}",
            },
        }
        parts.append(json.dumps(event, separators=(",", ":")))
    return (parts[0] if options.single else '{"events":[' + ",".join(parts) + "]}").encode()


class Load:
    """The requests of all connections, each with ids that no other has."""

    def __init__(self, options: Options) -> None:
        self.options = options
        chance = random.Random(options.seed)
        count = 2000 if options.single else TEMPLATES
        self._bodies = [template(options, chance, 1 if options.single else options.batch) for _ in range(count)]
        parts = urlsplit(options.url)
        path = "/v1/events" if options.single else "/v1/events/bulk"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nx-api-key: {options.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._number = 0
        self._due = 0.0
        self.counts = Counts()
        self.until = 0.0

    @property
    def events(self) -> int:
        """Events of one request."""
        return 1 if self.options.single else self.options.batch

    def next_request(self) -> bytes:
        """The next request; each so many-th has the ids of the one before."""
        every = self.options.duplicates
        repeats = bool(every) and self._number > 0 and self._number % every == 0
        if repeats:
            self.counts.repeated += self.events
        number = self._number - 1 if repeats else self._number
        self._number += 1
        body = self._bodies[number % len(self._bodies)].replace(MARK, b"%08x" % number)
        return self._head + b"%d\r\n\r\n" % len(body) + body

    def next_due(self, now: float) -> float:
        """When the next request is to be sent."""
        if not self.options.rate:
            return now
        self._due = (self._due or now) + self.events / self.options.rate
        return self._due


class Connection(asyncio.Protocol):
    """One keep-alive connection; sends, waits for the whole answer, sends again."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load = load
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._plan()

    def _plan(self) -> None:
        now = time.perf_counter()
        self._due = self._load.next_due(now)
        if max(now, self._due) >= self._load.until:
            self._finish()
        elif self._due <= now:
            self._send()
        else:
            self._loop.call_later(self._due - now, self._send)

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        """Collects an answer; a whole one is counted."""
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._answer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._answer) < end + 4 + length:
            return
        status = self._answer[9:12].decode()
        self._answer = b""
        counts = self._load.counts
        counts.last = time.perf_counter()
        counts.statuses[status] = counts.statuses.get(status, 0) + 1
        if status == "202":
            counts.accepted += self._load.events
            counts.seconds.append(counts.last - self._due)
        self._plan()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed."""
        if not self._done.done():
            counts = self._load.counts
            counts.statuses["lost"] = counts.statuses.get("lost", 0) + 1
            self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run(options: Options) -> dict[str, object]:
    """Sends for the given seconds and tells what was answered."""
    load = Load(options)
    address = urlsplit(options.url)
    if address.hostname is None:
        raise SystemExit(f"--url must look like http://127.0.0.1:8080; got {options.url}")
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    load.until = begun + options.seconds
    ends: list[asyncio.Future[None]] = []
    for _ in range(options.connections):
        end = loop.create_future()
        ends.append(end)
        await loop.create_connection(partial(Connection, load, end), address.hostname, address.port or 80)
    await asyncio.wait_for(asyncio.gather(*ends), options.seconds + 60)
    counts = load.counts
    latencies = sorted(counts.seconds)
    times = psutil.Process().cpu_times()
    return {
        "accepted": counts.accepted,
        "repeated": counts.repeated,
        "statuses": counts.statuses,
        "seconds": (counts.last or time.perf_counter()) - begun,
        "p50": latencies[len(latencies) // 2] if latencies else None,
        "p99": latencies[len(latencies) * 99 // 100] if latencies else None,
        "cpu": times.user + times.system,
    }


def main() -> None:
    """One load."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest_client", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--single", action="store_true", help="one event a request, not bulk")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--names", type=int, default=10)
    parser.add_argument("--months", type=int, default=0, help="spread timestamps over so many months (0: one hour)")
    parser.add_argument("--duplicates", type=int, default=20)
    parser.add_argument("--prefix", default="b")
    parser.add_argument("--seed", type=int, default=1)
    options = Options(**vars(parser.parse_args()))
    json.dump(uvloop.run(run(options)), sys.stdout)


if __name__ == "__main__":
    main()
