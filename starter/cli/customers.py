"""`durabill customers`: list."""

from typing import Annotated

import typer

from starter.cli.shared import JsonFlag, LimitOption, examples, group

commands = group("customers", "Customers.")


@commands.command("list", epilog=examples("durabill customers list", "durabill customers list --json"))
def list_(
    external_id: Annotated[str | None, typer.Option(help="Only the customer with this id of yours.")] = None,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """List customers, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect

    with connect() as api:
        found = api.items("customers", limit, external_id=external_id)
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("External id", output.field("external_id")),
        ("Name", output.field("name")),
        ("Email", output.field("email")),
        ("Time zone", output.field("timezone")),
        ("Created (UTC)", output.instant("created_at")),
        ("Id", output.field("id")),
    ]
    output.print_table("Customers", columns, found)


def customer_query(customer: str | None) -> dict[str, str]:
    """The query parameter that names a customer by our id or by the caller's."""
    if customer is None:
        return {}
    return {"customer_id" if customer.startswith("cust_") else "external_customer_id": customer}
