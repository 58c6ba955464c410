"""Tax rates, and which customer or subscription they are attached to."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.tax_rates import (
    NewTaxAssociation,
    attach_tax_rate,
    check_behavior,
    create_tax_rate,
    delete_tax_association,
    delete_tax_rate,
    update_tax_association,
    update_tax_rate,
)
from billing.errors import Invalid
from models.queries.customers import get_customer, get_customer_by_external_id
from models.queries.subscriptions import get_subscription
from models.queries.tax_rates import (
    find_tax_rate_by_code,
    find_tax_rates,
    get_tax_association,
    get_tax_rate,
    list_tax_associations,
    list_tax_rates,
)
from models.tables import TaxAssociationRow
from starter.api.context import Caller, CallerNow, Now, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.tax_rates import (
    CreateTaxAssociationRequest,
    CreateTaxRateRequest,
    TaxAssociationAnswer,
    TaxAssociationListParams,
    TaxRateAnswer,
    TaxRateListParams,
    UpdateTaxAssociationRequest,
    UpdateTaxRateRequest,
)
from starter.schemas.wire import json_answer, list_answer

router = APIRouter(prefix="/taxes", tags=["taxes"], route_class=TransactionRoute)


@router.post("/rates", status_code=201, response_model=TaxRateAnswer, summary="Create a tax rate")
async def create(body: CreateTaxRateRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """`percentage_value` 18 means 18 %."""
    row = await create_tax_rate(session, caller.scope, body.new_tax_rate(), now, caller.key_id)
    return json_answer(TaxRateAnswer.of(row), 201)


@router.get("/rates", summary="List tax rates")
async def list_all(params: Annotated[TaxRateListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_tax_rates(
        session, caller.scope, params.page(), params.taxrate_ids, params.taxrate_codes, params.scope
    )
    return list_answer(map(TaxRateAnswer.of, rows), total, params)


@router.get("/rates/{tax_rate_id}", response_model=TaxRateAnswer, summary="Get a tax rate")
async def get(tax_rate_id: str, caller: CallerNow, session: Session) -> Response:
    """The tax rate with this id."""
    return json_answer(TaxRateAnswer.of(await get_tax_rate(session, caller.scope, tax_rate_id)))


@router.put("/rates/{tax_rate_id}", response_model=TaxRateAnswer, summary="Change a tax rate")
async def update(
    tax_rate_id: str, body: UpdateTaxRateRequest, caller: CallerNow, session: Session, now: Now
) -> Response:
    """Names, and whether it is applied. What it takes never changes: create another and attach that."""
    row = await update_tax_rate(session, caller.scope, tax_rate_id, body.change(), now, caller.key_id)
    return json_answer(TaxRateAnswer.of(row))


@router.delete("/rates/{tax_rate_id}", status_code=204, summary="Delete a tax rate")
async def delete(tax_rate_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """No later invoice applies it."""
    await delete_tax_rate(session, caller.scope, tax_rate_id, now, caller.key_id)
    return Response(status_code=204)


@router.post("/associations", response_model=TaxAssociationAnswer, summary="Attach a tax rate")
async def attach(body: CreateTaxAssociationRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """To a customer (by `entity_id` or `external_customer_id`) or to a subscription. Answers 200, as the reference."""
    rate = await find_tax_rate_by_code(session, caller.scope, body.tax_rate_code)
    if rate is None:
        message = f"tax_rate_code must be the code of an existing tax rate; got {body.tax_rate_code!r}"
        raise Invalid(message, field="tax_rate_code")
    check_behavior(rate, body.tax_behavior, "tax_behavior")
    entity_id = await _entity_id(body, caller, session)
    new = NewTaxAssociation(
        rate, body.entity_type, entity_id, body.currency, body.priority, body.auto_apply, body.metadata, body.start_date
    )
    row = await attach_tax_rate(session, caller.scope, new, now, caller.key_id)
    return json_answer(TaxAssociationAnswer.of(row, rate))


@router.get("/associations", summary="List what tax rates are attached to")
async def list_attached(
    params: Annotated[TaxAssociationListParams, Query()], caller: CallerNow, session: Session
) -> Response:
    """Newest first."""
    entity_type, entity_id = params.entity_type, params.entity_id
    if params.external_customer_id is not None:
        entity_type = "customer"
        entity_id = (await get_customer_by_external_id(session, caller.scope, params.external_customer_id)).id
    rows, total = await list_tax_associations(
        session, caller.scope, params.page(), entity_type, entity_id, params.tax_rate_id
    )
    rates = await find_tax_rates(session, caller.scope, [row.tax_rate_id for row in rows])
    return list_answer([TaxAssociationAnswer.of(row, rates.get(row.tax_rate_id)) for row in rows], total, params)


@router.get("/associations/{association_id}", response_model=TaxAssociationAnswer, summary="Get an association")
async def get_attached(association_id: str, caller: CallerNow, session: Session) -> Response:
    """The association with this id, with its rate."""
    row = await get_tax_association(session, caller.scope, association_id)
    return json_answer(await _answer(row, caller, session))


@router.put("/associations/{association_id}", response_model=TaxAssociationAnswer, summary="Change an association")
async def update_attached(
    association_id: str, body: UpdateTaxAssociationRequest, caller: CallerNow, session: Session, now: Now
) -> Response:
    """Priority, `auto_apply` and metadata."""
    row = await update_tax_association(session, caller.scope, association_id, body.change(), now, caller.key_id)
    if body.tax_behavior is not None:
        check_behavior(await get_tax_rate(session, caller.scope, row.tax_rate_id), body.tax_behavior, "tax_behavior")
    return json_answer(await _answer(row, caller, session))


@router.delete("/associations/{association_id}", response_model=TaxAssociationAnswer, summary="Detach a tax rate")
async def detach(association_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Drafts and later invoices do not apply it any more."""
    row = await delete_tax_association(session, caller.scope, association_id, now, caller.key_id)
    return json_answer(await _answer(row, caller, session))


async def _entity_id(body: CreateTaxAssociationRequest, caller: Caller, session: AsyncSession) -> str:
    """Id of the entity, which must exist."""
    if (body.entity_id is None) == (body.external_customer_id is None):
        raise Invalid("exactly one of entity_id and external_customer_id must be given", field="entity_id")
    if body.external_customer_id is not None:
        if body.entity_type != "customer":
            raise Invalid("external_customer_id goes with entity_type customer only", field="external_customer_id")
        return (await get_customer_by_external_id(session, caller.scope, body.external_customer_id)).id
    if body.entity_type == "customer":
        return (await get_customer(session, caller.scope, body.entity_id or "")).id
    return (await get_subscription(session, body.entity_id or "")).id


async def _answer(row: TaxAssociationRow, caller: Caller, session: AsyncSession) -> TaxAssociationAnswer:
    rates = await find_tax_rates(session, caller.scope, [row.tax_rate_id])
    return TaxAssociationAnswer.of(row, rates.get(row.tax_rate_id))
