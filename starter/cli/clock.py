"""`durabill clock`: test clocks, by whose time the customers attached to them live."""

import time
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group

if TYPE_CHECKING:
    from starter.cli.api_client import Api, Json

commands = group("clock", "Test clocks: months of billing in seconds.")
POLL_SECONDS = 0.5
STALLED_SECONDS = 600
"""A clock whose time has not moved for so long will not arrive."""


@commands.command("list", epilog=examples("durabill clock list"))
def list_(limit: LimitOption = 100, json_output: JsonFlag = False) -> None:
    """List test clocks, newest first."""
    from starter.cli import output
    from starter.cli.api_client import connect

    with connect() as api:
        found = api.items("test_clocks", limit)
    if json_output:
        output.print_json(found)
        return
    columns = [
        ("Name", output.field("name")),
        ("Time (UTC)", output.field("frozen_time")),
        ("Status", output.field("status")),
        ("Id", output.field("id")),
    ]
    output.print_table("Test clocks", columns, found)


@commands.command(
    epilog=examples(
        "durabill clock advance demo --to 2025-03-01T00:00:00Z",
        "durabill clock advance clock_01JD... --to 2025-03-01T00:00:00Z --no-wait",
    )
)
def advance(
    clock: Annotated[str, typer.Argument(help="Id (clock_...) or name.", metavar="CLOCK")],
    to: Annotated[str, typer.Option(help="The instant to go to (RFC 3339), later than the clock's time.")],
    wait: Annotated[bool, typer.Option(help="Wait until everything due on the way is done.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Move the time of a test clock and of all customers attached to it."""
    from starter.cli.api_client import connect, segment
    from starter.cli.output import print_json

    with connect() as api:
        clock_id = find_clock(api, clock)
        answer = api.post(f"test_clocks/{segment(clock_id)}/advance", {"frozen_time": to}, idempotency_key=str(uuid4()))
        if wait:
            answer = wait_until_ready(api, clock_id, to)
    if json_output:
        print_json(answer)
    else:
        typer.echo(f"{answer.get('name') or clock_id} is {answer.get('status')} at {answer.get('frozen_time')}.")


def find_clock(api: "Api", clock: str) -> str:
    """The id of a clock; raises CliError unless exactly one has that name."""
    if clock.startswith("clock_"):
        return clock
    named = [item["id"] for item in api.every("test_clocks") if item.get("name") == clock]
    if len(named) != 1:
        found = "No clock" if not named else f"{len(named)} clocks"
        raise CliError(f"{found} with the name {clock}. `durabill clock list` shows names and ids.")
    return str(named[0])


def wait_until_ready(api: "Api", clock_id: str, to: str) -> "Json":
    """The clock once it stands still; raises CliError when it has stopped moving before."""
    from rich.console import Console

    from starter.cli.api_client import segment

    moved_at, seen = time.monotonic(), ""
    with Console(stderr=True).status(f"Advancing to {to}") as status:
        while True:
            clock: Json = api.get(f"test_clocks/{segment(clock_id)}")
            if clock.get("status") == "internal_failure":
                raise CliError(f"The clock has stopped at {clock.get('frozen_time')}: {clock.get('problem')}")
            if clock.get("status") != "advancing":
                return clock
            if clock.get("frozen_time") != seen:
                moved_at, seen = time.monotonic(), str(clock.get("frozen_time"))
                status.update(f"Advancing to {to}: {seen}")
            if time.monotonic() - moved_at > STALLED_SECONDS:
                raise CliError(
                    f"The clock has stood at {seen} for {STALLED_SECONDS // 60} minutes. Is a worker running? Its"
                    f" workflow in the Temporal UI is test-clock/{clock_id}."
                )
            time.sleep(POLL_SECONDS)
