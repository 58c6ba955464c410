"""Events as clients send them: what is accepted, what each field must be, and how numbers keep their digits.

Owns parsing and checking; knows nothing of HTTP. Reference: flexprice.md section 3.2.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from activities.ingestion.events import EVENT_BYTES
from billing.money import decimal_text
from models.clickhouse.retention import RETENTION_MONTHS
from models.clickhouse.times import milliseconds

BULK_EVENTS: Final = 1000
NAME_CHARACTERS: Final = 255
_AHEAD_MS: Final = 24 * 3_600_000
DEPTH: Final = 64
"""Levels of nesting in properties; ClickHouse reads a document that is much deeper as empty."""

_SHORTEST_MONTH_MS: Final = 28 * 86_400_000

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
"""Integers beyond 64 bits would be read as doubles."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CARRIED: Final = frozenset({str, msgspec.Raw, Decimal, bool, type(None)})
"""Kinds of values that the store reads as they are; of the others, integers may be too large and objects too deep."""

_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


class SentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of the wire. Unknown fields are ignored; `customer_id` is accepted and has no effect."""

    event_name: str
    external_customer_id: str
    event_id: str | None = None
    customer_id: str | None = None
    timestamp: str | None = None
    source: str | None = None
    properties: dict[str, Any] | None = None


class SentBulk(msgspec.Struct, frozen=True, gc=False):
    """The body of a bulk request."""

    events: list[SentEvent]


class SentProperties(msgspec.Struct, frozen=True, gc=False):
    """What an amendment says of properties."""

    properties: dict[str, Any] | None = None


class RawBulk(msgspec.Struct, frozen=True, gc=False):
    """The same with each event to be parsed by itself, so that each bad one can be named."""

    events: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class BadField:
    """What is wrong with one field."""

    field: str
    message: str


class Checked(msgspec.Struct, frozen=True, gc=False):
    """A well-formed event that still lacks the stamps which depend on its customer's clock."""

    event_name: str
    external_customer_id: str
    event_id: str
    """Empty: the server gives one."""
    timestamp: int | None
    """In Unix milliseconds."""
    source: str
    properties: str
    """A JSON object whose numbers ClickHouse reads without loss."""


_TINY: Final = ("0.000000", "-0.")
_NOUGHT: Final = Decimal(0)


class BadEvent(Exception):
    """An event that is refused."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.bad = BadField(field, message)


def exact_number(text: str) -> msgspec.Raw | Decimal | str:
    """What is stored of a JSON number with a point or an exponent."""
    # ClickHouse reads a JSON number with a point or an exponent as a double, which carries 15 digits of any number, and
    # reads nothing of a document with one beyond a double's range. What a double cannot carry, or would be written with
    # an exponent, becomes a string of its digits: a filter means the same number however it was sent.
    if len(text) <= 16 and "e" not in text and "E" not in text and not text.startswith(_TINY):
        return msgspec.Raw(text)  # a point and 15 digits at most, as nearly all numbers: stored as they were sent
    value = Decimal(text)
    if not value:
        return _NOUGHT
    digits, size = "".join(map(str, value.as_tuple().digits)).strip("0"), value.adjusted()
    if len(digits) <= 15 and -7 < size < 21:
        return value
    return decimal_text(value) if -300 < size < 300 else text


_event_decoder = msgspec.json.Decoder(SentEvent, float_hook=exact_number)
_properties_decoder = msgspec.json.Decoder(SentProperties, float_hook=exact_number)
_bulk_decoder = msgspec.json.Decoder(SentBulk, float_hook=exact_number)
_raw_decoder = msgspec.json.Decoder(RawBulk)
_encoder = msgspec.json.Encoder(decimal_format="number")


def parse_bulk(body: bytes) -> tuple[list[tuple[int, Checked]], list[tuple[int, BadField]], int]:
    """The good events of a bulk body and the bad ones, each with its index, and how many there are in all.

    Raises BadEvent for the body, msgspec.DecodeError for malformed JSON.
    """
    try:
        sent: Sequence[SentEvent | msgspec.Raw] = _bulk_decoder.decode(body).events
    except (msgspec.ValidationError, RecursionError, InvalidOperation, OverflowError):
        sent = _raw_events(body)  # one of them is bad, or the body is
    if not 1 <= len(sent) <= BULK_EVENTS:
        raise BadEvent("events", f"events must hold 1 to {BULK_EVENTS} events; got {len(sent)}")
    good: list[tuple[int, Checked]] = []
    bad: list[tuple[int, BadField]] = []
    for index, event in enumerate(sent):
        try:
            good.append((index, _checked(event) if isinstance(event, SentEvent) else parse_event(event)))
        except BadEvent as error:
            bad.append((index, error.bad))
    return good, bad, len(sent)


def _raw_events(body: bytes) -> list[msgspec.Raw]:
    try:
        return _raw_decoder.decode(body).events
    except msgspec.ValidationError as error:
        raise _bad_field(error, "events") from error


def parse_event(raw: bytes | msgspec.Raw) -> Checked:
    """One event. Raises BadEvent naming the field, msgspec.DecodeError for malformed JSON."""
    try:
        sent = _event_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _bad_field(error, "") from error
    except RecursionError:
        raise BadEvent("properties", f"properties may be nested {DEPTH} levels deep") from None
    except (InvalidOperation, OverflowError):
        raise BadEvent("properties", "properties hold a number that is too large") from None
    return _checked(sent)


def parse_properties(raw: bytes) -> str | None:
    """The field `properties` of a body, as ingestion would store it, if it is there. Raises as `parse_event`."""
    try:
        sent = _properties_decoder.decode(raw).properties
    except msgspec.ValidationError as error:
        raise _bad_field(error, "properties") from error
    except RecursionError:
        raise BadEvent("properties", f"properties may be nested {DEPTH} levels deep") from None
    except (InvalidOperation, OverflowError):
        raise BadEvent("properties", "properties hold a number that is too large") from None
    return None if sent is None else properties_text(sent)


def _checked(sent: SentEvent) -> Checked:
    event_name, customer, event_id, source = sent.event_name.strip(), sent.external_customer_id, sent.event_id, ""
    if not 0 < len(event_name) <= NAME_CHARACTERS:
        raise _bad_name("event_name", event_name)
    if not 0 < len(customer) <= NAME_CHARACTERS:
        raise _bad_name("external_customer_id", customer)
    if event_id and len(event_id) > NAME_CHARACTERS:
        raise _bad_name("event_id", event_id)
    if sent.source:
        source = sent.source
        if len(source) > NAME_CHARACTERS:
            raise BadEvent("source", f"source may have at most {NAME_CHARACTERS} characters")
    timestamp = None if sent.timestamp is None else milliseconds(parse_timestamp(sent.timestamp))
    return Checked(event_name, customer, event_id or "", timestamp, source, properties_text(sent.properties))


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 instant; fractions of a second beyond the sixth digit are cut, never rounded into a next period."""
    if _RFC3339.fullmatch(text):
        try:
            at = datetime.fromisoformat(text.upper())
            return at if at.tzinfo is UTC else at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise BadEvent("timestamp", f"timestamp must be RFC 3339, such as 2025-12-02T10:00:00Z; got {text[:60]!r}")


