"""What the path of usage asks of its surroundings, and what it offers to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from activities.ingestion.events import Event


class IngestUnavailable(Exception):
    """The events may or may not be stored. Sending them again with the same ids counts them once.

    `retry_after` is in seconds.
    """

    def __init__(self, message: str, retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EventAcceptor(Protocol):
    """Where the API hands accepted events to: the Kafka producer, or the one direct writer."""

    async def accept(self, events: Sequence[Event]) -> None:
        """Returns when all of `events`, which are of one environment, are durable. Raises IngestUnavailable."""


class UsageProgress(Protocol):
    """How far the sink has come."""

    async def settled(self, cutoff: datetime) -> bool:
        """Whether every event accepted before the wall-clock instant `cutoff` (UTC) is stored."""


class WriterLease(Protocol):
    """The right of one process to write events directly into ClickHouse."""

    async def hold(self) -> int | None:
        """Confirms or takes the right: a number that is new whenever it was taken anew; None while another has it."""

    async def release(self) -> None:
        """Gives the right up."""
