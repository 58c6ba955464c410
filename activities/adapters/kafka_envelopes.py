"""Requests of the API as Kafka records: which events share one, and when a request is done.

Owns no connection. The partition follows from the customer, so one identity always meets the same partition.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import ENVELOPE_EVENTS, Event, customer_key, encode_envelope, key_of
from activities.ingestion.ports import IngestUnavailable

ENVELOPE_BYTES: Final = 900_000
"""Keeps a record under Kafka's default of 1 MB; a single event has at most 256 KiB of properties."""


@dataclass(slots=True)
class Request:
    """Events that are answered together, when each envelope that holds some of them is acknowledged."""

    done: asyncio.Future[None]
    unsettled: int
    """Pieces that wait, and envelopes that are on their way."""

    sent: list[tuple[Sequence[Event], int]] = field(default_factory=list)
    """What has been handed to the producer, and when (Unix milliseconds)."""

    failed: bool = False

    def settle(self, error: str | None, counts: AcceptanceCounts | None) -> None:
        """An envelope has been acknowledged, or not (`error`)."""
        self.unsettled -= 1
        if error is not None:
            self.failed = True
            if not self.done.done():
                self.done.set_exception(IngestUnavailable(f"Kafka did not acknowledge: {error}"))
        if self.unsettled > 0:
            return
        if not self.done.done():
            self.done.set_result(None)
        if counts is not None:
            count = counts.unconfirmed if self.failed else counts.accepted
            for events, at in self.sent:
                count(events, at)


Piece = tuple[Request, Sequence[Event]]
"""The events of one request that go into one partition."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One Kafka record, and the requests whose events it holds."""

    key: bytes
    value: bytes
    requests: Sequence[Request]
    tenants: Counter[str]
    """How many events of each it holds."""


def by_partition(events: Sequence[Event], partitions: int) -> dict[int, list[Event]]:
    """The events of a request, all of one environment, by the partition of their customers."""
    tenant_id, environment_id = events[0].tenant_id, events[0].environment_id
    found: dict[int, list[Event]] = {}
    for event in events:
        partition = _number_of(tenant_id, environment_id, event.external_customer_id) % partitions
        if partition in found:
            found[partition].append(event)
        else:
            found[partition] = [event]
    return found


@lru_cache(maxsize=100_000)
def _number_of(tenant_id: str, environment_id: str, external_customer_id: str) -> int:
    return zlib.crc32(key_of(tenant_id, environment_id, external_customer_id))


def envelopes(pieces: Sequence[Piece], now: int) -> list[Envelope]:
    """Pieces of one partition as records of a bounded number of events each, handed over at `now`."""
    found = list(_envelopes(pieces))
    for request, events in pieces:
        request.sent.append((events, now))
        request.unsettled -= 1
    for envelope in found:
        for request in envelope.requests:
            request.unsettled += 1
    return found


def _envelopes(pieces: Sequence[Piece]) -> Iterator[Envelope]:
    events: list[Event] = []
    requests: list[Request] = []
    for request, part in pieces:
        for start in range(0, len(part), ENVELOPE_EVENTS):
            piece = part[start : start + ENVELOPE_EVENTS]
            if len(events) + len(piece) > ENVELOPE_EVENTS:
                yield from _fitting(events, requests)
                events, requests = [], []
            events += piece
            requests.append(request)
    yield from _fitting(events, requests)


def _fitting(events: Sequence[Event], requests: list[Request]) -> Iterator[Envelope]:
    """One that would be too large is halved until it fits or holds a single event; each half is waited for by all."""
    value = encode_envelope(events)
    if len(value) > ENVELOPE_BYTES and len(events) > 1:
        middle = len(events) // 2
        yield from _fitting(events[:middle], requests)
        yield from _fitting(events[middle:], requests)
        return
    yield Envelope(customer_key(events[0]), value, requests, Counter([event.tenant_id for event in events]))
