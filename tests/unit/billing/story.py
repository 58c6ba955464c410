"""A subscription told step by step: what each invoice billed is there for the next credit."""

from dataclasses import dataclass, replace
from decimal import Decimal

from billing.invoices import Invoice, billed_line, build_invoice, is_deferred
from billing.money import ZERO, minus
from billing.periods import BillingPeriod, Cadence
from billing.prices import Price
from billing.subscription_changes import (
    Changed,
)
from billing.subscriptions import (
    SubscriptionState,
    close_period,
    open_subscription,
)
from billing.terms import BilledLine, DueInvoice, LineItem, Terms

from .builders import inputs, seat, terms, utc

ANNUAL = Cadence(BillingPeriod.ANNUAL)


@dataclass
class Story:
    """A subscription from its opening on, with what its invoices billed."""

    terms: Terms
    state: SubscriptionState
    invoices: list[Invoice]
    billed: list[BilledLine]

    def take(self, due: DueInvoice | None) -> Invoice | None:
        """Bills an invoice, and notes what can be credited of it and what it credited."""
        if due is None:
            return None
        invoice = build_invoice(inputs(*due.lines))
        for line in invoice.lines:
            credited = line.derivation.credit_of
            if credited is not None:
                place = next(i for i, one in enumerate(self.billed) if one.invoice_line_id == credited.invoice_line_id)
                taken = minus(self.billed[place].credited, line.amount)
                self.billed[place] = replace(self.billed[place], credited=taken)
            if is_deferred(line):
                self.billed.append(billed_line("inv", f"li_{len(self.billed)}", line, ZERO))
        self.invoices.append(invoice)
        return invoice

    def change(self, changed: Changed) -> Invoice | None:
        """Takes over a change."""
        self.terms, self.state = changed.terms, changed.state
        return self.take(changed.invoice)

    def close(self) -> Invoice | None:
        """Closes the current period."""
        at = self.state.current_period.end
        step = close_period(self.terms, self.state, self.beyond(at.isoformat()))
        self.state = step.state
        return self.take(step.invoice)

    def beyond(self, at: str) -> tuple[BilledLine, ...]:
        """What was billed for time after `at`."""
        instant = utc(at[:19])
        return tuple(line for line in self.billed if line.period.end > instant)


def story(made: Terms) -> Story:
    opening = open_subscription(made)
    told = Story(made, opening.state, [], [])
    told.take(opening.invoice)
    return told


def shown(invoice: Invoice | None) -> list[tuple[str, str, str, str]]:
    """(kind, line item, first day to last day, amount)."""
    assert invoice is not None
    return [
        (
            line.kind.value,
            line.line_item_id or "",
            f"{line.period.start:%m-%d} {line.period.end:%m-%d}",
            str(line.amount),
        )
        for line in invoice.lines
    ]


def item(name: str, price: Price, at: str, quantity: str = "5") -> LineItem:
    return LineItem(name, price, Decimal(quantity), utc(at))


FEBRUARY = terms(seat("28"), start="2025-02-01", quantity="1")  # 28 usd a month, 1 a day in February


def on_trial(made: Terms, until: str) -> Terms:
    """Terms whose anchor and lines start at the trial's end."""
    lines = tuple(replace(line, start=utc(until)) for line in made.lines)
    return replace(made, trial_end=utc(until), anchor=utc(until), lines=lines)
