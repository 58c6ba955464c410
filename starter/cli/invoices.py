"""`durabill invoices`: list, show, explain, verify, pdf."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group

if TYPE_CHECKING:
    from starter.cli.api_client import Api, Json

commands = group("invoices", "Invoices: what they say, and why.")
Invoice = Annotated[str, typer.Argument(help="Id (inv_...) or number (INV-202502-00001).", metavar="INVOICE")]


@commands.command("list", epilog=examples("durabill invoices list", "durabill invoices list --customer acme --json"))
def list_(
    customer: Annotated[str | None, typer.Option(help="Only of this customer: id (cust_...) or external id.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Only of this subscription.")] = None,
    status: Annotated[str | None, typer.Option(help="Only DRAFT, FINALIZED, VOIDED or SKIPPED ones.")] = None,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """List invoices, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect
    from starter.cli.customers import customer_query

    with connect() as api:
        query = {"subscription_id": subscription, "invoice_status": status, "expand": "customer"}
        query |= customer_query(customer) | {"skip_line_items": None if json_output else "true"}
        found = api.items("invoices", limit, **query)
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("Number", lambda item: output.text(item.get("invoice_number") or item["id"])),
        ("Customer", lambda item: output.named(item, "customer")),
        ("Period", output.period),
        ("Subtotal", output.money("subtotal")),
        ("Tax", output.money("total_tax")),
        ("Total", output.money("total")),
        ("Status", output.field("invoice_status")),
        ("Payment", output.field("payment_status")),
        ("Paid at (UTC)", output.instant("paid_at")),
    ]
    output.print_table("Invoices", columns, found, right=("Subtotal", "Tax", "Total"))


@commands.command(epilog=examples("durabill invoices show INV-202502-00001"))
def show(invoice: Invoice, json_output: JsonFlag = False) -> None:
    """Show one invoice with its lines."""
    from starter.cli import output
    from starter.cli.api_client import connect

    with connect() as api:
        found = find_invoice(api, invoice)
    if json_output:
        output.print_json(found)
        return
    currency = output.text(found.get("currency"))
    facts = [
        ("Id", output.text(found["id"])),
        ("Customer", output.named(found, "customer")),
        ("Subscription", output.text(found.get("subscription_id"))),
        ("Period", output.period(found)),
        ("Status", f"{found.get('invoice_status')}, payment {found.get('payment_status')}"),
        ("Finalized (UTC)", output.short_instant(found.get("finalized_at"))),
        ("Due (UTC)", output.short_instant(found.get("due_date"))),
        ("Paid (UTC)", output.short_instant(found.get("paid_at"))),
    ]
    output.print_facts(f"Invoice {found.get('invoice_number') or '(draft)'}", facts)
    columns = [
        ("Line", output.field("display_name")),
        ("Period", output.period),
        ("Quantity", output.field("quantity")),
        ("Amount", lambda line: output.amount(line.get("amount"), currency)),
    ]
    output.print_table("", columns, found.get("line_items") or [], right=("Quantity", "Amount"))
    sums = ["subtotal", "total_discount", "total_tax", "total", "amount_paid", "amount_remaining"]
    noted = [name for name in ("adjustment_amount", "refunded_amount") if found.get(name, "0") != "0"]
    sums[4:4] = noted
    output.print_facts("", [(name.replace("_", " "), output.amount(found.get(name), currency)) for name in sums])


@commands.command(epilog=examples("durabill invoices explain INV-202502-00001"))
def explain(invoice: Invoice, json_output: JsonFlag = False) -> None:
    """Say why every amount is what it is: usage, tiers, shares of a period, discounts, taxes, credits and rounding."""
    from starter.cli import explanation_page, output
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = api.get(f"invoices/{segment(find_invoice(api, invoice)['id'])}/explain")
    if json_output:
        output.print_json(found)
        return
    explanation_page.show(found, found.get("invoice_number") or found["invoice_id"])


@commands.command(epilog=examples("durabill invoices verify INV-202502-00001"))
def verify(invoice: Invoice, json_output: JsonFlag = False) -> None:
    """Compute the invoice again from what was stored and compare it to the last digit. Exit 1 when it differs."""
    from starter.cli import output
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = api.get(f"invoices/{segment(find_invoice(api, invoice)['id'])}/verify")
    if json_output:
        output.print_json(found)
    elif found["verified"]:
        typer.echo(f"{invoice}: computed again from what is stored with it, equal to the last digit.")
    else:
        typer.echo("\n".join([f"{invoice} differs from what its stored inputs give:", *found["differences"]]))
    if not found["verified"]:
        raise typer.Exit(1)


@commands.command(
    epilog=examples(
        "durabill invoices pdf INV-202502-00001",
        "durabill invoices pdf INV-202502-00001 --output invoice.pdf",
        "durabill invoices pdf INV-202502-00001 --url",
    )
)
def pdf(
    invoice: Invoice,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Instead of NUMBER.pdf; - for stdout.")] = None,
    url: Annotated[bool, typer.Option("--url", help="Print a link that expires, and download nothing.")] = False,
) -> None:
    """Download the PDF of an invoice."""
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = find_invoice(api, invoice)
        path = f"invoices/{segment(found['id'])}/pdf"
        if url:
            typer.echo(api.get(path, url="true")["presigned_url"])
            return
        content = api.send("GET", path).content
    if not content.startswith(b"%PDF-"):
        raise CliError("The API did not answer with a PDF. Check DURABILL_URL.")
    write_file(file or Path(f"{found.get('invoice_number') or found['id']}.pdf"), content)


def write_file(path: Path, content: bytes) -> None:
    """The content into a file, or to stdout for `-`."""
    import sys

    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        path.write_bytes(content)
    except OSError as problem:
        raise CliError(f"{path} cannot be written: {problem.strerror}") from None
    typer.echo(str(path))


def find_invoice(api: "Api", invoice: str) -> "Json":
    """The invoice of an id or a number; raises CliError when there is none."""
    from starter.cli.api_client import segment

    if invoice.startswith("inv_"):
        by_id: Json = api.get(f"invoices/{segment(invoice)}")
        return by_id
    named = api.get("invoices", invoice_number=invoice, expand="customer")["items"]
    if named:
        by_number: Json = named[0]
        return by_number
    raise CliError(f"No invoice has the number {invoice}. `durabill invoices list` shows them.")
