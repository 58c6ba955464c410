"""How billing runs are shown: facts, totals, what is left and why; progress goes to stderr."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import typer
from pydantic import TypeAdapter

from activities.billing_run_states import BillingRunReport
from starter.billing_runs import KnownRun
from starter.cli import output
from starter.cli.shared import is_watched


def teller() -> Callable[[BillingRunReport | None], None]:
    """Says how far a run has come, once for each change."""
    said = ""

    def tell(report: BillingRunReport | None) -> None:
        nonlocal said
        line = progress_line(report)
        if line != said:
            said = line
            if is_watched():
                typer.echo(line, err=True)

    return tell


def progress_line(report: BillingRunReport | None) -> str:
    """`waking: 40 of 120 woken, 12 done`."""
    if report is None:
        return "waiting for a worker that serves the queue 'runs'"
    if report.dry_run:
        return f"{report.phase}: {report.invoice_count} invoices"
    return f"{report.phase}: {report.woken} of {report.due.both} woken, {report.done} done"


def show(run_id: str, status: str, report: BillingRunReport, json_output: bool) -> None:
    """One run."""
    data = as_json(run_id, status, report)
    if json_output:
        output.print_json(data)
        return
    due = f"{report.due.subscriptions} subscriptions, {report.due.invoices} invoices"
    facts = [("Run", run_id), ("Status", f"{status}, {report.phase}"), ("As of (UTC)", data["as_of"]), ("Due", due)]
    if not report.dry_run:
        facts += [("Woken", str(report.woken)), ("Done", str(report.done)), ("Not done", str(report.remaining))]
    output.print_facts("Preview: nothing was changed" if report.dry_run else "Billing run", facts)
    if report.dry_run:
        _show_preview(report, data)
    if report.not_done:
        columns = [
            ("Not done", output.field("id")),
            ("Customer", output.field("customer_id")),
            ("Due (UTC)", output.instant("due_at")),
            ("Why", output.field("reason")),
        ]
        output.print_table("", columns, data["not_done"])


def _show_preview(report: BillingRunReport, data: dict[str, Any]) -> None:
    columns = [
        ("Customer", output.field("customer_id")),
        ("Subscription", output.field("subscription_id")),
        ("Period start (UTC)", output.instant("period_start")),
        ("Period end (UTC)", output.instant("period_end")),
        ("Reason", output.field("billing_reason")),
        ("Tax", output.money("total_tax")),
        ("Total", output.money("total")),
    ]
    hidden = report.invoice_count - len(report.invoices)
    more = f" (the first {len(report.invoices)} of {report.invoice_count})" if hidden else ""
    output.print_table(f"Would be billed{more}", columns, data["invoices"], right=("Tax", "Total"))
    sums = [
        ("Currency", lambda item: str(item["currency"]).upper()),
        ("Invoices", output.field("invoices")),
        ("Subtotal", output.money("subtotal")),
        ("Tax", output.money("total_tax")),
        ("Total", output.money("total")),
    ]
    output.print_table("Totals", sums, data["totals"], right=("Invoices", "Subtotal", "Tax", "Total"))


def show_runs(runs: Sequence[KnownRun], json_output: bool) -> None:
    """A list of runs."""
    items = [{name: _text(value) for name, value in asdict(each).items()} for each in runs]
    if json_output:
        output.print_json(items)
        return
    columns = [
        ("Run", output.field("id")),
        ("Status", output.field("status")),
        ("Started (UTC)", output.instant("started_at")),
        ("Ended (UTC)", output.instant("closed_at")),
    ]
    output.print_table("Billing runs", columns, items)


def as_json(run_id: str, status: str, report: BillingRunReport) -> dict[str, Any]:
    """The report with RFC 3339 instants and amounts as text."""
    data: dict[str, Any] = TypeAdapter(BillingRunReport).dump_python(report, mode="json")
    return {"id": run_id, "status": status, **data, "done": report.done}


def _text(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json") if value is not None else None