class TimeLimits:
    """What timestamps a customer's clock allows: not older than the retention, not over a day ahead."""

    def __init__(self, now: datetime, retention_months: int = RETENTION_MONTHS) -> None:
        self.now_ms = milliseconds(now)
        self._now = now
        self._months = retention_months
        self._newest_ms = self.now_ms + _AHEAD_MS
        self._surely_ms = self.now_ms - retention_months * _SHORTEST_MONTH_MS
        """What is not older is within the retention; what is older has to be compared with the calendar."""

    def check(self, timestamp: int) -> None:
        """Raises BadEvent for an event outside of them; in Unix milliseconds."""
        if timestamp > self._newest_ms:
            text = f"timestamp must not be more than 24 hours ahead, that is after {timestamp_text(self._newest_ms)}"
            raise BadEvent("timestamp", text)
        if timestamp < self._surely_ms and timestamp < (oldest_ms := self._oldest_ms()):
            months = f"{self._months} months, that is before {timestamp_text(oldest_ms)}"
            raise BadEvent("timestamp", f"timestamp must not be older than {months}")

    def _oldest_ms(self) -> int:
        oldest = months_before(self._now, self._months)
        return milliseconds(oldest) + (oldest.microsecond % 1000 > 0)


def months_before(now: datetime, months: int) -> datetime:
    """`now` that many calendar months earlier; the last day of a shorter month stands for a day it lacks."""
    index = now.year * 12 + now.month - 1 - months
    for day in (now.day, 30, 29, 28):
        try:
            return now.replace(year=index // 12, month=index % 12 + 1, day=min(day, now.day))
        except ValueError:
            continue
    raise ValueError(f"no month lies {months} months before {now}")


def timestamp_text(unix_milliseconds: int) -> str:
    """The wire form of a stored time."""
    seconds, thousandths = divmod(unix_milliseconds, 1000)
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}{f'.{thousandths:03d}' if thousandths else ''}Z"


def _bad_name(field: str, value: str) -> BadEvent:
    if not value:
        return BadEvent(field, f"{field} must not be empty")
    return BadEvent(field, f"{field} may have at most {NAME_CHARACTERS} characters; got {len(value)}")


def all_carried(properties: dict[str, Any]) -> bool:
    """Whether the store reads all values as they are."""
    for value in properties.values():
        kind = type(value)
        if kind not in _CARRIED and not (kind is int and INTEGER_MIN <= value <= INTEGER_MAX):
            return False
    return True


def properties_text(properties: dict[str, Any] | None) -> str:
    """Properties as they are stored. Raises BadEvent."""
    if not properties:
        return "{}"
    if not all_carried(properties):
        properties = {key: _exact_integer(value, 1) for key, value in properties.items()}
    encoded = _encoder.encode(properties)
    if len(encoded) > EVENT_BYTES:
        raise BadEvent("properties", f"properties may have at most {EVENT_BYTES} bytes of JSON; got {len(encoded)}")
    return encoded.decode()


def _exact_integer(value: Any, depth: int) -> Any:
    # Integers beyond 64 bits would be read as doubles, too.
    kind = type(value)
    if kind is int:
        return value if INTEGER_MIN <= value <= INTEGER_MAX else str(value)
    if kind is dict or kind is list:
        if depth >= DEPTH:
            raise BadEvent("properties", f"properties may be nested {DEPTH} levels deep")
        if kind is dict:
            return {key: _exact_integer(item, depth + 1) for key, item in value.items()}
        return [_exact_integer(item, depth + 1) for item in value]
    return value


def _bad_field(error: msgspec.ValidationError, where: str) -> BadEvent:
    text = str(error)
    if missing := re.match(r"Object missing required field `([^`]+)`", text):
        return BadEvent(missing.group(1), f"{missing.group(1)} is required")
    path = _PATH.search(text)
    field = path.group(1) if path else where
    reason = _PATH.sub("", text).replace("`", "")
    return BadEvent(field, f"{field or 'an event'}: {reason[0].lower()}{reason[1:]}")
