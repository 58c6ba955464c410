"""Invoices in the database: drafting one from what is due, and writing down what it was computed to be."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import structs
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, touch
from activities.outbox import emit
from activities.payloads import invoice_payload
from billing.codec import from_json, to_json
from billing.errors import InvariantBroken
from billing.invoice_lines import PeriodCorrection
from billing.invoices import (
    Invoice,
    InvoiceInputs,
    InvoiceLine,
    billed_line,
    build_invoice,
    draft_inputs,
    due_at,
    is_deferred,
)
from billing.money import ZERO, total
from billing.prices import Price
from billing.subscriptions import finalize_at
from billing.terms import BilledLine, DueInvoice, Terms
from billing.unused_time import with_unused_time
from models.billing_settings import BillingSettings
from models.ids import derived_id, new_id
from models.queries.invoices import (
    delete_lines,
    find_live_invoice,
    list_lines_reaching_beyond,
    next_billing_sequence,
)
from models.scope import Scope
from models.tables import (
    InvoiceLineRow,
    InvoiceRow,
    InvoiceTaxRow,
    MeterRow,
    SubscriptionLineItemRow,
    SubscriptionRow,
)


async def draft_invoice(
    session: AsyncSession,
    scope: Scope,
    subscription: SubscriptionRow,
    terms: Terms,
    due: DueInvoice,
    settings: BillingSettings,
    corrections: tuple[PeriodCorrection, ...] = (),
) -> InvoiceRow:
    """The subscription's invoice for what is due: made now, or found when an earlier try made it.

    Fixed lines and tax rates are fixed as of the boundary; usage counts 0 until the invoice is finalized, and what late
    usage adds is found then. What has no line becomes SKIPPED; `corrections` give lines to what has none of its own.
    """
    found = await find_live_invoice(session, subscription.id, due.period.start, due.period.end, due.reason)
    if found is not None:
        return found
    inputs = draft_inputs(terms, due, corrections=corrections)
    invoice = build_invoice(inputs)
    skipped = not invoice.lines
    act_at = finalize_at(due, settings.finalization_delay_seconds)
    row = InvoiceRow(
        id=new_id("inv"),
        **new_columns(scope),
        customer_id=subscription.customer_id,
        subscription_id=subscription.id,
        invoice_status=invoice.status.value,
        billing_reason=due.reason.value,
        billing_period=subscription.billing_period,
        billing_sequence=await next_billing_sequence(session, subscription.id),
        currency=subscription.currency,
        timezone=subscription.timezone,
        period_start=due.period.start,
        period_end=due.period.end,
        drafted_at=due.at,
        finalize_at=act_at,
        due_date=due_at(due.period.end, settings.due_date_days),
        next_action_at=None if skipped else act_at,
        seller=seller_json(settings),
        test_clock_id=subscription.test_clock_id,
    )
    session.add(row)
    await session.flush()
    lines, taxes = await write_invoice(session, scope, row, inputs, invoice, credited={})
    await _note_credits(session, invoice)
    body = {"invoice": invoice_payload(row, lines, taxes)}
    await emit(session, scope, "invoice.create.drafted", row.id, body, due.at)
    return row


def seller_json(settings: BillingSettings) -> dict[str, object]:
    """The seller as he was when the invoice was drafted."""
    seller = settings.seller
    return {"name": seller.name, "address": list(seller.address), "tax_id": seller.tax_id, "email": seller.email}


async def rewrite_invoice(
    session: AsyncSession, scope: Scope, row: InvoiceRow, inputs: InvoiceInputs, invoice: Invoice
) -> tuple[list[InvoiceLineRow], list[InvoiceTaxRow]]:
    """Writes sums, lines and taxes of a draft, in place of what was there. Returns lines and taxes in their order."""
    return await write_invoice(session, scope, row, inputs, invoice, await delete_lines(session, row.id))


async def write_invoice(
    session: AsyncSession,
    scope: Scope,
    row: InvoiceRow,
    inputs: InvoiceInputs,
    invoice: Invoice,
    credited: Mapping[str, Decimal],
) -> tuple[list[InvoiceLineRow], list[InvoiceTaxRow]]:
    """Writes sums, lines and taxes of a draft that has no lines; `credited` is what lines of the same ids gave back."""
    lines, taxes = await compute_rows(session, scope, row, inputs, invoice)
    touch(row)
    for line_row in lines:
        line_row.credited_amount = credited.get(line_row.id, ZERO)
    session.add_all([*lines, *taxes])
    await session.flush()
    return lines, taxes


async def compute_rows(
    session: AsyncSession, scope: Scope, row: InvoiceRow, inputs: InvoiceInputs, invoice: Invoice
) -> tuple[list[InvoiceLineRow], list[InvoiceTaxRow]]:
    """Sets the sums of `row` to those of `invoice`, and makes the rows of its lines and taxes, which nothing stores."""
    row.subtotal = invoice.subtotal
    row.total_discount = invoice.total_discount
    row.total_tax = invoice.total_tax
    row.exclusive_tax = invoice.exclusive_tax
    row.total_prepaid_credits_applied = invoice.total_prepaid_credits_applied
    row.total = invoice.total
    row.amount_due = invoice.amount_due
    row.carried_credit = invoice.carried.to_customer
    row.inputs = to_json(inputs)
    items = await _line_items(session, row)
    lines = [_line_row(scope, row, position, line, items) for position, line in enumerate(invoice.lines)]
    return lines, _tax_rows(scope, row, invoice)


async def _line_items(
    session: AsyncSession, row: InvoiceRow
) -> dict[str, tuple[SubscriptionLineItemRow, MeterRow | None]]:
    query = (
        select(SubscriptionLineItemRow, MeterRow)
        .outerjoin(MeterRow, col(MeterRow.id) == col(SubscriptionLineItemRow.meter_id))
        .where(SubscriptionLineItemRow.subscription_id == row.subscription_id)
    )
    return {item.id: (item, meter) for item, meter in (await session.exec(query)).all()}


def _line_row(
    scope: Scope,
    row: InvoiceRow,
    position: int,
    line: InvoiceLine,
    items: dict[str, tuple[SubscriptionLineItemRow, MeterRow | None]],
) -> InvoiceLineRow:
    item, meter = items.get(line.line_item_id or "", (None, None))
    price: Price | None = line.derivation.price
    return InvoiceLineRow(
        id=derived_id("inv_line", row.id, str(position)),
        **new_columns(scope),
        invoice_id=row.id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        subscription_line_item_id=line.line_item_id,
        position=position,
        kind=line.kind.value,
        entity_id=item.entity_id if item else None,
        entity_type=item.entity_type if item else None,
        plan_display_name=item.plan_display_name if item else "",
        price_id=line.price_id,
        price_type=price.type.value if price else None,
        invoice_cadence=price.invoice_cadence.value if price else None,
        meter_id=price.meter_id if price else None,
        meter_display_name=meter.name if meter else "",
        display_name=line.display_name,
        quantity=line.quantity,
        amount=line.amount,
        currency=line.currency,
        period_start=line.period.start,
        period_end=line.period.end,
        prepaid_credits_applied=line.prepaid_credits,
        derivation=to_json(line),
    )


def _tax_rows(scope: Scope, row: InvoiceRow, invoice: Invoice) -> list[InvoiceTaxRow]:
    return [
        InvoiceTaxRow(
            id=derived_id("taxapp", row.id, str(position)),
            **new_columns(scope),
            invoice_id=row.id,
            position=position,
            tax_rate_id=tax.rate.id,
            code=tax.rate.code,
            name=tax.rate.name,
            inclusive=tax.rate.inclusive,
            percentage_value=tax.rate.value if tax.rate.type == "percentage" else None,
            currency=row.currency,
            taxable_amount=tax.base,
            tax_amount=tax.amount,
        )
        for position, tax in enumerate(invoice.taxes)
    ]


async def _note_credits(session: AsyncSession, invoice: Invoice) -> None:
    """Remembers on each credited line how much of it has been given back, so that it is never given back twice."""
    for line in invoice.lines:
        billed = line.derivation.credit_of
        if billed is not None:
            credited = await session.get_one(InvoiceLineRow, billed.invoice_line_id)
            credited.credited_amount = total((credited.credited_amount, -line.amount))


async def billed_lines_beyond(
    session: AsyncSession, terms: Terms, subscription_id: str, at: datetime
) -> tuple[BilledLine, ...]:
    """What was billed in advance for time after `at` and can still be credited."""
    billed = []
    for row in await list_lines_reaching_beyond(session, subscription_id, at):
        line = line_from_row(row)
        if is_deferred(line):
            billed.append(billed_line(row.invoice_id, row.id, line, row.credited_amount))
    return with_unused_time(terms, billed, at)


def line_from_row(row: InvoiceLineRow) -> InvoiceLine:
    """The line as billing computed it."""
    return from_json(InvoiceLine, row.derivation)


def credited_line(credit: InvoiceLineRow) -> BilledLine:
    """What a credit for unused time was taken of. Raises InvariantBroken for a line that is no such credit."""
    billed = line_from_row(credit).derivation.credit_of
    if billed is None:
        raise InvariantBroken(f"line {credit.id} does not say which line it credits")
    return billed


def inputs_from_row(row: InvoiceRow) -> InvoiceInputs:
    """Everything the invoice follows from."""
    return from_json(InvoiceInputs, row.inputs)


def stored_invoice(row: InvoiceRow, lines: Sequence[InvoiceLineRow]) -> Invoice:
    """The invoice as it is stored: sums from the invoice's columns, lines with the amounts of their columns.

    Raises InvariantBroken when they do not add up.
    """
    rebuilt = build_invoice(inputs_from_row(row))
    return structs.replace(
        rebuilt,
        lines=tuple(structs.replace(line_from_row(line), amount=line.amount, quantity=line.quantity) for line in lines),
        subtotal=row.subtotal,
        total_discount=row.total_discount,
        total_tax=row.total_tax,
        total_prepaid_credits_applied=row.total_prepaid_credits_applied,
        total=row.total,
        amount_due=row.amount_due,
    )
