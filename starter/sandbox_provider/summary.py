"""Sums over the books: who was charged how often and how much. Reads a list of charges, owns no state."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal

from starter.sandbox_provider.books import Charge


def summarize(charges: Iterable[Charge]) -> dict[str, object]:
    """Counts by status, totals by currency (major units), and for every invoice its attempts and successful charges."""
    by_status: Counter[str] = Counter()
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    invoices: defaultdict[str, list[Charge]] = defaultdict(list)
    lost = 0
    for charge in charges:
        by_status[charge.status] += 1
        lost += charge.answer_lost
        invoices[charge.invoice_id].append(charge)
        if charge.status == "succeeded":
            totals[charge.currency] += charge.amount
    rows = {invoice_id: _invoice(of_invoice) for invoice_id, of_invoice in invoices.items()}
    return {
        "charges": by_status.total(),
        "by_status": dict(by_status),
        "answers_lost": lost,
        "totals": {currency: f"{total.normalize():f}" for currency, total in sorted(totals.items())},
        "invoices": rows,
        "invoices_charged_more_than_once": [key for key, row in rows.items() if row["succeeded"] > 1],
    }


def _invoice(charges: list[Charge]) -> dict[str, int]:
    statuses = Counter(charge.status for charge in charges)
    return {
        "attempts": len(charges),
        "succeeded": statuses["succeeded"],
        "declined": statuses["declined"],
        "requires_action": statuses["requires_action"],
    }
