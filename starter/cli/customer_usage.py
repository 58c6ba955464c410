"""All usage of a customer as charts: a line of numbers and the days of each meter, by the customer's own calendar."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import typer

from starter.cli import output
from starter.cli.api_client import Api, ApiError, connect
from starter.cli.customers import customer_query
from starter.cli.usage_chart import drawn

MARGIN = 4


def show_customer(customer: str, times: dict[str, str | None], json_output: bool) -> None:
    """Each meter's total and its days; the last seven days of the customer's clock where no times are given."""
    with connect() as api:
        zone = _zone(api, customer)
        found = [_measured(api, meter, {**times, **customer_query(customer)}) for meter in api.every("meters")]
    if json_output:
        output.print_json(found)
        return
    used = [one for one in found if one["value"]]
    if not used:
        typer.echo(f"No usage of {customer} on {_counted(len(found))}.")
        return
    screen = output.console()
    span = f"{times['start_time'] or 'seven days ago'} to {times['end_time'] or 'now'}"
    screen.print(f"Usage of {customer}, {span}, days in {zone}", style="bold", markup=False)
    for one in used:
        screen.print()
        screen.print(_chart(one, zone, screen.width - MARGIN), markup=False)
    if len(used) < len(found):
        screen.print(f"\nNothing on {_counted(len(found) - len(used))} more.")


def _zone(api: Api, customer: str) -> str:
    """The customer's time zone, in which the API cuts days; UTC for one whose events came before it was made known."""
    path = customer if customer.startswith("cust_") else f"external/{quote(customer, safe='')}"
    try:
        return str(api.get(f"customers/{path}").get("timezone") or "UTC")
    except ApiError as refusal:
        if refusal.status != 404:
            raise
        return "UTC"


def _measured(api: Api, meter: Any, asked: dict[str, Any]) -> dict[str, Any]:
    asked = {"meter_id": meter["id"], **asked}
    total = api.post("events/usage/meter", asked)
    value = total.get("value", 0)  # the wire leaves a quantity of zero out
    days = api.post("events/usage/meter", {**asked, "window_size": "DAY"}) if value and _has_days(meter) else {}
    return {"meter": meter, "value": value, "days": days.get("results") or []}


def _has_days(meter: Any) -> bool:
    """A level, and what never resets, belong to a period as a whole."""
    kind = (meter.get("aggregation") or {}).get("type")
    return kind != "WEIGHTED_SUM" and meter.get("reset_usage") != "NEVER"


def _chart(one: Any, zone: str, width: int) -> str:
    meter = one["meter"]
    kind = (meter.get("aggregation") or {}).get("type") or ""
    title = f"{meter.get('name') or meter['id']}  {kind} {Decimal(str(one['value'])):,f}"
    if not _has_days(meter):
        return f"{title}\n  of the whole time: it has no days"
    return drawn(title, [(_day(each, zone), Decimal(str(each["value"]))) for each in one["days"]], width)


def _day(result: Any, zone: str) -> date:
    """The day that starts at local midnight, which the API names by its instant."""
    return datetime.fromisoformat(result["window_size"]).astimezone(ZoneInfo(zone)).date()


def _counted(meters: int) -> str:
    return f"{meters} meter{'' if meters == 1 else 's'}"
