"""What an invoice's document and a receipt say, from rows and derivations. Owns no layout and computes no amount."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from activities.documents import (
    DetailRow,
    DocumentLine,
    InvoiceDocument,
    Party,
    Period,
    ReceiptDocument,
    TaxRow,
    price_text,
    quantity_text,
)
from activities.payloads import amount_remaining
from billing.invoice_lines import LineCorrection
from billing.invoices import InvoiceLine, payable_until
from billing.money import decimal_text, negated, shown_decimal, total
from billing.prices import BillingModel, Price, RatingStep
from billing.terms import LineKind
from billing.usage_charges import net_target
from models.tables import (
    CustomerRow,
    InvoiceRow,
    InvoiceTaxRow,
    PaymentAttemptRow,
    PaymentRow,
    UsageSnapshotRow,
)


def invoice_document(
    row: InvoiceRow,
    customer: CustomerRow,
    lines: Sequence[InvoiceLine],
    taxes: Sequence[InvoiceTaxRow],
    snapshots: Sequence[UsageSnapshotRow],
) -> InvoiceDocument:
    """A finalized invoice as it stood at issue."""
    assert row.finalized_at is not None
    assert row.invoice_number is not None
    chart_line, daily = _chart(lines, snapshots)
    return InvoiceDocument(
        number=row.invoice_number,
        issued_on=local_day(row.finalized_at, row.timezone),
        due_on=local_day(payable_until(row.due_date, row.finalized_at), row.timezone),
        seller=seller_of(row.seller),
        buyer=buyer_of(customer),
        currency=row.currency,
        zone=row.timezone,
        lines=tuple(document_line(line) for line in lines),
        subtotal=row.subtotal,
        discount=row.total_discount,
        taxes=tuple(_tax(tax) for tax in taxes),
        credits=row.total_prepaid_credits_applied,
        total=row.total,
        amount_due=row.amount_due,
        period=Period(row.period_start, row.period_end),
        daily_usage=daily,
        usage_title=f"Daily usage: {chart_line.display_name}" if chart_line else "Daily usage",
    )


def receipt_document(
    payment: PaymentRow, invoice: InvoiceRow, customer: CustomerRow, attempts: Sequence[PaymentAttemptRow]
) -> ReceiptDocument:
    """A payment that succeeded."""
    assert payment.succeeded_at is not None
    return ReceiptDocument(
        number=f"R-{invoice.invoice_number}",
        invoice_number=invoice.invoice_number or "",
        payment_id=payment.gateway_payment_id or payment.id,
        method=_method(payment, attempts),
        paid_at=payment.succeeded_at,
        seller=seller_of(invoice.seller),
        buyer=buyer_of(customer),
        currency=payment.currency,
        zone=invoice.timezone,
        amount_paid=payment.amount,
        invoice_total=invoice.total,
        amount_remaining=amount_remaining(invoice),
    )


def _method(payment: PaymentRow, attempts: Sequence[PaymentAttemptRow]) -> str:
    if payment.payment_gateway is None:
        return payment.payment_method_type.replace("_", " ").capitalize()
    tries = f", attempt {attempts[-1].attempt_number}" if len(attempts) > 1 else ""
    return f"{payment.payment_method_type.replace('_', ' ').capitalize()} by {payment.payment_gateway}{tries}"


def local_day(at: datetime, zone: str) -> date:
    """The date of an instant in a zone."""
    return at.astimezone(ZoneInfo(zone)).date()


def seller_of(stored: dict[str, Any]) -> Party:
    """The seller as he is stored with an invoice."""
    return Party(
        name=str(stored.get("name") or ""),
        address_lines=tuple(stored.get("address") or ()),
        tax_id=str(stored.get("tax_id") or ""),
        email=str(stored.get("email") or ""),
    )


def buyer_of(customer: CustomerRow) -> Party:
    """The customer as he is now."""
    city = " ".join(part for part in (customer.address_postal_code, customer.address_city) if part)
    lines = (
        customer.address_line1,
        customer.address_line2,
        city,
        customer.address_state,
        customer.address_country,
    )
    return Party(
        name=customer.name or customer.external_id,
        address_lines=tuple(line for line in lines if line),
        tax_id=customer.tax_id,
        email=customer.email,
        language="ja" if customer.address_country == "JP" else "",
    )


def _tax(tax: InvoiceTaxRow) -> TaxRow:
    rate = "" if tax.percentage_value is None else f"{decimal_text(tax.percentage_value)}%"
    said_already = rate in tax.name.replace(" ", "")
    label = tax.name if said_already else f"{tax.name} {rate}"
    return TaxRow(label, tax.taxable_amount, tax.tax_amount, tax.inclusive)


def document_line(line: InvoiceLine) -> DocumentLine:
    """A line with the steps that lead to its amount."""
    price, correction = line.derivation.price, line.derivation.correction
    if correction is not None and line.kind is LineKind.adjustment:
        return _correction(line, correction)
    return DocumentLine(
        description=line.display_name,
        amount=line.amount,
        quantity=None if line.kind is LineKind.adjustment else line.quantity,
        unit_price="" if price is None else _unit_price(price),
        period=Period(line.period.start, line.period.end) if line.kind is not LineKind.adjustment else None,
        details=_details(line, price),
    )


def _correction(line: InvoiceLine, correction: LineCorrection) -> DocumentLine:
    """What a closed period comes to with all of its usage, less what was billed for it before."""
    charge = correction.charge
    target = net_target(charge, total(own.amount for own in correction.now), line.currency)
    before = total((charge.net, charge.corrected))
    known = shown_decimal(charge.quantity)
    return DocumentLine(
        description=line.display_name,
        amount=line.amount,
        quantity=line.quantity,
        unit_price="",
        period=Period(line.period.start, line.period.end),
        details=(
            DetailRow("All usage of that period", target, total((known, line.quantity))),
            DetailRow("Billed before", negated(before), negated(known)),
        ),
    )


def _unit_price(price: Price) -> str:
    if price.billing_model is BillingModel.TIERED:
        return "tiered"
    packaging = price.transform_quantity
    return price_text(price.amount or Decimal(0), price.currency, per=str(packaging.divide_by) if packaging else "")


def _details(line: InvoiceLine, price: Price | None) -> tuple[DetailRow, ...]:
    """Tiers and packages step by step, and the share of a period that is not whole."""
    rows: list[DetailRow] = []
    if price is not None and price.billing_model is not BillingModel.FLAT_FEE:
        rows += [_step_row(step, price) for step in line.derivation.steps]
    share = line.derivation.share
    if share != 1:
        rows.append(
            DetailRow(f"{share.numerator}/{share.denominator} of the period", shown_decimal(line.derivation.exact))
        )
    return tuple(rows)


def _step_row(step: RatingStep, price: Price) -> DetailRow:
    if step.tier is None:
        packaging = price.transform_quantity
        label = f"Packages of {packaging.divide_by}" if packaging else "Units"
    else:
        label = _tier_label(step.tier, price)
    if step.flat_amount:
        label += f" (+ {price_text(step.flat_amount, price.currency)} flat)"
    return DetailRow(label, shown_decimal(step.amount), shown_decimal(step.quantity), step.unit_amount)


def _tier_label(index: int, price: Price) -> str:
    tier = price.tiers[index]
    floor = price.tiers[index - 1].up_to if index else None
    if tier.up_to is None:
        return f"Tier {index + 1}: above {quantity_text(floor)}" if floor is not None else "All units"
    lower = f"above {quantity_text(floor)} " if floor is not None else ""
    return f"Tier {index + 1}: {lower}up to {quantity_text(tier.up_to)}"


def _chart(
    lines: Sequence[InvoiceLine], snapshots: Sequence[UsageSnapshotRow]
) -> tuple[InvoiceLine | None, tuple[tuple[date, Decimal], ...]]:
    """The first usage line that has usage, with its daily totals."""
    by_key = {(snapshot.meter_id, snapshot.period_start): snapshot.daily for snapshot in snapshots}
    for line in lines:
        price = line.derivation.price
        days = by_key.get((price.meter_id or "", line.period.start), []) if price else []
        if days:
            return line, _every_day({date.fromisoformat(day): Decimal(text) for day, text in days})
    return None, ()


def _every_day(known: dict[date, Decimal]) -> tuple[tuple[date, Decimal], ...]:
    """Days without events are 0, so that the chart's axis is time."""
    first, last = min(known), max(known)
    days = (date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1))
    return tuple((day, known.get(day, Decimal(0))) for day in days)
