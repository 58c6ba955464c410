"""Disputes: which of a provider's reports change something, and what a lost one leaves to a person.

Reports come twice and out of order. Rules: billing-rules.md section 8.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from billing.invoice_states import InvoiceStatus

CLOSED: Final = frozenset({"won", "lost"})
"""States after which the bank says no more."""


@dataclass(frozen=True, slots=True)
class Report:
    """A dispute as a provider reports it: `reported_at` is the provider's time."""

    state: str
    reported_at: datetime

    @property
    def is_closed(self) -> bool:
        """The bank has decided."""
        return self.state in CLOSED


def is_news(last: Report | None, told: Report) -> bool:
    """Whether a report changes something after the `last` that did: nothing does after a decision."""
    if last is None:
        return True
    return not last.is_closed and told.reported_at >= last.reported_at and told.state != last.state


def taken_twice(state: str, status: InvoiceStatus, given_back: Decimal) -> bool:
    """Whether a bank took back what the invoice's void had given (`given_back`) to the customer's wallet already."""
    return state == "lost" and status is InvoiceStatus.VOIDED and given_back > 0
