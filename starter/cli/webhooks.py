"""`durabill webhooks`: what was delivered, and sending it again."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group

commands = group("webhooks", "Webhooks: deliveries, and sending them again.")
EVER = "1970-01-01T00:00:00Z"
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
        "durabill webhooks replay wd_01JD...",
        "durabill webhooks replay --failed --endpoint endpoint_01JD...",
        "durabill webhooks replay --since 2026-03-01T08:00:00Z --until 2026-03-01T09:30:00Z",
    )
)
def replay(
    delivery: Annotated[
        list[str] | None, typer.Argument(help="Ids (wd_...) of deliveries.", metavar="DELIVERY")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only deliveries that were given up.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Of events from this instant on (RFC 3339).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Of events before this instant; now by default.")
    ] = None,
    endpoint: EndpointOption = None,
    event_type: Annotated[str | None, typer.Option("--event", help="Only of this type of event.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Send deliveries again, each with the payload of the time when it happened.

    Either some, by their ids, or all of a time (`--since`, or `--failed` for all that were ever given up).
    """
    by_range = bool(failed or since or until or endpoint or event_type)
    if bool(delivery) == by_range or not (delivery or failed or since):
        raise CliError("say either ids of deliveries, or --since, or --failed", exit_code=2)
    from starter.cli import output
    from starter.cli.api_client import connect, segment

    with connect() as api:
        if delivery:
            paths: list[tuple[str, dict[str, Any]]] = [
                (f"webhooks/deliveries/{segment(wanted)}/replay", {}) for wanted in delivery
            ]
        else:
            paths = [("webhooks/deliveries/replay", _range(since, until, endpoint, event_type, failed))]
        sent: list[Any] = [api.post(path, body, idempotency_key=str(uuid4())) for path, body in paths]
    if json_output:
        output.print_json(sent)
    elif delivery:
        typer.echo("\n".join(f"{wanted} is being sent again" for wanted in delivery))
    else:
        typer.echo(f"{sent[0]['replayed']} deliveries are being sent again")


def _range(
    since: str | None, until: str | None, endpoint: str | None, event_type: str | None, failed: bool
) -> dict[str, Any]:
    wanted = {
        "start_time": since or EVER,
        "end_time": until or datetime.now(UTC).isoformat(),
        "endpoint_id": endpoint,
        "event_type": event_type,
        "delivery_status": "failed" if failed else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def answer(delivery: Any) -> str:
    """What came back at the last attempt."""
    from starter.cli.output import text

    return text(delivery.get("last_status_code") or delivery.get("last_error"))
