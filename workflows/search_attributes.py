"""The one registry of search attributes: names, types, and how a state maps to them. No personal data."""

from collections.abc import Mapping
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from activities.states import DisputeState, InvoiceState, RefundState, SubscriptionState
from billing.invoice_states import PAID

TENANT_ID: Final = SearchAttributeKey.for_keyword("TenantId")
CUSTOMER_ID: Final = SearchAttributeKey.for_keyword("CustomerId")
SUBSCRIPTION_STATUS: Final = SearchAttributeKey.for_keyword("SubscriptionStatus")
INVOICE_STATUS: Final = SearchAttributeKey.for_keyword("InvoiceStatus")
PLAN_ID: Final = SearchAttributeKey.for_keyword("PlanId")
PAYMENT_PROVIDER: Final = SearchAttributeKey.for_keyword("PaymentProvider")
CURRENT_PERIOD_END: Final = SearchAttributeKey.for_datetime("CurrentPeriodEnd")
NEXT_ACTION_AT: Final = SearchAttributeKey.for_datetime("NextActionAt")
PAST_DUE_SINCE: Final = SearchAttributeKey.for_datetime("PastDueSince")
NEEDS_ATTENTION: Final = SearchAttributeKey.for_bool("NeedsAttention")

TYPES: Final[Mapping[str, str]] = {
    "TenantId": "Keyword",
    "CustomerId": "Keyword",
    "SubscriptionStatus": "Keyword",
    "InvoiceStatus": "Keyword",
    "PlanId": "Keyword",
    "PaymentProvider": "Keyword",
    "CurrentPeriodEnd": "Datetime",
    "NextActionAt": "Datetime",
    "PastDueSince": "Datetime",
    "NeedsAttention": "Bool",
}


def of_subscription(state: SubscriptionState) -> TypedSearchAttributes:
    """What operators filter subscriptions by; set at start and at each continue-as-new.

    Under a test clock nothing acts by itself, so there is no next action that could be late.
    """
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(TENANT_ID, state.scope.tenant_id),
        SearchAttributePair(CUSTOMER_ID, state.customer_id),
        SearchAttributePair(SUBSCRIPTION_STATUS, state.status),
        SearchAttributePair(PLAN_ID, state.plan_id),
        SearchAttributePair(CURRENT_PERIOD_END, state.period_end),
        SearchAttributePair(NEEDS_ATTENTION, False),
    ]
    if state.next_action_at is not None and state.test_clock_id is None:
        pairs.append(SearchAttributePair(NEXT_ACTION_AT, state.next_action_at))
    return TypedSearchAttributes(pairs)


def of_invoice(state: InvoiceState) -> TypedSearchAttributes:
    """What operators filter invoices by; set at start, then only at past due, needs-attention and the end."""
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(TENANT_ID, state.scope.tenant_id),
        SearchAttributePair(CUSTOMER_ID, state.customer_id),
        SearchAttributePair(INVOICE_STATUS, invoice_status(state)),
        SearchAttributePair(NEEDS_ATTENTION, False),
    ]
    if state.provider is not None:
        pairs.append(SearchAttributePair(PAYMENT_PROVIDER, state.provider))
    if state.next_action_at is not None and state.test_clock_id is None:
        pairs.append(SearchAttributePair(NEXT_ACTION_AT, state.next_action_at))
    return TypedSearchAttributes(pairs)


def of_refund(state: RefundState) -> TypedSearchAttributes:
    """What operators filter refunds by."""
    return _of_payment(state.scope.tenant_id, state.customer_id, state.provider, needs_attention=False)


def of_dispute(state: DisputeState) -> TypedSearchAttributes:
    """What operators filter disputes by: an open one needs a person from the beginning."""
    return _of_payment(state.scope.tenant_id, state.customer_id, state.provider, needs_attention=not state.is_closed)


def _of_payment(tenant_id: str, customer_id: str, provider: str, *, needs_attention: bool) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(TENANT_ID, tenant_id),
            SearchAttributePair(CUSTOMER_ID, customer_id),
            SearchAttributePair(PAYMENT_PROVIDER, provider),
            SearchAttributePair(NEEDS_ATTENTION, needs_attention),
        ]
    )


def invoice_status(state: InvoiceState) -> str:
    """One word for where an invoice stands: draft, open, past_due, paid, uncollectible, voided or skipped."""
    if state.invoice_status != "FINALIZED":
        return state.invoice_status.lower()
    if state.payment_status in PAID:
        return "paid"
    if state.uncollectible:
        return "uncollectible"
    return "past_due" if state.payment_status == "FAILED" else "open"


async def register(client: Client) -> list[str]:
    """Adds what the namespace lacks and returns the names that were added."""
    service = client.operator_service
    known = await service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
    missing = {name: kind for name, kind in TYPES.items() if name not in known.custom_attributes}
    if missing:
        wanted = {name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for name, kind in missing.items()}
        await service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
        )
    return sorted(missing)
