"""Voiding an invoice: what the customer gets back, so that nothing is lost and nothing is given twice.

Owns that sum; states are billing.invoice_states', the wallet is the caller's. Rules: billing-rules.md section 6: a void
gives back what was paid. A credit for unused time, or for usage that is known better by now, is a fact of what it
credits, not of the invoice that carried it: the time stays unused when that invoice is voided, and nothing would credit
it again. So the credit stays given. What the voided charges had used up of it is paid out, what was carried to the
customer stays there, and the credited lines stay credited. The other way round, what other invoices credited of the
voided one was given already.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from billing.disputes import CLOSED
from billing.errors import Conflict
from billing.invoice_lines import CreditedCharge, credited_charge
from billing.invoice_states import (
    InvoiceCommand,
    InvoiceStatus,
    PaymentCommand,
    PaymentStatus,
    next_invoice_status,
    next_payment_status,
)
from billing.invoices import Invoice, InvoiceLine
from billing.money import ZERO, apportion, decimal_text, minus, negated, round_amount, total
from billing.refunds import UNSETTLED, RefundStatus


@dataclass(frozen=True, slots=True)
class CreditGiven:
    """What a credit line gave of what was `billed`: its amount and the `exclusive_tax` that this was billed with."""

    line: InvoiceLine
    billed: CreditedCharge
    exclusive_tax: Decimal

    @property
    def amount(self) -> Decimal:
        """What the customer got, in major units."""
        return minus(self.exclusive_tax, self.line.amount)

    @property
    def share(self) -> Fraction:
        """The part of what was billed."""
        return Fraction(negated(self.line.amount)) / Fraction(self.billed.amount) if self.billed.amount else Fraction(0)


def after_void(status: InvoiceStatus, payment: PaymentStatus) -> tuple[InvoiceStatus, PaymentStatus]:
    """Both statuses of an invoice once it is void. Raises Conflict, also while a charge is under way."""
    after = next_invoice_status(status, InvoiceCommand.void)
    if payment is PaymentStatus.PROCESSING:
        raise Conflict(
            "void is not possible: the invoice is being paid; once the provider has answered it is, and what was paid"
            " goes to the customer's wallet",
            state=payment,
        )
    return after, next_payment_status(payment, PaymentCommand.void)


def check_settled(refunds: Iterable[tuple[str, RefundStatus]], disputes: Iterable[tuple[str, str]]) -> None:
    """Whether it is known where all of an invoice's money is; both by their ids. Raises Conflict while it is open."""
    for name, status in refunds:
        if status in UNSETTLED:
            wanted = "is settled" if status is not RefundStatus.FAILED else "was retried or cancelled"
            raise Conflict(
                f"void is not possible: refund {name} is {status}; void it once that {wanted}", state=status.value
            )
    for name, state in disputes:
        if state not in CLOSED:
            raise Conflict(
                f"void is not possible: dispute {name} is open; void the invoice once the bank has decided", state=state
            )


def credits_given(invoice: Invoice) -> tuple[CreditGiven, ...]:
    """Each credit line of an invoice with the exclusive tax that it was billed with; parts of one sum rounded once."""
    found = [
        CreditGiven(line, billed, ZERO)
        for line in invoice.lines
        for billed in (credited_charge(line),)
        if billed is not None
    ]
    exact = [each.share * Fraction(each.billed.exclusive_tax) for each in found]
    taxes = apportion(round_amount(sum(exact, Fraction(0)), invoice.currency), exact, invoice.currency)
    return tuple(replace(each, exclusive_tax=tax) for each, tax in zip(found, taxes, strict=True))


def given_back(
    paid: Decimal, own: Iterable[CreditGiven], carried: Decimal, credited: Iterable[CreditGiven], state: str
) -> Decimal:
    """What a void gives the customer, in major units: `paid`, and what the charges used up of the invoice's credits.

    `paid` is money and prepaid credits less refunds, `own` are the credits of the invoice itself, of which `carried`
    went to the customer when it was finalized, `credited` those that other invoices gave of its lines. Raises Conflict
    when these are more than all the rest.
    """
    gone = total(each.amount for each in credited)
    back = total((paid, *(each.amount for each in own), negated(carried), negated(gone)))
    if back < ZERO:
        raise Conflict(
            f"void is not possible: {decimal_text(gone)} of the invoice were credited already, and"
            f" {decimal_text(negated(back))} of that were never paid; issue a credit note (ADJUSTMENT) for what is left"
            " to pay instead",
            state=state,
        )
    return back
