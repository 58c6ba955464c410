"""Threshold invoices: when unbilled usage is looked at, what such an invoice can bill, and when it is due.

Owns the question, not the answer's arithmetic: usage is rated as its close would rate it (tiers, allowances and
commitments span the whole period), less what was billed before (billing.billed_usage). Rules: billing-rules.md
section 6.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from billing.commitment_lines import due_commitments
from billing.commitments import CommitmentCount, DueCommitment
from billing.invoice_lines import InvoiceLine
from billing.money import total
from billing.periods import Period
from billing.running_usage import running_usage
from billing.subscriptions import SubscriptionState, SubscriptionStatus, period_from
from billing.terms import BillingReason, DueInvoice, Terms
from billing.windows import WindowSize

HOUR: Final = timedelta(hours=1)


def checked_after(at: datetime) -> datetime:
    """The first full UTC hour after `at`: what was received at `at` is known there."""
    return at.replace(minute=0, second=0, microsecond=0) + HOUR


def is_checked(state: SubscriptionState, at: datetime) -> bool:
    """Whether unbilled usage is looked at: inside a billing period that is neither a trial's nor paused."""
    running = state.status in (SubscriptionStatus.active, SubscriptionStatus.past_due)
    return running and state.current_period.start < at < state.current_period.end


def threshold_invoice(terms: Terms, state: SubscriptionState, at: datetime) -> DueInvoice:
    """What an invoice at the full hour `at` can bill: the usage lines that the running period will close with.

    Each line has its whole period, over which it is rated with the usage that is known. The invoice's period is the
    part that has passed; the running period stays.
    """
    lines = tuple(line for line in running_usage(terms, state).lines if line.period.start < at)
    return DueInvoice(BillingReason.AUTO_INVOICE_THRESHOLD, at, Period(state.current_period.start, at), lines)


def commitments_met(
    terms: Terms,
    due: DueInvoice,
    known_end: datetime | None = None,
    counts: Sequence[CommitmentCount] = (),
    bucket_sizes: Sequence[tuple[str, WindowSize]] = (),
) -> tuple[DueCommitment, ...]:
    """The commitments that a closing invoice, or a threshold invoice in the midst of its period, meets.

    As `due_commitments`: those of the whole period, also where only a part of it has passed.
    """
    on_account = due.reason is BillingReason.AUTO_INVOICE_THRESHOLD
    period = period_from(terms, due.period.start, known_end) if on_account else due.period
    return due_commitments(terms, period, due.lines, known_end, counts, bucket_sizes)


def is_reached(threshold: Decimal, lines: Sequence[InvoiceLine]) -> bool:
    """Whether the lines that a threshold invoice would have come to the threshold, before discounts."""
    return bool(lines) and total(line.amount for line in lines) >= threshold
