"""What the customer or the operator does in a story: one function an action, each by the rules of billing.

Owns which rule an action asks. A rule's refusal is the action's, and the story goes on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from billing import subscriptions as rules
from billing.collection import charged_by_new_method, given_back_by_void, split_payment
from billing.coupons import check_redeemable
from billing.credit_notes import CreditNoteType
from billing.errors import Conflict, NotFound
from billing.money import ZERO
from billing.scenario import document as doc
from billing.scenario.agreement import associate
from billing.scheduled_cancellation import schedule_cancellation
from billing.simulation import changes
from billing.simulation.invoices import PlayedInvoice, credits_of
from billing.simulation.story import Story
from billing.terms import BillingReason
from billing.top_ups import TopUp, TopUpKind, credited, require_unfilled
from billing.voids import after_void, credits_given, given_back
from billing.wallets import EntryReason, debit, require_active, terminate


def perform(story: Story, action: doc.Action, path: str) -> None:
    """Does what `action` asks. Raises a BillingError when the rules refuse it; then nothing has changed."""
    ACTIONS[type(action)](story, action, path)
    story.checks.note(action.at)


def _cancel(story: Story, action: doc.Cancel, path: str) -> None:
    state = changes.running(story)
    if action.cancel_at is not None:
        after = schedule_cancellation(story.terms, state, action.at, action.cancel_at, action.proration_behavior)
        story.apply(rules.Transition(after, None), action.at)
        story.tell(action.at, "subscription.updated", "subscription")
        return
    kind = rules.CancellationType(action.type)
    billed = story.billed(action.at)
    transition = rules.cancel(
        story.terms, state, action.at, kind, billed, action.proration_behavior, action.final_usage
    )
    story.apply(transition, action.at)
    if transition.state.status is state.status:
        story.tell(action.at, "subscription.updated", "subscription")


def _void_invoice(story: Story, action: doc.VoidInvoice, path: str) -> None:
    played = _invoice(story, action.invoice)
    _require_unfilled(played, "void")
    after, payment = after_void(played.status, played.payment_status)
    paid = given_back_by_void(played.amount_paid, played.invoice.total_prepaid_credits_applied, played.refunded)
    carried = played.invoice.carried.to_customer if played.finalized_at else ZERO
    own, credited = credits_given(played.invoice), credits_of(story.invoices, played)
    back = given_back(paid, own, carried, credited, played.status)
    if back:
        story.wallets.give_back(back, action.at, f"{played.id}/voided", EntryReason.void)
    played.payment_status = payment
    played.status, played.next_at = after, None
    story.tell(action.at, "invoice.voided", played.id)


def _pay(story: Story, action: doc.Pay, path: str) -> None:
    played = _invoice(story, action.invoice)
    _, beyond = split_payment(played.status, action.amount, played.amount_remaining)
    story.payment_events(story.collection.pay_offline(played, action.amount, action.at), played, action.at)
    if beyond:
        story.wallets.give_back(beyond, action.at, path)


def _credit_note(story: Story, action: doc.CreditNote, path: str) -> None:
    played = _invoice(story, action.invoice)
    _require_unfilled(played, "credit_note")
    story.issue_note(played, CreditNoteType(action.type), action.amount, action.at, path)


def _add_payment_method(story: Story, action: doc.AddPaymentMethod, path: str) -> None:
    for played in list(story.invoices):
        if charged_by_new_method(played.status, played.amount_remaining, played.uncollectible):
            story.charge_now(played, action.at)


def _apply_coupon(story: Story, action: doc.ApplyCoupon, path: str) -> None:
    state = changes.running(story)
    if state.status is rules.SubscriptionStatus.cancelled:
        raise Conflict("apply_coupon is not possible: the subscription is cancelled", state=state.status)
    coupon = story.catalog.coupons[action.coupon]
    association = associate(coupon, action.price)
    if any(each.id == association.id for each in story.coupons):
        raise Conflict(f"the subscription carries coupon {coupon.id} already", state="applied")
    check_redeemable(coupon, story.terms.currency, action.at, redemptions=0)
    story.coupons = (*story.coupons, association)
    story.tell(action.at, "subscription.updated", "subscription")


def _top_up(story: Story, action: doc.TopUp, path: str) -> None:
    played = story.wallets.named(action.wallet)
    asked = TopUp(
        id=path,
        kind=TopUpKind(action.transaction_reason),
        credits=action.credits,
        expires_at=action.expiry_date_utc,
        priority=action.priority,
        bonus_credits=action.bonus_credits_to_add,
        bonus_expires_at=action.bonus_credits_expiry_date_utc,
    )
    if asked.kind is TopUpKind.by_invoice:
        require_active(played.wallet, "top_up")
        story.buy(played, asked, action.at, BillingReason.MANUAL)
    else:
        story.wallets.apply(played, credited(played.wallet, asked, action.at), action.at)


def _debit(story: Story, action: doc.Debit, path: str) -> None:
    played = story.wallets.named(action.wallet)
    story.wallets.apply(played, debit(played.wallet, action.credits, action.at, path), action.at)


def _terminate_wallet(story: Story, action: doc.TerminateWallet, path: str) -> None:
    played = story.wallets.named(action.wallet)
    story.wallets.apply(played, terminate(played.wallet, action.at), action.at)


def _void_event(story: Story, action: doc.VoidEvent, path: str) -> None:
    story.log.find(action.event_id, action.at).void(action.at, path)


def _amend_event(story: Story, action: doc.AmendEvent, path: str) -> None:
    story.log.find(action.event_id, action.at).amend(action.properties, action.at, path)


def _require_unfilled(played: PlayedInvoice, command: str) -> None:
    if played.purchase is not None:
        require_unfilled(played.paid_at is not None, command)


def _invoice(story: Story, position: int) -> PlayedInvoice:
    if not 0 <= position < len(story.invoices):
        raise NotFound(f"there is no invoice {position} at that time", field="invoice")
    return story.invoices[position]


ACTIONS: Final[Mapping[type[Any], Callable[[Story, Any, str], None]]] = {
    doc.ChangePlan: changes.change_plan,
    doc.ChangeQuantity: changes.change_quantity,
    doc.AddAddon: changes.add_addon,
    doc.RemoveAddon: changes.remove_addon,
    doc.Pause: changes.pause,
    doc.Resume: changes.resume,
    doc.Cancel: _cancel,
    doc.VoidInvoice: _void_invoice,
    doc.Pay: _pay,
    doc.CreditNote: _credit_note,
    doc.AddPaymentMethod: _add_payment_method,
    doc.ApplyCoupon: _apply_coupon,
    doc.TopUp: _top_up,
    doc.Debit: _debit,
    doc.TerminateWallet: _terminate_wallet,
    doc.VoidEvent: _void_event,
    doc.AmendEvent: _amend_event,
}
