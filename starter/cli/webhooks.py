"""`durabill webhooks`: what was delivered, and sending it again."""

from typing import Annotated, Any
from uuid import uuid4

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group

commands = group("webhooks", "Webhooks: deliveries, and sending them again.")
EndpointOption = Annotated[str | None, typer.Option("--endpoint", help="Only to this endpoint.")]


@commands.command(epilog=examples("durabill webhooks deliveries", "durabill webhooks deliveries --status failed"))
def deliveries(
    endpoint: EndpointOption = None,
    status: Annotated[str | None, typer.Option(help="Only pending, delivered or failed ones.")] = None,
    event_type: Annotated[str | None, typer.Option("--event", help="Only of this type of event.")] = None,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """List deliveries, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect

    with connect() as api:
        query = {"endpoint_id": endpoint, "delivery_status": status, "event_type": event_type}
        found = api.items("webhooks/deliveries", limit, **query)
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("Id", output.field("id")),
        ("Event", output.field("event_type")),
        ("Status", output.field("delivery_status")),
        ("Attempts", output.field("attempts")),
        ("Answer", answer),
        ("Created (UTC)", output.instant("created_at")),
    ]
    output.print_table("Webhook deliveries", columns, found, right=("Attempts",))


@commands.command(
    epilog=examples(
        "durabill webhooks replay wd_01JD...", "durabill webhooks replay --failed --endpoint endpoint_01JD..."
    )
)
def replay(
    delivery: Annotated[
        list[str] | None, typer.Argument(help="Ids (wd_...) of deliveries.", metavar="DELIVERY")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All deliveries that were given up.")] = False,
    endpoint: EndpointOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Send deliveries again, each with the payload of the time when it happened."""
    if bool(delivery) == failed:
        raise CliError("say either ids of deliveries or --failed", exit_code=2)
    from starter.cli import output
    from starter.cli.api_client import connect, segment

    with connect() as api:
        query = {"delivery_status": "failed", "endpoint_id": endpoint}
        ids = delivery or [item["id"] for item in api.every("webhooks/deliveries", **query)]
        sent: list[Any] = [
            api.post(f"webhooks/deliveries/{segment(wanted)}/replay", {}, idempotency_key=str(uuid4()))
            for wanted in ids
        ]
    if json_output:
        output.print_json(sent)
    else:
        typer.echo("\n".join(f"{wanted} is being sent again" for wanted in ids) or "No delivery has failed.")


def answer(delivery: Any) -> str:
    """What came back at the last attempt."""
    from starter.cli.output import text

    return text(delivery.get("last_status_code") or delivery.get("last_error"))
