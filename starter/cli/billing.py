"""`durabill billing`: kick off what is due and not done, look ahead at what it would come to, see how runs stand."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, group, read_settings

if TYPE_CHECKING:
    from activities.billing_run_states import BillingRunReport

commands = group("billing", "Billing runs: what is due and not done. Needs TEMPORAL_ADDRESS.")

AsOf = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="What is due at this instant (RFC 3339); now by default.")
]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant: id (tenant_...).")]
Customer = Annotated[str | None, typer.Option(help="Only of this customer: id (cust_...).")]


@commands.command(
    epilog=examples(
        "durabill billing run",
        "durabill billing run --tenant tenant_01JD... --as-of 2026-03-01T00:00:00Z",
        "durabill billing run --customer cust_01JD... --json",
        "durabill billing run --per-second 5 --no-wait",
    )
)
def run(
    as_of: AsOf = None,
    tenant: Tenant = None,
    customer: Customer = None,
    per_second: Annotated[int, typer.Option(help="Wake so many in a second at most.", min=1, max=1000)] = 20,
    patience: Annotated[
        int, typer.Option(metavar="SECONDS", help="Report what is left once nothing got done for so long.", min=0)
    ] = 60,
    wait: Annotated[bool, typer.Option(help="Follow the run to its report.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Wake every subscription and invoice that is due and not done, and report.

    Their own workflows do the work, so nothing is billed twice, whatever runs beside it. A run that was interrupted is
    begun again by the same command. Exit code 1: something is still not done.
    """
    from workflows.contracts import BillingRunInput

    wanted = BillingRunInput(_instant(as_of), tenant, customer, per_second=per_second, patience_seconds=patience)
    _refuse_future(wanted.as_of)
    report = _play(wanted, wait, json_output)
    if report is not None and report.remaining:
        raise typer.Exit(1)


@commands.command(
    epilog=examples(
        "durabill billing preview",
        "durabill billing preview --as-of 2026-04-01T00:00:00Z --tenant tenant_01JD...",
        "durabill billing preview --customer cust_01JD... --json",
    )
)
def preview(
    as_of: AsOf = None, tenant: Tenant = None, customer: Customer = None, json_output: JsonFlag = False
) -> None:
    """Show what a run would bill, with totals by currency; nothing is changed.

    An instant to come looks ahead, with the usage that is there now.
    """
    from workflows.contracts import BillingRunInput

    _play(BillingRunInput(_instant(as_of), tenant, customer, dry_run=True), True, json_output)


@commands.command(
    epilog=examples("durabill billing status", "durabill billing status billing-run/all/2026-03-01T00:00:00Z")
)
def status(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Id of a run; without one, the latest.")] = None,
    limit: LimitOption = 20,
    json_output: JsonFlag = False,
) -> None:
    """Show how a run stands, or list the latest runs and previews."""
    from starter.cli import billing_pages

    if run is None:
        billing_pages.show_runs(asyncio.run(_recent(limit)), json_output)
        return
    status, report = asyncio.run(_standing(run))
    if report is None:
        raise CliError(f"{run} is {status}; no worker that serves the queue 'runs' answers to say more")
    billing_pages.show(run, status, report, json_output)


def _play(wanted: Any, wait: bool, json_output: bool) -> "BillingRunReport | None":
    from starter.cli import billing_pages

    run_id, report = asyncio.run(_start(wanted, wait, billing_pages.teller()))
    if report is None:
        typer.echo(run_id)
    else:
        billing_pages.show(run_id, "completed", report, json_output)
    return report


async def _start(
    wanted: Any, wait: bool, tell: "Callable[[BillingRunReport | None], None]"
) -> "tuple[str, BillingRunReport | None]":
    from temporalio.service import RPCError

    from starter.billing_runs import RunFailed, follow, start_run
    from starter.clients import connect_temporal

    try:
        handle = await start_run(await connect_temporal(read_settings()), wanted)
        return handle.id, await follow(handle, tell) if wait else None
    except RunFailed as problem:
        raise CliError(f"the run has failed: {problem}") from problem
    except (RPCError, RuntimeError) as problem:
        raise _unreachable(problem) from problem


async def _standing(run_id: str) -> "tuple[str, BillingRunReport | None]":
    from temporalio.service import RPCError, RPCStatusCode

    from starter.billing_runs import report_of, run_of
    from starter.clients import connect_temporal

    try:
        return await report_of(run_of(await connect_temporal(read_settings()), run_id))
    except (RPCError, RuntimeError) as problem:
        if isinstance(problem, RPCError) and problem.status is RPCStatusCode.NOT_FOUND:
            raise CliError(f"there is no run {run_id!r}; `durabill billing status` lists them") from problem
        raise _unreachable(problem) from problem


async def _recent(limit: int) -> list[Any]:
    from temporalio.service import RPCError

    from starter.billing_runs import recent_runs
    from starter.clients import connect_temporal

    try:
        return list(await recent_runs(await connect_temporal(read_settings()), limit))
    except (RPCError, RuntimeError) as problem:
        raise _unreachable(problem) from problem


def _unreachable(problem: Exception) -> CliError:
    return CliError(f"Temporal cannot be reached: {problem}. Check TEMPORAL_ADDRESS.")


def _instant(text: str | None) -> datetime:
    """A whole second, so that the run's id names it exactly."""
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(f"--as-of must be an instant like 2026-03-01T00:00:00Z; got {text!r}", exit_code=2) from None
    if found.tzinfo is None or found.microsecond:
        raise CliError(
            f"--as-of must name its offset and a whole second, like 2026-03-01T00:00:00Z; got {text!r}", exit_code=2
        )
    return found.astimezone(UTC)


def _refuse_future(as_of: datetime | None) -> None:
    if as_of is not None and as_of > datetime.now(UTC):
        raise CliError(
            f"--as-of {as_of:%Y-%m-%dT%H:%M:%SZ} lies in the future, and nothing is billed before its time;"
            " `durabill billing preview` may look ahead",
            exit_code=2,
        )
