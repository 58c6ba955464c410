"""Writes the three golden files beside it: `python -m starter.demo.golden.write`.

Owns the shape of `invoices.json` (what the demo compares with), `derivation.csv` (one row a step) and
`derivation.md` (how to check them by hand). The sums are in `derivation.py`.
"""

import csv
import io
import json
from pathlib import Path
from string import Template

from starter.demo.golden.derivation import (
    CLOCK_END,
    Invoice,
    Line,
    derive,
    instant,
    read_calls,
    read_events_file,
    text,
)

FOLDER = Path(__file__).resolve().parent
WORKED_EXAMPLE = ("northwind-labs", "2025-02-01T05:00:00Z")
"""Customer and period start of the invoice that `derivation.md` works through: the one whose card is declined."""


def line_json(line: Line) -> dict[str, str]:
    """A line as the golden file and the runner's comparison hold it."""
    return {
        "price": line.price,
        "quantity": text(line.quantity),
        "amount": str(line.amount),
        "period_start": instant(line.start),
        "period_end": instant(line.end),
    }


def invoice_json(invoice: Invoice) -> dict[str, object]:
    """An invoice as the golden file and the runner's comparison hold it."""
    assert invoice.paid_at is not None, f"{invoice.number} was never paid"
    return {
        "number": invoice.number,
        "customer": invoice.customer.external_id,
        "reason": invoice.reason,
        "period_start": instant(invoice.start),
        "period_end": instant(invoice.end),
        "lines": [line_json(line) for line in invoice.lines],
        "subtotal": str(invoice.subtotal),
        "tax": str(invoice.tax),
        "total": str(invoice.total),
        "status": "FINALIZED",
        "finalized_at": instant(invoice.finalized_at),
        "payment_status": "SUCCEEDED",
        "paid_at": instant(invoice.paid_at),
        "attempts": invoice.attempts,
    }


def golden_json(invoices: list[Invoice]) -> str:
    """The content of `invoices.json`."""
    content = {"clock_end": instant(CLOCK_END), "currency": "usd", "invoices": [invoice_json(i) for i in invoices]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def sheet(invoices: list[Invoice]) -> str:
    """The content of `derivation.csv`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["invoice", "customer", "line", "what", "quantity", "rate", "formula", "exact", "rounded"])
    for invoice in invoices:
        for step in invoice.steps:
            writer.writerow(
                [
                    invoice.number,
                    invoice.customer.external_id,
                    step.line,
                    step.what,
                    step.quantity,
                    step.rate,
                    step.formula,
                    step.exact,
                    step.rounded,
                ]
            )
    return file.getvalue()


def explanation(invoices: list[Invoice], calls: int, repeated: int) -> str:
    """The content of `derivation.md`: the template filled with the figures of the worked example."""
    customer, start = WORKED_EXAMPLE
    [invoice] = [
        i
        for i in invoices
        if i.customer.external_id == customer and instant(i.start) == start and i.reason == "SUBSCRIPTION_CYCLE"
    ]
    rows = "\n".join(f"| {s.line} | {s.what} | {s.formula} | {s.exact} | {s.rounded} |" for s in invoice.steps)
    overview = "\n".join(
        f"| {i.number} | {i.customer.external_id} | {instant(i.start)} | {instant(i.end)} | {i.subtotal} | {i.tax} "
        f"| {i.total} | {instant(i.paid_at) if i.paid_at else ''} |"
        for i in invoices
    )
    template = Template((FOLDER / "derivation.md.template").read_text(encoding="utf-8"))
    return template.substitute(
        number=invoice.number,
        customer=customer,
        start=start,
        end=instant(invoice.end),
        rows=rows,
        overview=overview,
        lines=calls + repeated,
        calls=calls,
        repeated=repeated,
        invoices=len(invoices),
    )


def contents() -> dict[str, str]:
    """File name -> content of the three golden files, derived afresh from the shipped events."""
    calls, repeated = read_calls(read_events_file())
    invoices = derive(calls)
    return {
        "invoices.json": golden_json(invoices),
        "derivation.csv": sheet(invoices),
        "derivation.md": explanation(invoices, len(calls), repeated),
    }


if __name__ == "__main__":
    for name, content in contents().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
