"""Invoices and payments on the wire. Their answers are `activities/payloads`: webhooks carry the same."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.queries.invoice_lists import InvoiceFilter
from models.queries.payment_lists import PaymentFilter
from starter.schemas.wire import (
    Currency,
    DecimalIn,
    Ids,
    Instant,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    Text,
)


class InvoiceListParams(ListParams):
    """Filters of GET /invoices."""

    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    subscription_id: ShortText | None = None
    invoice_number: ShortText | None = None
    invoice_status: list[ShortText] | None = None
    payment_status: list[ShortText] | None = None
    skip_line_items: bool = False

    def wanted(self, customer_ids: list[str] | None) -> InvoiceFilter:
        """The filter for the query."""
        return InvoiceFilter(
            customer_ids=customer_ids,
            subscription_id=self.subscription_id,
            invoice_number=self.invoice_number,
            invoice_statuses=self.invoice_status,
            payment_statuses=self.payment_status,
        )


class InvoiceSearch(SearchParams):
    """Filters of POST /invoices/search."""

    invoice_ids: Ids | None = None
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    subscription_id: ShortText | None = None
    invoice_type: ShortText | None = None
    invoice_status: Ids | None = None
    payment_status: Ids | None = None
    billing_reason: ShortText | None = None
    currency: Currency | None = None
    amount_due_gt: DecimalIn | None = None
    amount_remaining_gt: DecimalIn | None = None
    period_start_gte: Instant | None = None
    period_start_lte: Instant | None = None
    period_end_gte: Instant | None = None
    period_end_lte: Instant | None = None
    finalized_at_gte: Instant | None = None
    voided_at_gte: Instant | None = None
    skip_line_items: bool = False

    def wanted(self, customer_ids: list[str] | None) -> InvoiceFilter:
        """The filter for the query."""
        return InvoiceFilter(
            invoice_ids=self.invoice_ids,
            customer_ids=customer_ids,
            subscription_id=self.subscription_id,
            invoice_type=self.invoice_type,
            billing_reason=self.billing_reason,
            currency=self.currency,
            invoice_statuses=self.invoice_status,
            payment_statuses=self.payment_status,
            amount_due_above=self.amount_due_gt,
            amount_remaining_above=self.amount_remaining_gt,
            period_start_from=self.period_start_gte,
            period_start_to=self.period_start_lte,
            period_end_from=self.period_end_gte,
            period_end_to=self.period_end_lte,
            finalized_from=self.finalized_at_gte,
            voided_from=self.voided_at_gte,
        )


class VoidInvoiceRequest(Request):
    """Why the invoice is voided."""

    reason: Text = ""
    metadata: Metadata = Field(default={})


class UpdatePaymentStatusRequest(Request):
    """Records a payment that was received outside a provider; the amount defaults to all that remains."""

    payment_status: Literal["SUCCEEDED"]
    amount: DecimalIn | None = None


class CreatePaymentRequest(Request):
    """A payment towards an invoice: OFFLINE records what was received, CARD charges the customer's payment method."""

    absent: ClassVar[dict[str, str]] = {
        "payment_method_id": "the subscription's or the customer's payment method is charged",
        "gateway_options": "providers take no options",
        "success_url": "there are no payment pages",
        "cancel_url": "there are no payment pages",
        "save_card_and_make_default": "cards are saved at the provider",
    }
    destination_type: Literal["INVOICE"]
    destination_id: Name
    payment_method_type: Literal["OFFLINE", "CARD"]
    amount: Annotated[DecimalIn, Field(gt=0)]
    currency: Currency
    idempotency_key: ShortText | None = None
    payment_gateway: ShortText | None = None
    process_payment: Literal[True] = True
    metadata: Metadata = Field(default={})


class PaymentListParams(ListParams):
    """Filters of GET /payments."""

    payment_ids: list[ShortText] | None = None
    destination_type: ShortText | None = None
    destination_id: ShortText | None = None
    customer_id: ShortText | None = None
    payment_method_type: ShortText | None = None
    payment_status: ShortText | None = None
    payment_gateway: ShortText | None = None
    gateway_payment_id: ShortText | None = None
    currency: Currency | None = None

    def wanted(self) -> PaymentFilter:
        """The filter for the query."""
        names: Any = PaymentFilter.__dataclass_fields__
        return PaymentFilter(**{name: getattr(self, name) for name in names})
