"""The types of webhook events: what is emitted, and what the compatible API knows and durabill never emits."""

from collections.abc import Iterable
from typing import Final

from billing.errors import Invalid

EMITTED: Final = frozenset(
    [
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "feature.created",
        "feature.updated",
        "feature.deleted",
        "subscription.created",
        "subscription.activated",
        "subscription.updated",
        "subscription.cancelled",
        "invoice.create.drafted",
        "invoice.update.finalized",
        "invoice.update.payment",
        "invoice.update.voided",
        "invoice.payment.overdue",
        "payment.created",
        "payment.pending",
        "payment.success",
        "payment.failed",
        "payment.updated",
        "refund.created",
        "refund.succeeded",
        "refund.failed",
        "credit_note.created",
        "credit_note.updated",
        "dispute.created",
        "dispute.updated",
        "dispute.won",
        "dispute.lost",
        "wallet.created",
        "wallet.updated",
        "wallet.terminated",
        "wallet.transaction.created",
        "wallet.ongoing_balance.dropped",
        "wallet.ongoing_balance.recovered",
    ]
)

_REASONS: Final = {
    "subscriptions have no drafts": "subscription.draft.created",
    "subscriptions are not paused": "subscription.paused subscription.resumed",
    "a subscription keeps its plan": "subscription.plan_changed",
    "subscriptions have no phases by this API":
        "subscription.phase.created subscription.phase.updated subscription.phase.deleted",
    "renewals are not announced ahead": "subscription.renewal.due",
    "spending is not watched":
        "subscription.spend.threshold_reached subscription.spend.threshold_recovered"
        " subscription.line_item_spend.threshold_reached subscription.line_item_spend.threshold_recovered"
        " subscription.group_spend.threshold_reached subscription.group_spend.threshold_recovered",
    "each change of an invoice has a type of its own": "invoice.update",
    "durabill writes to nobody": "invoice.communication.triggered",
    "invoices are not copied to other systems": "invoice.sync.success invoice.sync.failed",
    "a wallet's transactions never change": "wallet.transaction.updated",
    "the real-time balance is watched: wallet.ongoing_balance.dropped and .recovered":
        "wallet.credit_balance.dropped wallet.credit_balance.recovered wallet.ongoing_balance.updated"
        " feature.wallet_balance.alert",
    "this API has no entitlements":
        "entitlement.created entitlement.updated entitlement.deleted entitlement.grant.exhausted",
    "there are no checkout sessions":
        "checkout.session.initiated checkout.session.completed checkout.session.failed checkout.session.expired",
    "a meter that is made later counts events of before; GET /v1/events/rejected tells what counts nowhere now":
        "event.rejected",
}  # fmt: skip

NEVER_EMITTED: Final = {name: reason for reason, names in _REASONS.items() for name in names.split()}
"""Types of the compatible API that no endpoint ever gets, and why."""


def check_event_types(names: Iterable[str]) -> None:
    """Raises Invalid for a type that no endpoint would ever get: a slip, or one that durabill does not emit."""
    for index, name in enumerate(names):
        if name not in EMITTED:
            why = NEVER_EMITTED.get(name, f"it is none of {', '.join(sorted(EMITTED))}")
            raise Invalid(f"{name} is never sent: {why}", field=f"enabled_events[{index}]")
