"""A bulk request whose events are all good, as nearly every one is: read, checked and stamped column by column.

Never refuses: where anything is unusual it answers None, and `wire` looks at each event by itself and says what is
wrong. Both ways make the same events.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from ulid import ULID

from activities.ingestion.events import EVENT_BYTES, Event
from models.scope import Scope
from starter.ingest.timestamps import all_milliseconds
from starter.ingest.wire import (
    BULK_EVENTS,
    NAME_CHARACTERS,
    BadEvent,
    TimeLimits,
    all_carried,
    exact_number,
    properties_text,
)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS)]
_Text = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS)]
_NONE: Final[dict[str, Any]] = {}


class GoodEvent(msgspec.Struct, frozen=True, gc=False):
    """`wire.SentEvent` with limits that its decoder checks."""

    event_name: str
    external_customer_id: _Name
    event_id: _Text | None = None
    customer_id: str | None = None
    timestamp: str | None = None
    source: _Text | None = None
    properties: dict[str, Any] | None = None


class GoodBulk(msgspec.Struct, frozen=True, gc=False):
    """The body of a bulk request."""

    events: Annotated[list[GoodEvent], msgspec.Meta(min_length=1, max_length=BULK_EVENTS)]


_decoder = msgspec.json.Decoder(GoodBulk, float_hook=exact_number)
_encoder = msgspec.json.Encoder(decimal_format="number")


def read_whole(body: bytes) -> Sequence[GoodEvent] | None:
    """The events of a bulk body, well-formed as far as a decoder can tell."""
    try:
        return _decoder.decode(body).events
    except (ValueError, ArithmeticError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def stamped_whole(caller: Scope, sent: Sequence[GoodEvent], limits: TimeLimits) -> list[Event] | None:
    """The events with everything that makes their rows. All customers have the same clock, that of `limits`."""
    names = [event.event_name.strip() for event in sent]
    try:
        times = _times([event.timestamp for event in sent], limits)
        properties = _texts([event.properties or _NONE for event in sent])
    except BadEvent:
        return None
    if times is None or "" in names or len(max(names, key=len)) > NAME_CHARACTERS:
        return None
    tenant_id, environment_id, now = caller.tenant_id, caller.environment_id, limits.now_ms
    return [
        Event(
            tenant_id,
            environment_id,
            event.external_customer_id,
            name,
            timestamp,
            event.event_id or f"event_{ULID()}",
            event.source or "",
            text,
            now,
        )
        for event, name, timestamp, text in zip(sent, names, times, properties, strict=True)
    ]


def _times(texts: Sequence[str | None], limits: TimeLimits) -> Sequence[int] | None:
    """Raises BadEvent where one is too old or too far ahead."""
    given = [text for text in texts if text is not None]
    if not given:
        return [limits.now_ms] * len(texts)
    times = all_milliseconds(given) if len(given) == len(texts) else None
    if times is not None:
        limits.check(min(times))
        limits.check(max(times))
    return times


def _texts(sent: Sequence[dict[str, Any]]) -> list[str]:
    """Raises BadEvent where they are too large or too deep."""
    if all(map(all_carried, sent)):
        lines = _encoder.encode_lines(sent)  # JSON has no line breaks within strings
        if len(lines) <= EVENT_BYTES or len(max(lines.split(b"\n"), key=len)) <= EVENT_BYTES:
            return lines.decode().split("\n")[:-1]
    return [properties_text(properties) for properties in sent]
