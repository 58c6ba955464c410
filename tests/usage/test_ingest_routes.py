"""The wire of the ingest routes: what is accepted, what is refused and how, and that nothing is half accepted."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
import pytest
import zstandard
from starlette.responses import PlainTextResponse

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event, Placed
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Meter
from billing.periods import Period
from models.scope import Scope
from starter.ingest.app import Ingest
from starter.ingest.bodies import BODY_BYTES, Intake
from starter.ingest.wire import months_before, parse_timestamp
from tests.usage.doubles import NOW, Acceptor, authenticate, clocks_of

EVENT = {
    "event_name": "voice_call",
    "external_customer_id": "cust_ext_1",
    "event_id": "e-1",
    "timestamp": "2025-12-02T10:00:00Z",
    "source": "production",
    "properties": {"duration_seconds": "120", "model": "gpt-4"},
}


@pytest.fixture
def acceptor() -> Acceptor:
    return Acceptor()


@pytest.fixture
async def client(acceptor: Acceptor) -> AsyncIterator[httpx.AsyncClient]:
    app = Ingest(PlainTextResponse("the rest"), acceptor, authenticate, clocks_of)
    transport = httpx.ASGITransport(app)
    headers = {"x-api-key": "sk_known"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as made:
        yield made


async def post(client: httpx.AsyncClient, body: Any, path: str = "/v1/events", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(path, content=content, headers=headers)


async def test_one_event(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    answer = await post(client, EVENT, **{"X-Request-ID": "r-1"})
    assert answer.status_code == 202
    assert answer.json() == {"message": "Event accepted for processing", "event_id": "e-1"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "r-1"
    (event,) = acceptor.events
    assert (event.tenant_id, event.environment_id, event.external_customer_id) == ("tenant_1", "env_1", "cust_ext_1")
    assert event.timestamp == 1764669600000
    assert event.accepted_at == 1764669600123
    assert (event.source, event.properties) == ("production", '{"duration_seconds":"120","model":"gpt-4"}')


async def test_id_and_time_are_stamped_when_missing(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    answer = await post(
        client, {"event_name": " call ", "external_customer_id": "c", "event_id": "", "timestamp": None}
    )
    event = acceptor.events[0]
    assert answer.json()["event_id"] == event.event_id
    assert event.event_id.startswith("event_")
    assert len(event.event_id) == len("event_") + 26
    assert (event.timestamp, event.event_name, event.properties) == (event.accepted_at, "call", "{}")


async def test_bulk(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    events = [EVENT | {"event_id": f"e-{number}"} for number in range(1000)]
    answer = await post(client, {"events": events}, "/v1/events/bulk")
    assert answer.status_code == 202
    assert answer.json() == {"message": "Events accepted for processing"}
    assert [event.event_id for event in acceptor.events] == [f"e-{number}" for number in range(1000)]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_packed_bodies(client: httpx.AsyncClient, acceptor: Acceptor, encoding: str) -> None:
    plain = json.dumps(EVENT).encode()
    packed = gzip.compress(plain) if encoding == "gzip" else zstandard.ZstdCompressor().compress(plain)
    assert (await post(client, packed, **{"Content-Encoding": encoding})).status_code == 202
    for spoiled in (packed[:-5], b"{}", packed[:3]):
        answer = await post(client, spoiled, **{"Content-Encoding": encoding})
        assert answer.status_code == 400, spoiled
    assert len(acceptor.events) == 1
    assert (await post(client, plain, **{"Content-Encoding": "br"})).status_code == 400


async def test_bodies_over_the_limit(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    large = b'{"events":[' + b" " * BODY_BYTES + b"]}"
    bombs = {"gzip": gzip.compress(large), "zstd": zstandard.ZstdCompressor().compress(large)}
    answers = [
        await post(client, large),
        *[await post(client, bomb, **{"Content-Encoding": name}) for name, bomb in bombs.items()],
    ]
    assert [answer.status_code for answer in answers] == [413, 413, 413]
    assert answers[0].json()["code"] == "payload_too_large"
    assert not acceptor.events


async def test_what_waits_for_an_answer_is_bounded(acceptor: Acceptor) -> None:
    """While a broker stalls under a flood, what is too much is told to come back; what waits is accepted in the end."""
    may_go_on = asyncio.Event()

    class Stalled(Acceptor):
        async def accept(self, events: Sequence[Event]) -> None:
            await may_go_on.wait()
            await super().accept(events)

    stalled = Stalled()
    app = Ingest(PlainTextResponse("the rest"), stalled, authenticate, clocks_of, intake=Intake(10_000))
    transport, headers = httpx.ASGITransport(app), {"x-api-key": "sk_known"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        events = [EVENT | {"event_id": f"e-{number}", "properties": {"x": "y" * 1500}} for number in range(20)]
        waiting = [asyncio.create_task(post(client, event)) for event in events]
        refused, waiting_on = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        while len(refused) < 15:
            more, waiting_on = await asyncio.wait(waiting_on, return_when=asyncio.FIRST_COMPLETED)
            refused |= more
        answers = [one.result() for one in refused]
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "1")}
        may_go_on.set()
        assert {(await one).status_code for one in waiting_on} == {202}
        assert len(stalled.events) == 5
        assert (await post(client, EVENT | {"properties": {"x": "y" * 20_000}})).status_code == 202, "alone"
        packed = gzip.compress(json.dumps(EVENT | {"properties": {"x": "y" * 9000}}).encode())
        may_go_on.clear()
        first = asyncio.create_task(post(client, packed, **{"Content-Encoding": "gzip"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert (await post(client, events[0])).status_code == 503, "unpacked it holds more"
        may_go_on.set()
        assert (await first).status_code == 202


BAD = [
    ({"event_name": None}, "event_name"),
    ({"event_name": "  "}, "event_name"),
    ({"event_name": 5}, "event_name"),
    ({"external_customer_id": ""}, "external_customer_id"),
    ({"external_customer_id": "x" * 256}, "external_customer_id"),
    ({"event_id": "x" * 256}, "event_id"),
    ({"event_id": 7}, "event_id"),
    ({"timestamp": ""}, "timestamp"),
    ({"timestamp": "yesterday"}, "timestamp"),
    ({"timestamp": 1764669600}, "timestamp"),
    ({"timestamp": "2025-12-02"}, "timestamp"),
    ({"timestamp": "2025-12-02T10:00:00"}, "timestamp"),
    ({"timestamp": "2025-13-02T10:00:00Z"}, "timestamp"),
    ({"timestamp": "2025-12-03T10:00:00.124Z"}, "timestamp"),
    ({"timestamp": "2022-11-02T10:00:00.123Z"}, "timestamp"),
    ({"timestamp": "0001-01-01T00:00:00+23:59"}, "timestamp"),
    ({"source": 1}, "source"),
    ({"source": "x" * 256}, "source"),
    ({"properties": []}, "properties"),
    ({"properties": {"a": "x" * 300_000}}, "properties"),
]


@pytest.mark.parametrize(("change", "field"), BAD)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, acceptor: Acceptor, change: dict[str, Any], field: str
) -> None:
    answer = await post(client, EVENT | change)
    body = answer.json()
    assert answer.status_code == body["http_status_code"] == 400
    assert body["code"] == "validation_error"
    assert body["details"]["field"] == field
    assert field in body["message"]
    assert body["success"] is False
    assert body["error"] == {"message": body["message"], "details": body["details"]}
    assert not acceptor.events


async def test_a_bulk_with_bad_events_accepts_nothing_and_names_each(
    client: httpx.AsyncClient, acceptor: Acceptor
) -> None:
    events = [EVENT | {"event_id": f"e-{number}"} for number in range(10)]
    events[3] = {"event_name": "voice_call"}
    events[7] = EVENT | {"timestamp": "2031-01-01T00:00:00Z"}
    events[9] = "text"  # type: ignore[call-overload]
    answer = await post(client, {"events": events}, "/v1/events/bulk")
    assert answer.status_code == 400
    errors = answer.json()["details"]["errors"]
    assert [(error["index"], error["field"]) for error in errors] == [
        (3, "external_customer_id"),
        (7, "timestamp"),
        (9, ""),
    ]
    assert answer.json()["message"] == "3 of 10 events are not valid (index 3, 7, 9); nothing was accepted"
    assert not acceptor.events


@pytest.mark.parametrize("body", [{"events": []}, {"events": [EVENT] * 1001}, {}, [], {"events": {}}])
async def test_a_bulk_holds_1_to_1000_events(client: httpx.AsyncClient, acceptor: Acceptor, body: Any) -> None:
    answer = await post(client, body, "/v1/events/bulk")
    assert answer.status_code == 400
    assert answer.json()["code"] == "validation_error"
    assert not acceptor.events


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/bulk"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"events":[{"event_name":"\xff"}],"event_name":"\xff"}', b'{"events":[{]}', b"nan"]
)
async def test_malformed_json(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await post(client, body, path)
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid request format"


async def test_the_limits_of_time_follow_the_customers_clock(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    past = EVENT | {"external_customer_id": "past-1"}
    assert (await post(client, past | {"timestamp": "2020-05-02T00:00:00Z"})).status_code == 202
    assert (await post(client, past | {"timestamp": "2020-05-02T00:00:00.001Z"})).status_code == 400
    assert (await post(client, past | {"timestamp": "2017-04-01T00:00:00Z"})).status_code == 202
    assert (await post(client, past | {"timestamp": "2017-03-31T23:59:59.999Z"})).status_code == 400
    assert {event.accepted_at for event in acceptor.events} == {1588291200000}


async def test_no_acknowledgement_is_503_with_the_stamps(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    acceptor.down = True
    answer = await post(client, {"event_name": "call", "external_customer_id": "c"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    details = answer.json()["details"]
    assert details["event_id"].startswith("event_")
    assert details["timestamp"] == "2025-12-02T10:00:00.123Z"
    bulk = await post(client, {"events": [EVENT, EVENT | {"event_id": None}]}, "/v1/events/bulk")
    assert bulk.status_code == 503
    stamps = bulk.json()["details"]["events"]
    assert stamps[0] == {"event_id": "e-1", "timestamp": "2025-12-02T10:00:00Z"}
    assert stamps[1]["event_id"].startswith("event_")


async def test_a_clock_that_cannot_be_read_is_503(acceptor: Acceptor) -> None:
    async def unknown(
        tenant_id: str, environment_id: str, external_customer_ids: Collection[str]
    ) -> Mapping[str, datetime]:
        raise IngestUnavailable("the customer's clock cannot be read", 3)

    app = Ingest(PlainTextResponse("the rest"), acceptor, authenticate, unknown)
    headers = {"x-api-key": "sk_known"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        for answer in (await post(client, EVENT), await post(client, {"events": [EVENT]}, "/v1/events/bulk")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert acceptor.events == []


async def test_who_may_not_and_what_is_not_ours(client: httpx.AsyncClient, acceptor: Acceptor) -> None:
    answer = await post(client, EVENT, **{"x-api-key": "sk_other"})
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")
    assert (await client.get("/v1/events")).text == "the rest"
    assert (await post(client, EVENT, "/v1/events/usage")).text == "the rest"
    assert not acceptor.events


def test_a_fraction_beyond_the_sixth_digit_is_cut() -> None:
    assert parse_timestamp("2025-12-31T23:59:59.999999999Z").isoformat() == "2025-12-31T23:59:59.999999+00:00"
    assert parse_timestamp("2025-12-31t23:59:59z") == parse_timestamp("2026-01-01T05:29:59+05:30")


def test_months_before_ends_at_the_month() -> None:
    assert months_before(NOW.replace(month=3, day=31), 37).isoformat()[:10] == "2022-02-28"
    assert months_before(NOW.replace(month=1, day=15), 37).isoformat()[:10] == "2021-12-15"


NUMBERS = """{"properties":{"fine":0.1,"plain":2.50,"long":12345678901234567.891,"tiny":1e-320,"vast":1e400,"e":12e2,
"integer":9007199254740993,"beyond":340282366920938463463374607431768211456,"deep":{"n":[1e400,0.30000000000000004]}},
"event_name":"call","external_customer_id":"c","event_id":"n-1"}"""


async def test_numbers_keep_every_digit_to_the_sum(
    client: httpx.AsyncClient, acceptor: Acceptor, usage_store: ClickHouseConnection
) -> None:
    assert (await post(client, NUMBERS.encode())).status_code == 202
    assert acceptor.events[0].properties == (
        '{"fine":0.1,"plain":2.50,"long":"12345678901234567.891","tiny":"1e-320","vast":"1e400","e":1.2E+3,'
        '"integer":9007199254740993,"beyond":"340282366920938463463374607431768211456",'
        '"deep":{"n":["1e400","0.30000000000000004"]}}'
    )
    await Sink(usage_store).store([Placed(acceptor.events[0], 0, 1)], 1)
    names = ["fine", "plain", "long", "tiny", "vast", "e", "integer", "beyond"]
    meters = [Meter(name, name, "call", AggregationType.SUM, name) for name in names]
    period = Period(NOW.replace(year=2025, month=1), NOW.replace(year=2026))
    found = await UsageReader(usage_store).read(Scope("tenant_1", "env_1"), "c", meters, period)
    assert {name: (str(usage.quantity), usage.rejected_values) for name, usage in found.items()} == {
        "fine": ("0.1", 0),
        "plain": ("2.5", 0),
        "long": ("12345678901234567.891", 0),
        "tiny": ("0", 0),
        "vast": ("0", 1),
        "e": ("1200", 0),
        "integer": ("9007199254740993", 0),
        "beyond": ("0", 1),
    }


@pytest.mark.parametrize("depth", [40, 500, 100_000])
async def test_nesting(client: httpx.AsyncClient, acceptor: Acceptor, depth: int) -> None:
    body = (
        b'{"event_name":"call","external_customer_id":"c","properties":{"deep":' + b"[" * depth + b"]" * depth + b"}}"
    )
    answers = [await post(client, body), await post(client, b'{"events":[' + body + b"]}", "/v1/events/bulk")]
    assert [answer.status_code for answer in answers] == [202 if depth == 40 else 400] * 2
    assert len(acceptor.events) == (2 if depth == 40 else 0)


async def test_a_number_beyond_every_range_is_refused_or_kept(client: httpx.AsyncClient) -> None:
    body = json.dumps(EVENT).encode().replace(b'"120"', b"1e99999999999999999999999")
    assert (await post(client, body)).status_code == 400
