"""Subscriptions: create, read, search, cancel."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.business_time import clock_now
from activities.new_subscriptions import create_subscription
from activities.payloads import subscription_payload
from activities.subscriptions import subscription_state
from activities.test_clocks import business_now
from billing.errors import Invalid
from models.queries.catalog import find_plans, prices_of_plans
from models.queries.customers import get_customer, get_customer_by_external_id
from models.queries.invoice_lists import customers_of
from models.queries.subscription_lists import SubscriptionFilter, line_items_of, list_subscriptions
from models.queries.subscriptions import get_subscription
from models.tables import CustomerRow, SubscriptionRow
from starter.api.cancellations import cancellation_answer
from starter.api.context import Caller, CallerNow, Session, clients_of, providers_of
from starter.api.routes.shared import bodies_answer, commands_of, named_customers, start_after_commit
from starter.api.transactions import CommandRoute, TransactionRoute, command_id_of
from starter.schemas.catalog import PlanAnswer
from starter.schemas.customers import CustomerAnswer
from starter.schemas.subscriptions import (
    CancelSubscriptionRequest,
    CreateSubscriptionRequest,
    PaymentMethodRequest,
    SubscriptionListParams,
    SubscriptionSearch,
)
from starter.schemas.wire import ListParams, json_answer

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"], route_class=TransactionRoute)
customer_router = APIRouter(tags=["subscriptions"], route_class=TransactionRoute)
"""Routes below `/customers`; they come before the customers' own."""
commands = APIRouter(prefix="/subscriptions", tags=["subscriptions"], route_class=CommandRoute)


@router.post("", status_code=201, summary="Create a subscription")
async def create(body: CreateSubscriptionRequest, request: Request, caller: CallerNow, session: Session) -> Response:
    """Written down with its first invoice, where that is due at once; its workflow starts right afterwards."""
    customer = await _customer_of(body, caller, session)
    now = await business_now(session, customer.test_clock_id)
    new = body.new_subscription(customer.id, providers_of(request))
    row = await create_subscription(session, caller.scope, new, now)
    await session.flush()
    state, clock = subscription_state(row), await clock_now(session, row.test_clock_id)
    start_after_commit(request, lambda gate: gate.start_subscription(state, clock))
    return json_answer((await _bodies(session, caller, [row]))[0], 201)


@router.get("", summary="List subscriptions")
async def list_all(params: Annotated[SubscriptionListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first, with their line items."""
    ids = await named_customers(session, caller.scope, params.customer_id, params.external_customer_id)
    return await _list(params, params.wanted(ids), caller, session)


@router.post("/search", summary="Search subscriptions")
async def search(body: SubscriptionSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    ids = await named_customers(session, caller.scope, None, body.external_customer_id)
    return await _list(body, body.wanted(ids), caller, session)


@router.get("/{subscription_id}", summary="Get a subscription")
async def get(subscription_id: str, caller: CallerNow, session: Session) -> Response:
    """The subscription with its line items, plan and customer."""
    row = await get_subscription(session, subscription_id)
    params = ListParams(expand="plan,customer")
    return json_answer((await _bodies(session, caller, [row], params))[0])


@router.get("/{subscription_id}/v2", summary="Get a subscription with what `expand` names")
async def get_expanded(subscription_id: str, caller: CallerNow, session: Session, expand: str = "") -> Response:
    """`expand`: plan, customer."""
    row = await get_subscription(session, subscription_id)
    return json_answer((await _bodies(session, caller, [row], ListParams(expand=expand)))[0])


@commands.post("/{subscription_id}/cancel", summary="Cancel a subscription")
async def cancel(
    subscription_id: str, body: CancelSubscriptionRequest, caller: CallerNow, request: Request
) -> Response:
    """`immediate` makes a final invoice of usage and credits; `end_of_period` lets the period run out."""
    row = await commands_of(request).cancel_subscription(
        caller.scope,
        subscription_id,
        body.cancellation_type,
        cancel_at=body.cancel_at,
        proration_behavior=body.proration_behavior,
        final_usage=body.final_usage,
        reason=body.reason,
        command_id=command_id_of(request),
    )
    async with clients_of(request).database.transaction(caller.scope) as session:
        return json_answer(await cancellation_answer(session, caller.scope, row, body))


@commands.put("/{subscription_id}/payment_method", summary="Replace the payment method")
async def change_payment_method(
    subscription_id: str, body: PaymentMethodRequest, caller: CallerNow, request: Request
) -> Response:
    """Ours. Invoices are collected by it from now on; try one that waits by `POST /invoices/{id}/payment/attempt`."""
    row = await commands_of(request).change_payment_method(
        caller.scope,
        subscription_id,
        body.gateway_payment_method_id,
        body.payment_gateway,
        providers_of(request),
        command_id_of(request),
    )
    return json_answer(subscription_payload(row))


@customer_router.get("/customers/external/{external_id}/subscriptions", summary="List a customer's subscriptions")
async def list_of_customer(
    external_id: str, params: Annotated[ListParams, Query()], caller: CallerNow, session: Session
) -> Response:
    """Newest first."""
    customer = await get_customer_by_external_id(session, caller.scope, external_id)
    return await _list(params, SubscriptionFilter(customer_ids=[customer.id]), caller, session)


async def _customer_of(body: CreateSubscriptionRequest, caller: Caller, session: AsyncSession) -> CustomerRow:
    if (body.customer_id is None) == (body.external_customer_id is None):
        raise Invalid("exactly one of customer_id and external_customer_id must be given", field="customer_id")
    if body.customer_id is not None:
        return await get_customer(session, caller.scope, body.customer_id)
    return await get_customer_by_external_id(session, caller.scope, body.external_customer_id or "")


async def _list(params: ListParams, wanted: SubscriptionFilter, caller: Caller, session: AsyncSession) -> Response:
    rows, total = await list_subscriptions(session, caller.scope, params.page(), wanted)
    return bodies_answer(await _bodies(session, caller, rows, params), total, params)


async def _bodies(
    session: AsyncSession, caller: Caller, rows: Sequence[SubscriptionRow], params: ListParams | None = None
) -> list[dict[str, Any]]:
    """The subscriptions with their line items, and with plan and customer where `expand` asks for them."""
    lines = await line_items_of(session, caller.scope, [row.id for row in rows])
    bodies = [subscription_payload(row, lines[row.id]) for row in rows]
    if params is not None and params.expands("plan"):
        plan_ids = [row.plan_id for row in rows]
        plans = await find_plans(session, caller.scope, plan_ids)
        prices = await prices_of_plans(session, caller.scope, plan_ids)
        for row, body in zip(rows, bodies, strict=True):
            body["plan"] = PlanAnswer.of(plans[row.plan_id], prices[row.plan_id]).wire()
    if params is not None and params.expands("customer"):
        customers = await customers_of(session, caller.scope, [row.customer_id for row in rows])
        for row, body in zip(rows, bodies, strict=True):
            body["customer"] = CustomerAnswer.of(customers[row.customer_id]).wire()
    return bodies
