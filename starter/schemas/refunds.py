"""Refunds and disputes on the wire. Their answers are `activities/refund_payloads`: webhooks carry the same."""

from typing import Annotated, Literal

from pydantic import Field

from activities.refunds import NewRefund
from models.queries.refunds import RefundFilter
from starter.schemas.wire import DecimalIn, ListParams, Metadata, Request, ShortText

Reason = Literal["DUPLICATE", "FRAUDULENT", "REQUESTED_BY_CUSTOMER", "ORDER_CHANGE", "SERVICE_ISSUE", "OTHER"]


class CreateRefundRequest(Request):
    """Gives back a payment, or a part of it; the amount defaults to all that is left."""

    amount: Annotated[DecimalIn, Field(gt=0, examples=["10.5"])] | None = None
    reason: Reason = "REQUESTED_BY_CUSTOMER"
    idempotency_key: ShortText | None = None
    metadata: Metadata = Field(default={})

    def new_refund(self) -> NewRefund:
        """What is asked for."""
        return NewRefund(self.amount, self.reason, self.idempotency_key, self.metadata)


class RefundListParams(ListParams):
    """Filters of GET /refunds; `only_settled` leaves those whose money has gone back."""

    invoice_ids: list[ShortText] | None = None
    payment_ids: list[ShortText] | None = None
    refund_statuses: list[ShortText] | None = None
    refund_destinations: list[ShortText] | None = None
    gateway: ShortText | None = None
    only_settled: bool = False

    def wanted(self) -> RefundFilter:
        """The filter for the query."""
        statuses = ["SUCCEEDED"] if self.only_settled else self.refund_statuses
        return RefundFilter(self.invoice_ids, self.payment_ids, statuses, self.refund_destinations, self.gateway)
