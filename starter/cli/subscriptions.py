"""`durabill subscriptions`: list, show, cancel."""

from enum import StrEnum
from typing import Annotated
from uuid import uuid4

import typer

from starter.cli.shared import JsonFlag, LimitOption, examples, group

commands = group("subscriptions", "Subscriptions: list, look, cancel.")
Subscription = Annotated[str, typer.Argument(help="Id (subs_...).", metavar="SUBSCRIPTION")]


class When(StrEnum):
    """When a cancellation takes effect."""

    now = "now"
    period_end = "period-end"


CANCELLATION = {When.now: "immediate", When.period_end: "end_of_period"}


@commands.command("list", epilog=examples("durabill subscriptions list --customer acme"))
def list_(
    customer: Annotated[str | None, typer.Option(help="Only of this customer: id (cust_...) or external id.")] = None,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """List subscriptions, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect
    from starter.cli.customers import customer_query

    with connect() as api:
        found = api.items("subscriptions", limit, expand="plan,customer", **customer_query(customer))
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("Id", output.field("id")),
        ("Customer", lambda item: output.named(item, "customer")),
        ("Plan", lambda item: output.named(item, "plan")),
        ("Status", output.field("subscription_status")),
        ("Period start (UTC)", output.instant("current_period_start")),
        ("Period end (UTC)", output.instant("current_period_end")),
    ]
    output.print_table("Subscriptions", columns, found)


@commands.command(epilog=examples("durabill subscriptions show subs_01JD..."))
def show(subscription: Subscription, json_output: JsonFlag = False) -> None:
    """Show one subscription with its line items."""
    from starter.cli import output
    from starter.cli.api_client import connect, segment

    with connect() as api:
        found = api.get(f"subscriptions/{segment(subscription)}")
    if json_output:
        output.print_json(found)
        return
    names = ("subscription_status", "currency", "billing_period", "billing_cycle", "timezone")
    instants = ("start_date", "current_period_start", "current_period_end", "cancel_at", "cancelled_at", "end_date")
    facts = [(noun, output.named(found, noun)) for noun in ("customer", "plan")]
    facts += [(name.replace("_", " "), output.text(found.get(name))) for name in names]
    facts += [(f"{name.replace('_', ' ')} (UTC)", output.short_instant(found.get(name))) for name in instants]
    output.print_facts(f"Subscription {found['id']}", facts)
    columns = [
        ("Line item", output.field("display_name")),
        ("Type", output.field("price_type")),
        ("Invoiced in", output.field("invoice_cadence")),
        ("Quantity", output.field("quantity")),
        ("Price", output.field("price_id")),
    ]
    output.print_table("", columns, found.get("line_items") or [], right=("Quantity",))


@commands.command(
    epilog=examples(
        "durabill subscriptions cancel subs_01JD... --at period-end",
        "durabill subscriptions cancel subs_01JD... --at now --prorate --yes",
    )
)
def cancel(
    subscription: Subscription,
    at: Annotated[When, typer.Option(help="When it ends.")],
    prorate: Annotated[bool, typer.Option(help="Credit what was paid in advance and is not used.")] = True,
    reason: Annotated[str | None, typer.Option(help="Kept with the subscription.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Cancel a subscription; usage up to the end is billed."""
    if not yes:
        typer.confirm(f"Cancel {subscription} ({at.value})?", abort=True, err=True)
    from starter.cli import output
    from starter.cli.api_client import connect, segment

    body = {
        "cancellation_type": CANCELLATION[at],
        "proration_behavior": "create_prorations" if prorate else "none",
        "reason": reason,
    }
    with connect() as api:
        answer = api.post(f"subscriptions/{segment(subscription)}/cancel", body, idempotency_key=str(uuid4()))
    if json_output:
        output.print_json(answer)
        return
    effective = output.short_instant(answer.get("effective_date"))
    typer.echo(f"{subscription} is {answer.get('status')}, effective {effective} UTC.")
