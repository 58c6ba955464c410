"""Compares invoices with the golden file, to the last digit. Pure: two lists in, the differences out."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

Invoice = dict[str, Any]

TEXTS = ("number", "status", "payment_status", "attempts")
AMOUNTS = ("subtotal", "tax", "total")
INSTANTS = ("finalized_at", "paid_at")


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is not what it should be."""

    invoice: str
    field: str
    expected: str
    got: str


def compare(golden: list[Invoice], got: list[Invoice]) -> list[Difference]:
    """Every difference, in the order of the golden file; an empty list if there is none.

    Amounts and quantities are compared as decimals (12.5 equals 12.50), instants as instants. Invoices are matched by
    customer, reason and period, so that a wrong number shows as a wrong number.
    """
    left = {}
    differences = []
    for invoice in got:
        if _key(invoice) in left:
            differences.append(Difference(_name(invoice), "invoice", "one for this period", "a second one"))
        left[_key(invoice)] = invoice
    for expected in golden:
        found = left.pop(_key(expected), None)
        if found is None:
            differences.append(Difference(_name(expected), "invoice", _description(expected), "missing"))
        else:
            differences += _compare_invoice(expected, found)
    return differences + [Difference(_name(extra), "invoice", "none", _description(extra)) for extra in left.values()]


def _key(invoice: Invoice) -> tuple[object, ...]:
    return (invoice["customer"], invoice["reason"], _instant(invoice["period_start"]), _instant(invoice["period_end"]))


def _name(invoice: Invoice) -> str:
    return str(invoice["number"] or "(no number)")


def _description(invoice: Invoice) -> str:
    return f"{invoice['customer']} {invoice['reason']} from {invoice['period_start']} to {invoice['period_end']}"


def _compare_invoice(expected: Invoice, got: Invoice) -> list[Difference]:
    name = _name(expected)
    pairs = [(field, expected[field], got[field], expected[field] == got[field]) for field in TEXTS]
    pairs += [
        (field, expected[field], got[field], _decimal(expected[field]) == _decimal(got[field])) for field in AMOUNTS
    ]
    pairs += [
        (field, expected[field], got[field], _instant(expected[field]) == _instant(got[field])) for field in INSTANTS
    ]
    differences = [Difference(name, field, _shown(want), _shown(have)) for field, want, have, same in pairs if not same]
    return differences + _compare_lines(name, expected["lines"], got["lines"])


def _compare_lines(name: str, expected: list[Invoice], got: list[Invoice]) -> list[Difference]:
    expected_prices, got_prices = [line["price"] for line in expected], [line["price"] for line in got]
    if expected_prices != got_prices:
        return [Difference(name, "lines", ", ".join(expected_prices), ", ".join(map(str, got_prices)) or "none")]
    differences = []
    for want, have in zip(expected, got, strict=True):
        for field in ("quantity", "amount"):
            if _decimal(want[field]) != _decimal(have[field]):
                differences.append(Difference(name, f"{want['price']} {field}", want[field], _shown(have[field])))
        for field in ("period_start", "period_end"):
            if _instant(want[field]) != _instant(have[field]):
                differences.append(Difference(name, f"{want['price']} {field}", want[field], _shown(have[field])))
    return differences


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "nothing" if value is None else str(value)
