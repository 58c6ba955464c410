"""The coupons of a story as one invoice meets them: on its lines, with the invoices that they discounted before.

Owns which line items a coupon on a price means. What it takes off is billing.coupons'.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from billing.coupons import CouponAssociation, CouponType
from billing.invoice_states import InvoiceStatus
from billing.simulation.invoices import PlayedInvoice
from billing.terms import DueInvoice


def coupons_for(
    due: DueInvoice, carried: Iterable[CouponAssociation], invoices: Iterable[PlayedInvoice]
) -> tuple[CouponAssociation, ...]:
    """Each coupon that the subscription carries. One on a price follows it when its line item gets a successor."""
    live = [played for played in invoices if played.status is not InvoiceStatus.VOIDED]
    used = [{discount.association_id for discount in played.invoice.discounts} for played in live]
    found: list[CouponAssociation] = []
    for each in carried:
        counted = replace(each, invoices_discounted=sum(each.id in ids for ids in used))
        if each.line_item_id is None:
            found.append(counted)
        else:
            found += [replace(counted, line_item_id=item) for item in _items(due, each)]
    return tuple(found)


def _items(due: DueInvoice, association: CouponAssociation) -> Sequence[str]:
    """The line items of the coupon's price; an amount is taken off one of them only."""
    own = [
        line.line_item_id
        for line in due.lines
        if line.price.id == association.line_item_id and not line.credit_of and association.covers(line.period.start)
    ]
    items = list(dict.fromkeys(own))
    return items[:1] if association.coupon.type is CouponType.fixed else items
