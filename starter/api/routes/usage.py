"""Usage by event name, by meter and by subscription; the list of stored events."""

from dataclasses import replace
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from activities.subscription_usage import read_subscription_usage
from activities.test_clocks import business_now
from activities.usage_analytics import read_usage_analytics
from activities.usage_reader import UsageReader
from billing.meters import Filter, Meter
from models.clickhouse.usage import bucket_window
from models.conversions import meter_from_row
from models.queries.catalog import get_meter
from models.queries.customers import find_customer_by_external_id, get_customer
from starter.api.context import Caller, CallerNow, clients_of, utc_now
from starter.api.transactions import CommandRoute
from starter.clients import required
from starter.schemas.usage import (
    EventsRequest,
    GetUsageByMeterRequest,
    GetUsageBySubscriptionRequest,
    GetUsageRequest,
    SubscriptionUsageAnswer,
    UsageAnswer,
    UsageRequest,
    events_body,
)
from starter.schemas.usage_analytics import UsageAnalyticsRequest, analytics_body
from starter.schemas.wire import json_answer

router = APIRouter(tags=["usage"], route_class=CommandRoute)


@router.post("/events/usage", response_model=UsageAnswer, summary="Usage by event name")
async def by_event_name(body: GetUsageRequest, caller: CallerNow, request: Request) -> Response:
    """Of one customer, or of all. The last seven days where no times are given."""
    return await _usage(body, body.meter(), caller, request)


@router.post("/events/usage/meter", response_model=UsageAnswer, summary="Usage by meter")
async def by_meter(body: GetUsageByMeterRequest, caller: CallerNow, request: Request) -> Response:
    """Counted as on the invoice, bucket by bucket where the meter has buckets; `filters` narrow it further."""
    async with clients_of(request).database.transaction(caller.scope) as session:
        stored = meter_from_row(await get_meter(session, caller.scope, body.meter_id))
    extra = tuple(Filter(key, tuple(values)) for key, values in body.filters.items())
    meter = body.bucketed(replace(stored, filters=(*stored.filters, *extra)))
    return await _usage(body, meter, caller, request)


@router.post("/subscriptions/usage", response_model=SubscriptionUsageAnswer, summary="Usage of a subscription in money")
async def by_subscription(body: GetUsageBySubscriptionRequest, caller: CallerNow, request: Request) -> Response:
    """What its usage lines come to in the current period, rated as the invoice will be."""
    database = clients_of(request).database
    usage = await read_subscription_usage(
        database, _reader(request), caller.scope, body.subscription_id, body.start_time, body.end_time, utc_now()
    )
    return json_answer(SubscriptionUsageAnswer.of(usage))


@router.post("/events/analytics", summary="Usage by feature, window and group, with its cost")
async def analytics(body: UsageAnalyticsRequest, caller: CallerNow, request: Request) -> Response:
    """Exact, as on the invoice. Costs are those of the price, before allowances, commitments, discounts and taxes."""
    _, now, zone = await _customer(caller, request, None, body.external_customer_id)
    question = body.question(caller.scope, body.period(now), body.zone(zone))
    items = await read_usage_analytics(clients_of(request).database, _reader(request), question)
    return json_answer(analytics_body(items, question))


@router.post("/events/query", summary="List stored events")
async def query_events(body: EventsRequest, caller: CallerNow, request: Request) -> Response:
    """Each event once, however often it was sent. Continue by `iter_last_key`, or in front by `iter_first_key`."""
    _, now, _ = await _customer(caller, request, None, body.external_customer_id)
    page = await _reader(request).events(body.query(caller.scope, now))
    return json_answer(events_body(page, caller.scope, body.offset))


async def _usage(body: UsageRequest, meter: Meter, caller: Caller, request: Request) -> Response:
    external_id, now, customers_zone = await _customer(caller, request, body.customer_id, body.external_customer_id)
    period, zone, scope, reader = body.period(now), body.zone(customers_zone), caller.scope, _reader(request)
    window = body.window(period, zone)
    if meter.bucket_size is not None:
        found = await reader.buckets(scope, external_id, [meter], period, zone, body.billing_anchor)
        buckets = window or bucket_window(meter, zone, body.billing_anchor)
        return json_answer(UsageAnswer.bucketed(meter, found[meter.id], buckets))
    if window is None:
        return json_answer(UsageAnswer.total(meter, await reader.total(scope, external_id, meter, period)))
    return json_answer(UsageAnswer.windowed(meter, await reader.windows(scope, external_id, meter, period, window)))


async def _customer(
    caller: Caller, request: Request, customer_id: str | None, external_id: str | None
) -> tuple[str | None, datetime, str]:
    """The customer's external id, the time it lives by and its time zone; the real time and UTC for all customers, or
    unknown ones.
    """
    async with clients_of(request).database.transaction(caller.scope) as session:
        if customer_id is not None:
            row = await get_customer(session, caller.scope, customer_id)
        elif external_id is not None:
            found = await find_customer_by_external_id(session, caller.scope, external_id)
            if found is None:
                return external_id, utc_now(), "UTC"
            row = found
        else:
            return None, utc_now(), "UTC"
        return row.external_id, await business_now(session, row.test_clock_id), row.timezone


def _reader(request: Request) -> UsageReader:
    return required(clients_of(request).usage, "clickhouse")
