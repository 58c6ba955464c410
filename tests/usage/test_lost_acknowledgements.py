"""A broker whose acknowledgement is lost: 503 with the stamps, by which a retry counts once. And what records are."""

import asyncio
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import Consumer
from starlette.responses import PlainTextResponse

from activities.adapters import kafka_producer
from activities.adapters.clickhouse import migrate_clickhouse
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.events import ENVELOPE_EVENTS, customer_key, decode_envelope
from starter.ingest.app import Ingest
from tests.parts import Parts
from tests.usage.doubles import authenticate, clocks_of
from tests.usage.test_kafka_faults import consuming, event, settings_for, settles

BARE: dict[str, Any] = {"event_name": "call", "external_customer_id": "c-1", "properties": {"n": "1"}}


async def test_a_retry_with_the_stamps_of_a_503_counts_once(
    parts: Parts, new_clickhouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "ACKNOWLEDGED_WITHIN_MS", 2000)
    await migrate_clickhouse(new_clickhouse_dsn)
    kafka = parts.start("kafka")
    settings = KafkaSettings(kafka.running.url, partitions=3)
    await ensure_topics(settings)
    log = KafkaEventLog(settings)
    await log.start()
    transport = httpx.ASGITransport(Ingest(PlainTextResponse("the rest"), log, authenticate, clocks_of))
    headers = {"x-api-key": "sk_known"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=60) as client:
        assert (await client.post("/v1/events", json=BARE)).status_code == 202
        broker = psutil.Process(kafka.running.pid)
        broker.suspend()
        single, bulk = await asyncio.gather(
            client.post("/v1/events", json=BARE), client.post("/v1/events/bulk", json={"events": [BARE, BARE]})
        )
        broker.resume()  # and takes what was sent to it after all
        assert (single.status_code, bulk.status_code) == (503, 503)
        assert int(single.headers["retry-after"]) > 0
        stamps = [single.json()["details"], *bulk.json()["details"]["events"]]
        assert len({stamp["event_id"] for stamp in stamps}) == 3
        again = {"events": [BARE | stamp for stamp in stamps]}
        assert (await client.post("/v1/events/bulk", json=again)).status_code == 202
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    await log.close()
    print(f"3 events without an acknowledgement, sent again: {totals.duplicates} of them had been stored after all")
    assert totals.stored == 4


async def test_what_a_record_is(kafka_brokers: str) -> None:
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    log = KafkaEventLog(settings)
    await log.start()
    old = [event(number, f"customer-{number % 50}") for number in range(5000)]  # of December 2025
    await asyncio.gather(*(log.accept(old[at : at + 1000]) for at in range(0, 5000, 1000)))
    await log.accept([event(9000 + number, size=200_000) for number in range(20)])
    await log.close()
    reader = Consumer(settings.common(group_id="reader", auto_offset_reset="earliest"))
    reader.subscribe([settings.topic])
    found = 0
    while found < 5020:
        for message in await asyncio.to_thread(reader.consume, 100, 5):
            assert message.error() is None
            events, bad = decode_envelope(message.value() or b"")
            assert not bad
            assert 1 <= len(events) <= ENVELOPE_EVENTS
            assert len(message.value() or b"") < 1_000_000
            assert {zlib.crc32(customer_key(one)) % settings.partitions for one in events} == {message.partition()}
            assert message.key() == customer_key(events[0])
            # Retention counts from when it was accepted: an old event time would have it deleted at once.
            at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            assert timedelta(minutes=-1) < datetime.now(UTC) - at < timedelta(minutes=5)
            found += len(events)
    reader.close()
