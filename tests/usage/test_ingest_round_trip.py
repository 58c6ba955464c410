"""Whatever the wire accepts, the envelope carries and ClickHouse stores, letter by letter: nothing turns to poison."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event, Placed, decode_envelope, encode_envelope
from activities.ingestion.sink import Sink
from models.scope import Scope
from starter.ingest.app import stamped
from starter.ingest.whole import read_whole, stamped_whole
from starter.ingest.wire import BadEvent, TimeLimits, parse_bulk, parse_event

NOW = datetime(2025, 12, 2, 10, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
TIMES = st.integers(0, 5 * 365 * 86_400_000).map(lambda ms: (NOW - timedelta(milliseconds=ms - 10**8)).isoformat())
SENT = st.fixed_dictionaries(
    {"event_name": TEXT, "external_customer_id": TEXT},
    optional={
        "event_id": TEXT | st.none(),
        "timestamp": TIMES,
        "source": TEXT,
        "properties": st.dictionaries(TEXT, VALUES),
    },
)


def accepted(sent: dict[str, Any], ascii_only: bool, scope: Scope) -> Event | None:
    """The event as it is stamped, or None where the wire refuses it."""
    raw = json.dumps(sent, ensure_ascii=ascii_only).encode()
    try:
        event = stamped(scope, parse_event(raw), TimeLimits(NOW))
    except BadEvent:
        return None
    [(_, again)], bad, _ = parse_bulk(b'{"events":[' + raw + b"]}")
    assert not bad
    assert stamped(scope, again, TimeLimits(NOW)).properties == event.properties, "single and bulk agree"
    whole = read_whole(b'{"events":[' + raw + b"]}")
    if whole is not None and (found := stamped_whole(scope, whole, TimeLimits(NOW))) is not None:
        assert found[0].properties == event.properties, "read as a whole or one by one"
    return event


@given(st.lists(st.tuples(SENT, st.booleans()), min_size=1, max_size=60))
@settings(max_examples=15, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_accepted_is_stored(
    usage_store: ClickHouseConnection, sent: list[tuple[dict[str, Any], bool]]
) -> None:
    scope = Scope(f"tenant_{uuid.uuid4().hex}", "env_1")
    found = [accepted(each, ascii_only, scope) for each, ascii_only in sent]
    events = [
        msgspec.structs.replace(event, event_id=f"{number}:{event.event_id}"[:255])
        for number, event in enumerate(each for each in found if each is not None)
    ]
    good, bad = decode_envelope(encode_envelope(events))
    assert (good, bad) == (events, [])

    await Sink(usage_store).store([Placed(event, 1, 1) for event in good], 1)

    columns = "event_id, external_customer_id, event_name, toUnixTimestamp64Milli(timestamp), source, properties"
    rows = await usage_store.query(
        f"SELECT {columns} FROM events FINAL WHERE tenant_id = {{tenant:String}}", {"tenant": scope.tenant_id}
    )
    expected = {
        (one.event_id, one.external_customer_id, one.event_name, one.timestamp, one.source, one.properties)
        for one in events
    }
    assert {tuple(row) for row in rows} == expected
