"""An explanation for a person: each line of an invoice as a table of parts that add up, then the sums.

Owns the tables; words and numbers are those of the API and of `durabill simulate --explain --json`.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from starter.cli import output

if TYPE_CHECKING:
    from rich.table import Table

Json = dict[str, Any]
WINDOW_COLUMNS = (
    ("Used", "quantity"), ("Allowance", "usage_limit"), ("Taken before", "used_before"), ("Free", "free"),
    ("Billable", "billable"), ("Costs", "amount"),
)  # fmt: skip
"""Columns of windows after their period; those that no window of a line has are left out."""


def show_all(explanations: Iterable[Json]) -> None:
    """Every invoice of a story."""
    for found in explanations:
        show(found, found["number"] or found["invoice_status"])


def show(found: Json, name: str) -> None:
    """One invoice: its lines, then how they come to the total."""
    from rich.text import Text

    out = output.console()
    out.print()
    out.print(Text(f"{name}: why this amount?", style="bold underline"))
    if not found["lines"]:
        out.print(Text("Nothing was due in this period."))
    for position, line in enumerate(found["lines"], start=1):
        out.print()
        out.print(Text(f"{position}. {line['title']}", style="bold"))
        for section in line["sections"]:
            for note in section["notes"]:
                out.print(Text(f"   {note}"))
            if section["windows"]:
                out.print(_windows(section["windows"]))
        out.print(_parts(line))
    if found["sums"]:
        out.print()
    for words in found["sums"]:
        out.print(Text(words, style="bold"))


def _windows(windows: Sequence[Json]) -> "Table":
    columns = [(name, field) for name, field in WINDOW_COLUMNS if any(field in window for window in windows)]
    table = _table("Window", *(name for name, _ in columns), words=1)
    for window in windows:
        table.add_row(window["name"], *(window.get(field, "") for _, field in columns))
    return table


def _parts(line: Json) -> "Table":
    """The parts of every figure, and what the line comes to after each."""
    table = _table("What", "How", "Amount", words=2)
    running = Decimal(0)
    for figure, heading in (("amount", "Amount"), ("discount", "Net of discounts"), ("tax", ""), ("credits", "")):
        parts = [part for section in line["sections"] if section["figure"] == figure for part in section["parts"]]
        for part in parts:
            table.add_row(part["label"], part["how"], part["amount"])
        if figure == "amount":
            running = Decimal(line["amount"])
        elif figure == "discount":
            running += sum((Decimal(part["amount"]) for part in parts), Decimal(0))
        if heading and (parts or figure == "amount"):
            table.add_row(heading, "", format(running, "f"), style="bold", end_section=True)
    return table


def _table(*names: str, words: int) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, header_style="bold", pad_edge=True)
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place < words else "right", overflow="fold")
    return table
