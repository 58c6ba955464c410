"""The result of a simulation for a person: its invoices with their lines, and what was refused."""

from typing import TYPE_CHECKING, Any

from starter.cli import output

if TYPE_CHECKING:
    from billing.simulation.result import Json


def show(result: "Json", currency: str) -> None:
    """Prints one result, whose amounts are major units of `currency`."""
    columns = [
        ("Invoice", output.field("number")),
        ("Line", output.field("description")),
        ("Period (UTC)", output.field("period")),
        ("Quantity", output.field("quantity")),
        ("Amount", lambda row: output.amount(row.get("amount"), currency)),
    ]
    rows = [row for invoice in result["invoices"] for row in _rows(invoice)]
    output.print_table(result["name"] or "Invoices", columns, rows, right=("Quantity", "Amount"))
    subscription = result["subscription"]
    facts = [("Subscription", f"{subscription['status']}, {_period(subscription, 'current_period_')}")]
    facts += [
        (f"Wallet {each['key']}", f"balance {output.amount(each['balance'], currency)}") for each in result["wallets"]
    ]
    facts += [(f"Refused: action {each['action']}", each["message"]) for each in result["refused"]]
    facts += [(f"Event {each['event_id']}", each["reason"]) for each in result["rejected_events"]]
    output.print_facts("", facts)


def _rows(invoice: dict[str, Any]) -> list[dict[str, str]]:
    """A heading, the lines (with their period where it is another), and the sums that are not 0."""
    status = " ".join((invoice["invoice_status"], invoice["payment_status"]))
    heading = {
        "number": invoice["number"] or "-",
        "description": f"{invoice['billing_reason']} ({status})",
        "period": _period(invoice, "period_"),
    }
    lines = [
        {**line, "description": f"  {line['description']}", "period": _other_period(line, invoice)}
        for line in invoice["lines"]
    ]
    sums = [
        {"description": f"  {name}", "amount": f"{sign}{invoice[field]}"}
        for name, field, sign in (
            ("Discount", "total_discount", "-"),
            ("Tax", "total_tax", ""),
            ("Prepaid credits", "total_prepaid_credits_applied", "-"),
            ("Total", "total", ""),
            ("Paid", "amount_paid", ""),
        )
        if invoice[field] != "0" or field == "total"
    ]
    return [heading, *lines, *sums]


def _other_period(line: dict[str, Any], invoice: dict[str, Any]) -> str:
    own, whole = _period(line, "period_"), _period(invoice, "period_")
    return "" if own == whole else own


def _period(item: dict[str, Any], prefix: str) -> str:
    ends = [output.short_instant(item[f"{prefix}{name}"]) for name in ("start", "end")]
    return " - ".join(ends)
