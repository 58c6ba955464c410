"""Usage that threshold invoices billed before its period's close: what is left for the lines of a later invoice.

Owns the step that leaves out what was billed, and the sum of it. A threshold invoice bills on account: the period's
close rates all of its usage, as if there had been none, and bills that less what was billed. Rules: billing-rules.md
section 6.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import structs

from billing.invoice_lines import BilledUsage, InvoiceInputs, InvoiceLine, LineCorrection, UsageCharge, Workings
from billing.money import minus, shown_decimal, total
from billing.periods import Period
from billing.terms import BillingReason, LineKind
from billing.usage_charges import net_target

_BILLED: Final = frozenset({LineKind.usage, LineKind.overage})
_Key = tuple[str | None, datetime]


def billed_usage(invoices: Iterable[tuple[str, Sequence[InvoiceLine]]]) -> tuple[BilledUsage, ...]:
    """What threshold invoices in force (id and lines, in their order) billed of each line item and period."""
    found: dict[_Key, tuple[str, list[InvoiceLine]]] = {}
    for invoice_id, lines in invoices:
        for line in lines:
            known = found.get(_key(line), (invoice_id, []))[1]
            found[_key(line)] = (invoice_id, [*known, line])
    return tuple(BilledUsage(invoice_id, _charge(lines)) for invoice_id, lines in found.values())


def bill_the_rest(done: Workings, inputs: InvoiceInputs) -> Workings:
    """The step that leaves out of each usage line what threshold invoices billed of it.

    Less usage than was billed (a corrected event, a volume tier) makes a negative line at the close; the discount that
    it was billed with shrinks with it. On a threshold invoice stands only what is above 0, of the time that has passed;
    nothing is trued up before the period ends.
    """
    on_account = inputs.due.reason is BillingReason.AUTO_INVOICE_THRESHOLD
    waits = any(line.kind is LineKind.usage and line.derivation.usage is None for line in done.lines)
    if waits or not (inputs.billed or on_account):
        return done
    lines = list(done.lines)
    for one in inputs.billed:
        places = [place for place, line in enumerate(lines) if line.kind in _BILLED and _key(line) == _key_of(one)]
        rest = _rest([lines[place] for place in places], one, inputs.currency)
        for place, line in zip(places, rest, strict=True):
            lines[place] = line
    if on_account:
        lines = [_until(line, inputs.due.at) for line in lines if line.kind in _BILLED and line.amount > 0]
    return structs.replace(done, lines=tuple(lines))


@dataclass(frozen=True, slots=True)
class _Left:
    """What is still to be left out."""

    gross: Decimal
    quantity: Decimal


def _rest(lines: Sequence[InvoiceLine], one: BilledUsage, currency: str) -> list[InvoiceLine]:
    """The lines of one item and period (usage, then overage) less what was billed, in their order."""
    left = _Left(one.charge.gross, shown_decimal(one.charge.quantity))
    found: list[InvoiceLine] = []
    for line in lines:
        gross, quantity = min(line.amount, left.gross), min(line.quantity, left.quantity)
        left = _Left(minus(left.gross, gross), minus(left.quantity, quantity))
        found.append(_less(line, gross, quantity))
    if found and left.gross:
        found[-1] = _given_back(found[-1], one, lines, left, currency)
    return found


def _less(line: InvoiceLine, gross: Decimal, quantity: Decimal) -> InvoiceLine:
    return structs.replace(
        line,
        amount=minus(line.amount, gross),
        quantity=minus(line.quantity, quantity),
        derivation=structs.replace(line.derivation, billed_before=gross),
    )


def _given_back(
    line: InvoiceLine, one: BilledUsage, now: Sequence[InvoiceLine], left: _Left, currency: str
) -> InvoiceLine:
    """The last line when more was billed than all of them come to: the difference, net of the discount it had."""
    charge = replace(one.charge, period=line.period)
    amount = minus(net_target(charge, total(own.amount for own in now), currency), charge.net)
    derivation = structs.replace(
        line.derivation,
        billed_before=total((line.derivation.billed_before, left.gross)),
        correction=LineCorrection(one.invoice_id, charge, tuple(now)),
    )
    return structs.replace(line, amount=amount, quantity=minus(line.quantity, left.quantity), derivation=derivation)


def _until(line: InvoiceLine, at: datetime) -> InvoiceLine:
    return structs.replace(line, period=Period(line.period.start, min(line.period.end, at)))


def _charge(lines: Sequence[InvoiceLine]) -> UsageCharge:
    first, net = lines[0], total(line.net_amount for line in lines)
    price = first.derivation.price
    return UsageCharge(
        first.line_item_id,
        Period(first.period.start, lines[-1].period.end),
        first.display_name if price is None else price.display_name,
        price,
        quantity=sum((Fraction(line.quantity) for line in lines), Fraction(0)),
        gross=total(line.amount for line in lines),
        net=net,
        charged=net,
        exclusive_tax=total(line.exclusive_tax for line in lines),
        inclusive_tax=total(line.inclusive_tax for line in lines),
    )


def _key(line: InvoiceLine) -> _Key:
    return line.line_item_id, line.period.start


def _key_of(one: BilledUsage) -> _Key:
    return one.charge.line_item_id, one.charge.period.start
