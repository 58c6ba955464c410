"""Who acts first of all that is due at one instant. Rules: billing-rules.md section 4."""

from collections.abc import Sequence
from typing import TypeVar

Subscription = TypeVar("Subscription")
Invoice = TypeVar("Invoice")


def act_first(
    running: Sequence[Subscription], invoices: Sequence[Invoice], over: Sequence[Subscription]
) -> tuple[Sequence[Subscription], Sequence[Invoice]]:
    """The subscriptions, or else the invoices, that act before all others.

    Boundaries first, then invoices; what came late for periods that are over is billed when everything else has been.
    """
    if running:
        return running, ()
    return ((), invoices) if invoices else (over, ())
