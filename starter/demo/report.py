"""Shows how the demo went: progress while it plays, then the invoices, or what is wrong with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from starter.demo.compare import Difference
from starter.demo.runner import Outcome
from starter.demo.story import CLOCK_END, CLOCK_START, CUSTOMERS

STOP_HINT = "make stop (or: .venv/bin/durabill dev stop)"
ZONES = {customer.external_id: ZoneInfo(customer.timezone) for customer in CUSTOMERS}


class ProgressView:
    """A line a step, one bar for the year and one for the events."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step: TaskID = progress.add_task("Starting", total=None, detail="")
        self._clock: TaskID | None = None
        self._events: TaskID | None = None

    def step(self, text: str) -> None:
        """A new thing begins."""
        self._progress.update(self._step, description=text)
        if not self._progress.console.is_terminal:
            self._progress.console.print(text)

    def clock(self, now: datetime) -> None:
        """The test clock stands at `now`."""
        if self._clock is None:
            self._clock = self._progress.add_task("Test clock", total=(CLOCK_END - CLOCK_START).days, detail="")
        self._progress.update(self._clock, completed=(now - CLOCK_START).days, detail=f"{now:%d %b %Y %H:%M} UTC")
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"  test clock at {now:%Y-%m-%d %H:%M} UTC")

    def events(self, posted: int, total: int) -> None:
        """So many events are posted."""
        if self._events is None:
            self._events = self._progress.add_task("Events", total=total, detail="")
        self._progress.update(self._events, completed=posted, detail=f"{posted} of {total}")


@contextmanager
def progress_view(console: Console) -> Iterator[ProgressView]:
    """Bars on a terminal, plain lines elsewhere."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<44}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield ProgressView(progress)


def show(outcome: Outcome, temporal_ui_url: str, console: Console) -> None:
    """Everything a person wants to see at the end."""
    console.print(invoices_table(outcome.invoices))
    if outcome.differences:
        console.print(differences_table(outcome.differences))
    else:
        console.print(f"[green]All {len(outcome.invoices)} invoices equal the golden file, to the last digit.[/green]")
    for name, fact in facts(outcome, temporal_ui_url):
        console.print(f"[bold]{name:<17}[/bold]", end="")
        console.print(fact, markup=False, highlight=False, soft_wrap=True)


def show_json(outcome: Outcome, temporal_ui_url: str, console: Console) -> None:
    """The same for a program."""
    content = {
        "ok": succeeded(outcome),
        "invoices": outcome.invoices,
        "differences": [
            {"invoice": d.invoice, "field": d.field, "expected": d.expected, "got": d.got} for d in outcome.differences
        ],
        "pdfs": [str(path) for path in outcome.pdfs],
        "webhooks": {"delivered": outcome.webhooks, "refused": outcome.webhooks_refused},
        "events": outcome.events,
        "temporal_ui": temporal_ui_url,
        "invoice_workflow": workflow_url(outcome.invoices, temporal_ui_url),
    }
    console.print_json(json.dumps(content, ensure_ascii=False))


def succeeded(outcome: Outcome) -> bool:
    """Whether every invoice is as it must be, and webhooks came, all of them genuine."""
    webhooks_came = bool(outcome.webhooks) or not outcome.webhooks_expected
    return not outcome.differences and webhooks_came and outcome.webhooks_refused == 0


def invoices_table(invoices: list[dict[str, Any]]) -> Table:
    """A row an invoice; nothing is cut off on a narrow terminal, it folds."""
    table = Table(
        title="Invoices of Demo Voice (usd; periods in the customer's zone, paid at in UTC)",
        box=None,
        title_justify="left",
        padding=(0, 2, 0, 0),
    )
    table.add_column("number", no_wrap=True)
    for heading in ("customer", "period"):
        table.add_column(heading, overflow="fold")
    for heading in ("subtotal", "tax", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("status", "paid at"):
        table.add_column(heading, overflow="fold")
    for invoice in invoices:
        zone = ZONES[invoice["customer"]]
        table.add_row(
            invoice["number"] or "none",
            invoice["customer"],
            f"{_local(invoice['period_start'], zone):%d %b} - {_local(invoice['period_end'], zone):%d %b %Y}",
            _cents(invoice["subtotal"]),
            _cents(invoice["tax"]),
            _cents(invoice["total"]),
            _status(invoice),
            "" if invoice["paid_at"] is None else f"{_utc(invoice['paid_at']):%Y-%m-%d %H:%M}",
        )
    return table


def differences_table(differences: list[Difference]) -> Table:
    """What was expected, and what came."""
    table = Table(title=f"Differences from the golden file: {len(differences)}", title_justify="left", style="red")
    for heading in ("invoice", "field", "expected", "got"):
        table.add_column(heading, overflow="fold")
    for difference in differences:
        table.add_row(difference.invoice, difference.field, difference.expected, difference.got)
    return table


def workflow_url(invoices: list[dict[str, Any]], temporal_ui_url: str) -> str | None:
    """The Temporal UI's page of the invoice with the most attempts: the one with a story to tell."""
    if not invoices:
        return None
    invoice = max(invoices, key=lambda invoice: len(invoice["attempts"]))
    workflow_id = quote(f"invoice/{invoice['tenant_id']}/{invoice['id']}", safe="")
    return f"{temporal_ui_url.rstrip('/')}/namespaces/default/workflows/{workflow_id}"


def facts(outcome: Outcome, temporal_ui_url: str) -> list[tuple[str, str]]:
    """What else there is to know, each with its name."""
    delivered = ", ".join(f"{count} {name}" for name, count in sorted(outcome.webhooks.items())) or "none"
    if not outcome.webhooks_expected:
        delivered = "none, for this endpoint was made when the story was over"
    if outcome.webhooks_refused:
        delivered += f"; {outcome.webhooks_refused} with a wrong signature"
    pdfs = f"{outcome.pdfs[0].parent} ({len(outcome.pdfs)} files)" if outcome.pdfs else "not fetched"
    return [
        ("Events", f"{outcome.events} lines posted"),
        ("PDFs", pdfs),
        ("Webhooks", f"delivered and verified: {delivered}"),
        ("Temporal UI", temporal_ui_url),
        ("An invoice there", workflow_url(outcome.invoices, temporal_ui_url) or "none"),
        ("Stop it all", STOP_HINT),
    ]


def _cents(value: str) -> str:
    return f"{Decimal(value):.2f}"


def _status(invoice: dict[str, Any]) -> str:
    if invoice["status"] != "FINALIZED" or invoice["payment_status"] != "SUCCEEDED":
        return f"{invoice['status']}, {invoice['payment_status']}"
    attempts = len(invoice["attempts"])
    return "paid" if attempts == 1 else f"paid, try {attempts}"


def _local(value: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(value).astimezone(zone)


def _utc(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)
