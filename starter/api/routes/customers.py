"""Customers: create, read, search, change, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from activities.customers import create_customer, delete_customer, update_customer
from billing.errors import Invalid
from models.queries.customers import get_customer, get_customer_by_external_id, list_customers
from starter.api.context import CallerNow, Now, Session, providers_of
from starter.api.transactions import TransactionRoute
from starter.schemas.customers import (
    CreateCustomerRequest,
    CustomerAnswer,
    CustomerListParams,
    CustomerSearch,
    UpdateCustomerRequest,
)
from starter.schemas.wire import json_answer, list_answer

router = APIRouter(prefix="/customers", tags=["customers"], route_class=TransactionRoute)


@router.post("", status_code=201, response_model=CustomerAnswer, summary="Create a customer")
async def create(
    body: CreateCustomerRequest, request: Request, caller: CallerNow, session: Session, now: Now
) -> Response:
    """A taken `external_id` answers 409. `tax_rate_overrides` attaches tax rates by their code."""
    row = await create_customer(session, caller.scope, body.new_customer(providers_of(request)), now, caller.key_id)
    return json_answer(CustomerAnswer.of(row), 201)


@router.get("", summary="List customers")
async def list_all(params: Annotated[CustomerListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_customers(session, caller.scope, params.page(), params.wanted())
    return list_answer(map(CustomerAnswer.of, rows), total, params)


@router.post("/search", summary="Search customers")
async def search(body: CustomerSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    rows, total = await list_customers(session, caller.scope, body.page(), body.wanted())
    return list_answer(map(CustomerAnswer.of, rows), total, body)


@router.put("", response_model=CustomerAnswer, summary="Change a customer, found by id or external id")
async def update_by_query(
    body: UpdateCustomerRequest, request: Request, caller: CallerNow, session: Session, now: Now, id: str | None = None,
    external_customer_id: str | None = None,
) -> Response:  # fmt: skip
    """Exactly one of `id` and `external_customer_id` names the customer."""
    if (id is None) == (external_customer_id is None):
        raise Invalid("exactly one of id and external_customer_id must be given in the query string", field="id")
    if external_customer_id is not None:
        id = (await get_customer_by_external_id(session, caller.scope, external_customer_id)).id
    row = await update_customer(session, caller.scope, id or "", body.change(providers_of(request)), now, caller.key_id)
    return json_answer(CustomerAnswer.of(row))


@router.get("/external/{external_id:path}", response_model=CustomerAnswer, summary="Get a customer by external id")
async def get_by_external_id(external_id: str, caller: CallerNow, session: Session) -> Response:
    """The customer that you know under this id."""
    return json_answer(CustomerAnswer.of(await get_customer_by_external_id(session, caller.scope, external_id)))


@router.get("/lookup/{external_id:path}", response_model=CustomerAnswer, summary="Get a customer by external id (old)")
async def get_by_lookup_key(external_id: str, caller: CallerNow, session: Session) -> Response:
    """The path that older clients use."""
    return json_answer(CustomerAnswer.of(await get_customer_by_external_id(session, caller.scope, external_id)))


@router.get("/{customer_id}", response_model=CustomerAnswer, summary="Get a customer")
async def get(customer_id: str, caller: CallerNow, session: Session) -> Response:
    """The customer with this id."""
    return json_answer(CustomerAnswer.of(await get_customer(session, caller.scope, customer_id)))


@router.put("/{customer_id}", response_model=CustomerAnswer, summary="Change a customer")
async def update(
    customer_id: str, body: UpdateCustomerRequest, request: Request, caller: CallerNow, session: Session, now: Now
) -> Response:
    """Fields that are left out stay as they are."""
    change = body.change(providers_of(request))
    row = await update_customer(session, caller.scope, customer_id, change, now, caller.key_id)
    return json_answer(CustomerAnswer.of(row))


@router.delete("/{customer_id}", status_code=204, summary="Delete a customer")
async def delete(customer_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Refused with 409 while the customer has a live subscription. Invoices stay."""
    await delete_customer(session, caller.scope, customer_id, now, caller.key_id)
    return Response(status_code=204)
