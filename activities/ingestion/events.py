"""The event as it travels from the API to the sink, and its identity.

Everything that makes a row is stamped before the event goes anywhere, so that a record always yields the same row.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

ENVELOPE_EVENTS: Final = 1000
"""Events in one Kafka record, at most."""

EVENT_BYTES: Final = 256 * 1024
"""The largest `properties` of one event, in bytes of JSON."""

TIMESTAMP_MIN: Final = 0
TIMESTAMP_MAX: Final = 253_402_300_799_999
"""Unix milliseconds of 1970 and of the end of 9999."""

_TIMES: Final = "Unix milliseconds between the years 1970 and 9999"


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted event. Times are Unix milliseconds; `properties` is a JSON object as text.

    `array_like` is the wire form inside a Kafka envelope: fields are only ever added at the end, with defaults.
    """

    tenant_id: str
    environment_id: str
    external_customer_id: str
    event_name: str
    timestamp: int
    event_id: str
    source: str
    properties: str
    accepted_at: int
    """On the customer's test clock where there is one."""


class Placed(msgspec.Struct, frozen=True, gc=False):
    """An event with the place at which it was received: Kafka's, or the number of the block in the one writer."""

    event: Event
    partition: int
    offset: int


def identity(event: Event) -> tuple[int, int]:
    """The 128 bits, as two words, that stand for (tenant, environment, customer, event id); counted once for ever.

    The first half of SHA-256 over length-prefixed fields. `sink.REPAIR` computes the same inside ClickHouse.
    """
    digest = identities([event])[0]
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def identities(events: Sequence[Event]) -> list[bytes]:
    """The identity of each event as its 16 bytes: the words `hi` and `lo`, each with its low byte first."""
    sha256 = hashlib.sha256
    scopes: dict[tuple[str, str], dict[str, bytes]] = {}
    starts: dict[str, bytes] = {}
    tenant_id = environment_id = None
    found = []
    for event in events:
        if event.tenant_id != tenant_id or event.environment_id != environment_id:
            tenant_id, environment_id = event.tenant_id, event.environment_id
            starts = scopes.setdefault((tenant_id, environment_id), {})
        customer = event.external_customer_id
        start = starts.get(customer)
        if start is None:
            start = starts[customer] = b"".join(map(_prefixed, (tenant_id, environment_id, customer)))
        event_id = event.event_id.encode()
        found.append(sha256(b"%b%d:%b" % (start, len(event_id), event_id)).digest()[:16])
    return found


def _prefixed(field: str) -> bytes:
    encoded = field.encode()
    return b"%d:%b" % (len(encoded), encoded)


def customer_key(event: Event) -> bytes:
    """What keeps one customer's events, and so one identity, in one Kafka partition."""
    return key_of(event.tenant_id, event.environment_id, event.external_customer_id)


def key_of(tenant_id: str, environment_id: str, external_customer_id: str) -> bytes:
    """The same of a customer."""
    return f"{tenant_id}\0{environment_id}\0{external_customer_id}".encode()


def check_event(event: Event) -> None:
    """Raises ValueError for an event that the store could not hold; such a one goes to the dead letters alone."""
    if not (
        event.tenant_id and event.environment_id and event.external_customer_id and event.event_name and event.event_id
    ):
        raise ValueError("tenant, environment, customer, event name and event id must not be empty")
    if not TIMESTAMP_MIN <= event.timestamp <= TIMESTAMP_MAX:
        raise ValueError(f"timestamp must be {_TIMES}; got {event.timestamp}")
    if not TIMESTAMP_MIN <= event.accepted_at <= TIMESTAMP_MAX:
        raise ValueError(f"accepted_at must be {_TIMES}; got {event.accepted_at}")


_encoder = msgspec.msgpack.Encoder()
_text_decoder = msgspec.msgpack.Decoder(str)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.msgpack.Decoder(Event)
_events_decoder = msgspec.msgpack.Decoder(list[Event])


def encode_envelope(events: Sequence[Event]) -> bytes:
    """One Kafka record's value."""
    return _encoder.encode(events)


def decode_envelope(value: bytes) -> tuple[list[Event], list[tuple[bytes, str]]]:
    """The good events of a record, and each bad one as (its bytes, the reason). An unreadable record is one bad one."""
    try:
        events = _events_decoder.decode(value)
        for event in events:
            check_event(event)
    except (msgspec.MsgspecError, ValueError):
        return _sorted_out(value)
    return events, []


def owner_of(value: bytes, key: bytes = b"") -> tuple[str, str]:
    """Whose event this may be that cannot be read: what its first fields say, else its record's key; empty if neither.

    Only for counting: nothing is stored by it.
    """
    try:
        tenant_id, environment_id, *_ = (_text_decoder.decode(field) for field in _raw_decoder.decode(value)[:2])
        return tenant_id, environment_id
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        pass
    named = key.decode(errors="replace").split("\0")
    return (named[0], named[1]) if len(named) == 3 else ("", "")


def _sorted_out(value: bytes) -> tuple[list[Event], list[tuple[bytes, str]]]:
    """The same, event by event."""
    try:
        parts = _raw_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return [], [(value, f"the record is not a list of events: {error}")]
    good, bad = [], []
    for part in parts:
        try:
            event = _event_decoder.decode(part)
            check_event(event)
            good.append(event)
        except (msgspec.MsgspecError, ValueError) as error:
            bad.append((bytes(part), f"not an event: {error}"))
    return good, bad
