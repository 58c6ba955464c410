"""`durabill usage`: what a subscription or a meter has counted."""

from typing import Annotated, Any

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group

commands = group("usage", "Usage: what has been counted.")


@commands.callback()
def usage() -> None:
    """Usage: what has been counted."""


@commands.command(
    epilog=examples(
        "durabill usage show acme  (a chart of each meter, day by day)",
        "durabill usage show --subscription subs_01JD...",
        "durabill usage show --meter meter_01JD... --customer acme --window DAY",
        "durabill usage show --meter meter_01JD... --from 2025-02-01T00:00:00Z --to 2025-03-01T00:00:00Z",
    )
)
def show(
    of: Annotated[
        str | None, typer.Argument(metavar="CUSTOMER", help="Every meter of this customer, id or external id.")
    ] = None,
    subscription: Annotated[
        str | None, typer.Option(help="Of this subscription, in money: its current period.")
    ] = None,
    meter: Annotated[str | None, typer.Option(help="Of this meter (meter_...).")] = None,
    customer: Annotated[str | None, typer.Option(help="With --meter: of this customer, id or external id.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="From this instant on (RFC 3339).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until before this instant (RFC 3339).")] = None,
    window: Annotated[str | None, typer.Option(help="With --meter: a line for each HOUR, DAY, MONTH, ...")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Show usage: of a customer as charts, of a subscription with its charges so far, or of one meter."""
    if sum(given is not None for given in (of, subscription, meter)) != 1:
        raise CliError("say one of CUSTOMER, --subscription ID or --meter ID", exit_code=2)
    from starter.cli import output
    from starter.cli.api_client import connect
    from starter.cli.customers import customer_query

    times = {"start_time": start, "end_time": end}
    if of is not None:
        from starter.cli.customer_usage import show_customer

        show_customer(of, times, json_output)
        return
    with connect() as api:
        if subscription is not None:
            found = api.post("subscriptions/usage", {"subscription_id": subscription, **times})
        else:
            wanted = {"meter_id": meter, "window_size": window, **times, **customer_query(customer)}
            found = api.post("events/usage/meter", wanted)
    if json_output:
        output.print_json(found)
    elif subscription is not None:
        _show_charges(subscription, found)
    else:
        _show_meter(found)


def _show_charges(subscription: str, found: Any) -> None:
    from starter.cli import output

    columns = [
        ("Meter", lambda charge: output.text(charge.get("meter_display_name") or charge.get("meter_id"))),
        ("Quantity", output.field("quantity")),
        ("Amount", output.money("amount")),
    ]
    span = f"{output.short_instant(found.get('start_time'))} - {output.short_instant(found.get('end_time'))} UTC"
    output.print_table(f"Usage of {subscription}, {span}", columns, found.get("charges") or [], ("Quantity", "Amount"))
    output.print_facts("", [("So far", output.amount(found.get("amount"), output.text(found.get("currency"))))])


def _show_meter(found: Any) -> None:
    from starter.cli import output

    if "results" in found:
        columns = [("From (UTC)", output.instant("window_size")), ("Quantity", output.field("value"))]
        output.print_table("Usage", columns, found["results"] or [], right=("Quantity",))
    else:
        # The wire leaves a quantity of zero out.
        typer.echo(f"{found.get('type')} of {found.get('event_name')}: {found.get('value', 0)}")
