"""The result of a story as its document: amounts and quantities as decimal text, instants in UTC.

Owns the names and the order of fields, nothing else.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.codec import instant_text
from billing.errors import BillingError
from billing.invoices import InvoiceLine
from billing.money import decimal_text
from billing.simulation.invoices import PlayedInvoice
from billing.simulation.story import Story
from billing.simulation.usage import unwanted
from billing.simulation.wallets import PlayedWallet
from billing.wallets import (
    LotEntry,
    balance,
    credit_balance,
)

Json = dict[str, Any]


def result_of(story: Story) -> Json:
    """Everything that came of the story, as of its end."""
    until = story.scenario.until
    return {
        "name": story.scenario.name,
        "invoices": [_invoice(story, played, until) for played in story.invoices],
        "credit_notes": [
            {
                "invoice": note.invoice,
                "type": note.type,
                "amount": decimal_text(note.amount),
                "at": instant_text(note.at),
            }
            for note in story.credit_notes
        ],
        "refused": [{"action": each.action, "code": each.code, "message": each.message} for each in story.refused],
        "rejected_events": [
            {"event_id": each.event_id, "reason": each.reason}
            for each in [
                *unwanted(story.log, story.catalog.meters.values()),
                *story.late.left_out(story.invoices),
            ]
        ],
        "wallets": [_wallet(story, each, until) for each in story.wallets.all],
        "subscription": _subscription(story),
        "timeline": [{"at": instant_text(each.at), "event": each.event, "id": each.id} for each in story.timeline],
    }


def error_of(error: BillingError) -> Json:
    """An error as a result carries it."""
    return {"code": error.code, "message": error.message, "path": error.field or ""}


def _invoice(story: Story, played: PlayedInvoice, until: datetime) -> Json:
    invoice = story.present(played, until)
    return {
        "number": played.number,
        "billing_reason": invoice.reason.value,
        "period_start": instant_text(invoice.period.start),
        "period_end": instant_text(invoice.period.end),
        "finalized_at": _maybe(played.finalized_at),
        "invoice_status": played.status.value,
        "payment_status": played.payment_status.value,
        "paid_at": _maybe(played.paid_at),
        "lines": [_line(line) for line in invoice.lines],
        "subtotal": decimal_text(invoice.subtotal),
        "total_discount": decimal_text(invoice.total_discount),
        "total_tax": decimal_text(invoice.total_tax),
        "total_prepaid_credits_applied": decimal_text(invoice.total_prepaid_credits_applied),
        "total": decimal_text(invoice.total),
        "amount_due": decimal_text(invoice.amount_due),
        "amount_paid": decimal_text(played.amount_paid),
        "amount_remaining": decimal_text(played.remaining_of(invoice.amount_due)),
        "attempts": [
            {"at": instant_text(each.at), "amount": decimal_text(each.amount), "outcome": each.outcome}
            for each in played.attempts
        ],
    }


def _line(line: InvoiceLine) -> Json:
    return {
        "kind": line.kind.value,
        "price": line.price_id,
        "description": line.display_name,
        "quantity": decimal_text(line.quantity),
        "amount": decimal_text(line.amount),
        "period_start": instant_text(line.period.start),
        "period_end": instant_text(line.period.end),
        "discount": decimal_text(line.discount),
        "prepaid_credits": decimal_text(line.prepaid_credits),
    }


def _subscription(story: Story) -> Json:
    state = story.state
    assert state is not None  # a story is played until its subscription's start at least
    return {
        "status": state.status.value,
        "current_period_start": instant_text(state.current_period.start),
        "current_period_end": instant_text(state.current_period.end),
    }


def _wallet(story: Story, played: PlayedWallet, until: datetime) -> Json:
    wallet = played.wallet
    return {
        "key": played.key,
        "wallet_type": wallet.wallet_type.value,
        "balance": decimal_text(balance(wallet, until)),
        "credit_balance": decimal_text(credit_balance(wallet, until)),
        "real_time_balance": decimal_text(story.real_time(wallet, until)),
        "transactions": [_transaction(entry, worth) for entry, worth in played.entries],
    }


def _transaction(entry: LotEntry, worth: Decimal) -> Json:
    return {
        "at": instant_text(entry.at),
        "type": "credit" if entry.credits > 0 else "debit",
        "credit_amount": decimal_text(abs(entry.credits)),
        "amount": decimal_text(worth),
        "transaction_reason": entry.reason.value,
        "reference_id": entry.reference or None,
    }


def _maybe(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
