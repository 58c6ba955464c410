"""A whole invoice explained: each line, the sums, each discount and tax, the credits, the total."""

from billing.coupons import Discount
from billing.explain.commitments import promise_section
from billing.explain.credits import credit_sections
from billing.explain.discounts import discount_sections
from billing.explain.lines import line_explanation
from billing.explain.parts import LineExplanation
from billing.explain.taxes import tax_sections
from billing.explain.wording import exact, money, span
from billing.invoice_lines import InvoiceInputs
from billing.invoices import Invoice
from billing.money import ZERO, decimal_text
from billing.taxes import TaxAmount, TaxRateType


def explanations(invoice: Invoice, inputs: InvoiceInputs, zone: str = "UTC") -> tuple[LineExplanation, ...]:
    """Each line of the invoice with its parts, in order; `inputs` are what it was built from. Dates are in `zone`."""
    after = zip(
        discount_sections(invoice, inputs), tax_sections(invoice, inputs), credit_sections(invoice), strict=True
    )
    return tuple(
        line_explanation(line, zone, own, promise_section(line, inputs.commitments, zone))
        for line, own in zip(invoice.lines, after, strict=True)
    )


def explain_invoice(invoice: Invoice, inputs: InvoiceInputs, zone: str = "UTC") -> list[str]:
    """The whole invoice in prose: each line, the sums, each tax, the total. Dates are shown in `zone`."""
    text = [f"Invoice for {span(invoice.period, zone)} ({invoice.reason}), {invoice.status}"]
    if not invoice.lines:
        return [*text, "Nothing was due in this period, so there is no charge and no number."]
    for position, line in enumerate(explanations(invoice, inputs, zone), start=1):
        first, *rest = line.text
        text += [f"{position}. {first}", *(f"   {part}" for part in rest)]
    return [*text, *explain_sums(invoice)]


def explain_sums(invoice: Invoice) -> list[str]:
    """From the sum of the lines to the total."""
    text = [f"Subtotal, the sum of the lines: {money(invoice.subtotal, invoice.currency)}"]
    text += [_discount(one, invoice.currency) for one in invoice.discounts]
    if len(invoice.discounts) > 1:
        text.append(f"Discounts together: -{money(invoice.total_discount, invoice.currency)}")
    text += [_tax(tax, invoice) for tax in invoice.taxes]
    text += [
        f"Credits: {decimal_text(draw.credits)} of lot {draw.lot_id} pay {decimal_text(draw.amount)} {invoice.currency}"
        for draw in invoice.credit_draws
    ]
    text.append(f"Total: {money(invoice.total, invoice.currency)}")
    if invoice.carried.to_customer:
        credit = money(invoice.carried.to_customer, invoice.currency)
        tax = money(invoice.carried.exclusive_tax, invoice.currency)
        text.append(
            f"To the customer's balance: {credit}, of which {tax} is tax that the credited lines were billed with"
        )
    return text


def _discount(discount: Discount, currency: str) -> str:
    coupon, amount = discount.coupon, money(discount.amount, currency)
    if coupon.percentage_off is None:
        worth, base = money(coupon.amount_off or ZERO, currency), money(discount.base, currency)
        return f"{coupon.name}: {worth} off {base}: -{amount}"
    return f"{coupon.name}: {decimal_text(coupon.percentage_off)} % off {money(discount.base, currency)}: -{amount}"


def _tax(tax: TaxAmount, invoice: Invoice) -> str:
    base, amount = money(tax.base, invoice.currency), money(tax.amount, invoice.currency)
    if tax.rate.type is TaxRateType.fixed:
        return f"{tax.rate.name}: fixed {amount}"
    percent = decimal_text(tax.rate.value)
    if not tax.rate.inclusive:
        return f"{tax.rate.name}: {percent} % of {base} = {exact(tax.exact)} -> {amount}"
    return f"{tax.rate.name}: {percent} %, contained in {base}: {exact(tax.exact)} -> {amount} (not added)"
