"""`durabill credit-notes`: list, show, create, finalize, void, pdf."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from starter.cli.invoices import find_invoice, write_file
from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group

if TYPE_CHECKING:
    from starter.cli.api_client import Api, Json

commands = group("credit-notes", "Credit notes: what of an invoice is not asked for, or given back.")
Note = Annotated[str, typer.Argument(help="Id (cn_...) or number (CN-202502-00001).", metavar="NOTE")]
Key = Annotated[
    str | None, typer.Option("--key", help="The same key again gives no second note; one is made up without it.")
]


class Reason(StrEnum):
    """Why it is given."""

    duplicate = "duplicate"
    fraudulent = "fraudulent"
    order_change = "order-change"
    unsatisfactory = "unsatisfactory"
    service_issue = "service-issue"
    billing_error = "billing-error"
    subscription_cancellation = "subscription-cancellation"


@commands.command("list", epilog=examples("durabill credit-notes list", "durabill credit-notes list --customer acme"))
def list_(
    customer: Annotated[str | None, typer.Option(help="Only of this customer: id (cust_...) or external id.")] = None,
    invoice: Annotated[str | None, typer.Option(help="Only of this invoice: id or number.")] = None,
    status: Annotated[str | None, typer.Option(help="Only DRAFT, FINALIZED or VOIDED ones.")] = None,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """List credit notes, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect
    from starter.cli.customers import customer_query

    with connect() as api:
        query = {"credit_note_status": status, **customer_query(customer)}
        if invoice is not None:
            query["invoice_id"] = find_invoice(api, invoice)["id"]
        found = api.items("creditnotes", limit, **query)
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("Number", lambda item: output.text(item.get("credit_note_number") or item["id"])),
        ("Invoice", output.field("invoice_id")),
        ("Type", output.field("credit_note_type")),
        ("Amount", output.money("total_amount")),
        ("Reason", output.field("reason")),
        ("Status", output.field("credit_note_status")),
        ("Finalized (UTC)", output.instant("finalized_at")),
    ]
    output.print_table("Credit notes", columns, found, right=("Amount",))


@commands.command(epilog=examples("durabill credit-notes show CN-202502-00001"))
def show(note: Note, json_output: JsonFlag = False) -> None:
    """Show one credit note with its lines, and why, where it corrects usage."""
    from starter.cli.api_client import connect

    with connect() as api:
        _print(find_note(api, note), json_output)


@commands.command(
    epilog=examples(
        "durabill credit-notes create INV-202502-00001 10.50 --reason service-issue --memo 'Outage of 3 March'",
        "durabill credit-notes create INV-202502-00001 10.50 --reason duplicate --draft",
    )
)
def create(
    invoice: Annotated[str, typer.Argument(help="Id (inv_...) or number (INV-202502-00001).", metavar="INVOICE")],
    amount: Annotated[str, typer.Argument(help="How much, taxes included, in major units.", metavar="AMOUNT")],
    reason: Annotated[Reason, typer.Option(help="Why it is given.")],
    memo: Annotated[str, typer.Option(help="Words for the customer.")] = "",
    draft: Annotated[bool, typer.Option("--draft", help="It waits to be finalized.")] = False,
    key: Key = None,
    json_output: JsonFlag = False,
) -> None:
    """Credit a part of an invoice: less to pay of an unpaid one, credit of the customer's wallet for a paid one."""
    from starter.cli.api_client import connect

    with connect() as api:
        body = {
            "invoice_id": find_invoice(api, invoice)["id"],
            "amount": amount,
            "reason": reason.name.upper(),
            "memo": memo,
            "process_credit_note": not draft,
        }
        _print(api.post("creditnotes", body, idempotency_key=key or str(uuid4())), json_output)


@commands.command(epilog=examples("durabill credit-notes finalize cn_01JD..."))
def finalize(note: Note, key: Key = None, json_output: JsonFlag = False) -> None:
    """Let a draft take effect."""
    _command(note, "finalize", key, json_output)


@commands.command(epilog=examples("durabill credit-notes void cn_01JD..."))
def void(note: Note, key: Key = None, json_output: JsonFlag = False) -> None:
    """Drop a draft, or take an adjustment back while its invoice waits for money."""
    _command(note, "void", key, json_output)


@commands.command(epilog=examples("durabill credit-notes pdf CN-202502-00001", "durabill credit-notes pdf cn_... -o -"))
def pdf(
    note: Note,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Instead of NUMBER.pdf; - for stdout.")] = None,
) -> None:
    """Download the PDF of a credit note."""
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = find_note(api, note)
        content = api.send("GET", f"creditnotes/{segment(found['id'])}/pdf").content
    if not content.startswith(b"%PDF-"):
        raise CliError("The API did not answer with a PDF. Check DURABILL_URL.")
    write_file(file or Path(f"{found.get('credit_note_number') or found['id']}.pdf"), content)


def find_note(api: "Api", note: str) -> "Json":
    """The credit note of an id or a number; raises CliError when there is none."""
    from starter.cli.api_client import segment

    if note.startswith("cn_"):
        by_id: Json = api.get(f"creditnotes/{segment(note)}")
        return by_id
    named = api.get("creditnotes", credit_note_number=note)["items"]
    if named:
        by_number: Json = named[0]
        return by_number
    raise CliError(f"No credit note has the number {note}. `durabill credit-notes list` shows them.")


def _command(note: str, verb: str, key: str | None, json_output: bool) -> None:
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = find_note(api, note)
        path = f"creditnotes/{segment(found['id'])}/{verb}"
        _print(api.post(path, {}, idempotency_key=key or str(uuid4())), json_output)


def _print(note: "Json", json_output: bool) -> None:
    from starter.cli import output

    if json_output:
        output.print_json(note)
        return
    currency = output.text(note.get("currency"))
    facts = [
        ("Id", output.text(note["id"])),
        ("Invoice", output.text(note.get("invoice_id"))),
        ("Type", output.text(note.get("credit_note_type"))),
        ("Status", output.text(note.get("credit_note_status"))),
        ("Reason", output.text(note.get("reason"))),
        ("Memo", output.text(note.get("memo"))),
        ("Amount", output.amount(note.get("total_amount"), currency)),
        ("of which tax", output.amount(note.get("tax_amount"), currency) if note.get("finalized_at") else ""),
        ("Finalized (UTC)", output.short_instant(note.get("finalized_at"))),
        ("Voided (UTC)", output.short_instant(note.get("voided_at"))),
    ]
    output.print_facts(f"Credit note {note.get('credit_note_number') or '(draft)'}", facts)
    columns = [
        ("Line", output.field("display_name")),
        ("Amount", lambda line: output.amount(line.get("amount"), currency)),
    ]
    output.print_table("", columns, note.get("line_items") or [], right=("Amount",))
    for line in note.get("line_items") or []:
        for words in line.get("explanation") or []:
            typer.echo(words)
