"""Credit notes on the wire. Their answers are `activities/credit_note_payloads`: webhooks carry the same."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from activities.credit_notes import NewCreditNote, NoteLine
from billing.credit_notes import CreditNoteReason, CreditNoteType
from models.queries.credit_notes import CreditNoteFilter
from starter.schemas.wire import DecimalIn, Ids, ListParams, Metadata, Request, SearchParams, ShortText, Text

Reason = Literal[
    "DUPLICATE", "FRAUDULENT", "ORDER_CHANGE", "UNSATISFACTORY", "SERVICE_ISSUE", "BILLING_ERROR",
    "SUBSCRIPTION_CANCELLATION",
]  # fmt: skip
AmountIn = Annotated[DecimalIn, Field(gt=0, examples=["10.5"])]
RefundTarget = Literal["PREPAID_WALLET", "BACK_TO_SOURCE"]
BACK_TO_SOURCE = "a credit note gives credit of the wallet; POST /payments/{id}/refund gives a payment back"


class CreditNoteLineRequest(Request):
    """What is credited of a line of the invoice, its tax included."""

    invoice_line_item_id: ShortText
    amount: AmountIn
    display_name: ShortText = ""
    metadata: Metadata = Field(default={})


class CreateCreditNoteRequest(Request):
    """Credits lines of a finalized invoice, or (`amount`, ours) a part of it as a whole.

    Without `credit_note_type` (ours) it is a REFUND of an invoice that is paid, else an ADJUSTMENT. With
    `process_credit_note` it takes effect at once, else it waits as a DRAFT.
    """

    absent: ClassVar[dict[str, str]] = {
        "credit_note_number": "numbers are taken when a note is finalized, without gaps",
    }

    invoice_id: ShortText
    reason: Reason
    line_items: Annotated[list[CreditNoteLineRequest], Field(max_length=1000)] = Field(default=[])
    amount: AmountIn | None = None
    credit_note_type: CreditNoteType | None = None
    memo: Text = ""
    idempotency_key: ShortText | None = None
    metadata: Metadata = Field(default={})
    process_credit_note: bool = True
    refund_target: RefundTarget = "PREPAID_WALLET"

    @model_validator(mode="after")
    def _check(self) -> "CreateCreditNoteRequest":
        if bool(self.line_items) == (self.amount is not None):
            raise PydanticCustomError("lines", "line_items or amount must be given, and not both")
        _check_target(self.refund_target)
        return self

    def new_note(self, key: str | None) -> NewCreditNote:
        """What is asked for; `key` names the intent where the body does not."""
        lines = tuple(
            NoteLine(line.amount, line.invoice_line_item_id, line.display_name, line.metadata)
            for line in self.line_items
        )
        return NewCreditNote(
            self.invoice_id,
            CreditNoteReason(self.reason),
            lines if self.amount is None else (NoteLine(self.amount),),
            self.credit_note_type,
            self.memo,
            self.idempotency_key or key,
            self.metadata,
        )


class FinalizeCreditNoteRequest(Request):
    """Where a refund goes: to the customer's prepaid wallet."""

    refund_target: RefundTarget = "PREPAID_WALLET"

    @model_validator(mode="after")
    def _check(self) -> "FinalizeCreditNoteRequest":
        _check_target(self.refund_target)
        return self


def _check_target(target: str) -> None:
    if target != "PREPAID_WALLET":
        raise PydanticCustomError(
            "refund_target", "refund_target must be PREPAID_WALLET: {why}", {"why": BACK_TO_SOURCE}
        )


class CreditNoteListParams(ListParams):
    """Filters of GET /creditnotes."""

    credit_note_ids: list[ShortText] | None = None
    invoice_id: ShortText | None = None
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    credit_note_number: ShortText | None = None
    credit_note_status: list[ShortText] | None = None
    credit_note_type: ShortText | None = None

    def wanted(self, customer_ids: list[str] | None) -> CreditNoteFilter:
        """The filter for the query."""
        return _filter(self, customer_ids)


class CreditNoteSearch(SearchParams):
    """Filters of POST /creditnotes/search."""

    credit_note_ids: Ids | None = None
    invoice_id: ShortText | None = None
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    credit_note_number: ShortText | None = None
    credit_note_status: Ids | None = None
    credit_note_type: ShortText | None = None

    def wanted(self, customer_ids: list[str] | None) -> CreditNoteFilter:
        """The filter for the query."""
        return _filter(self, customer_ids)


def _filter(params: CreditNoteListParams | CreditNoteSearch, customer_ids: list[str] | None) -> CreditNoteFilter:
    def one(value: str | None) -> list[str] | None:
        return None if value is None else [value]

    return CreditNoteFilter(
        ids=params.credit_note_ids,
        invoice_ids=one(params.invoice_id),
        customer_ids=customer_ids,
        statuses=params.credit_note_status,
        types=one(params.credit_note_type),
        numbers=one(params.credit_note_number),
    )
