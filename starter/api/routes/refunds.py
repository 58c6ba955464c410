"""Refunds of payments, and the disputes that providers report."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from activities.refund_payloads import dispute_payload, refund_payload
from activities.refunds import cancel_refund, create_refund, retry_refund
from models.queries.refunds import get_dispute, get_refund, list_disputes, list_refunds
from starter.api.context import CallerNow, Now, Session
from starter.api.routes.shared import bodies_answer
from starter.api.transactions import TransactionRoute
from starter.schemas.refunds import CreateRefundRequest, RefundListParams
from starter.schemas.wire import ListParams, json_answer

router = APIRouter(tags=["refunds"], route_class=TransactionRoute)


@router.post("/payments/{payment_id}/refund", status_code=201, summary="Give a payment back")
async def create(
    payment_id: str, caller: CallerNow, session: Session, now: Now, body: CreateRefundRequest | None = None
) -> Response:
    """In whole or in part, the way it came; what was received outside a provider is booked as given back.

    The provider works on it afterwards: `refund_status` and the webhooks `refund.succeeded` and `refund.failed` tell.
    """
    new = (body or CreateRefundRequest()).new_refund()
    row = await create_refund(session, caller.scope, payment_id, new, now, caller.key_id)
    return json_answer(refund_payload(row), 201)


@router.get("/refunds", summary="List refunds")
async def list_all(params: Annotated[RefundListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_refunds(session, caller.scope, params.page(), params.wanted())
    return bodies_answer([refund_payload(row) for row in rows], total, params)


@router.get("/refunds/{refund_id}", summary="Get a refund")
async def get(refund_id: str, session: Session) -> Response:
    """The refund as it stands."""
    return json_answer(refund_payload(await get_refund(session, refund_id)))


@router.post("/refunds/{refund_id}/retry", summary="Try a failed refund again")
async def retry(refund_id: str, session: Session) -> Response:
    """As a new request to the provider."""
    return json_answer(refund_payload(await retry_refund(session, refund_id)))


@router.post("/refunds/{refund_id}/cancel", summary="Give a failed refund up")
async def cancel(refund_id: str, session: Session, now: Now) -> Response:
    """The money went back in another way, or stays: nobody tries any more."""
    return json_answer(refund_payload(await cancel_refund(session, refund_id, now)))


@router.get("/disputes", summary="List disputes")
async def list_all_disputes(params: Annotated[ListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Charges that customers have taken to their bank, newest first."""
    rows, total = await list_disputes(session, caller.scope, params.page())
    return bodies_answer([dispute_payload(row) for row in rows], total, params)


@router.get("/disputes/{dispute_id}", summary="Get a dispute")
async def get_one_dispute(dispute_id: str, session: Session) -> Response:
    """The dispute as the provider last reported it; evidence is given at the provider."""
    return json_answer(dispute_payload(await get_dispute(session, dispute_id)))
