"""How answers are shown: tables and lists for a person, JSON for a script."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starter.cli.shared import is_watched

if TYPE_CHECKING:
    from rich.console import Console

Item = Mapping[str, Any]
Column = tuple[str, Callable[[Item], str]]
WIDE = 240
"""Columns when nobody looks: a table in a file or a pipe is not cut to the width of a terminal."""


def console() -> "Console":
    """Where tables go."""
    from rich.console import Console

    return Console(highlight=False) if is_watched() else Console(highlight=False, width=WIDE)


def print_json(data: Any) -> None:
    """JSON with the names and texts of the API, decimals as strings."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def print_table(title: str, columns: Sequence[Column], items: Sequence[Item], right: Sequence[str] = ()) -> None:
    """One line an item; `right` names the columns of numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold", show_lines=False)
    for name, _ in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for item in items:
        table.add_row(*(Text(text_of(item)) for _, text_of in columns))
    out = console()
    out.print(table)
    if not items:
        out.print("Nothing found.")


def print_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Name and value, one pair a line; pairs without a value are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, Text(value))
    console().print(table)


def field(name: str) -> Callable[[Item], str]:
    """The text of one field of the API's answer."""
    return lambda item: text(item.get(name))


def text(value: Any) -> str:
    """A value as a person reads it; nothing for an absent one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def named(item: Item, noun: str) -> str:
    """What an expanded `customer` or `plan` is called, else its id."""
    expanded = item.get(noun) or {}
    return text(expanded.get("name") or expanded.get("external_id") or item.get(f"{noun}_id"))


def instant(name: str) -> Callable[[Item], str]:
    """An instant to the minute, in UTC."""
    return lambda item: short_instant(item.get(name))


def short_instant(value: Any) -> str:
    """`2025-01-31T18:30:00Z` as `2025-01-31 18:30`."""
    return text(value)[:16].replace("T", " ")


def period(item: Item) -> str:
    """A period as its two dates in the customer's zone, where the item names it; the second is the one it ends on."""
    zone = ZoneInfo(text(item.get("timezone")) or "UTC")
    ends = [text(item.get(name)) for name in ("period_start", "period_end")]
    days = [datetime.fromisoformat(end).astimezone(zone).date().isoformat() if end else "" for end in ends]
    return " - ".join(days) if any(days) else ""


def money(name: str) -> Callable[[Item], str]:
    """An amount with its currency's decimals, as the API writes them, and at least two where it has a fraction."""
    return lambda item: amount(item.get(name), text(item.get("currency")))


def amount(value: Any, currency: str) -> str:
    """`1234.5` and `usd` as `1,234.50 USD`."""
    if value is None or value == "":
        return ""
    from billing.money import exponent

    try:
        shown = f"{Decimal(str(value)):,.{exponent(currency)}f}"
    except (InvalidOperation, ValueError):
        return f"{value} {currency.upper()}".strip()
    exact = Decimal(str(value)) == Decimal(shown.replace(",", ""))
    return f"{shown if exact else value} {currency.upper()}"
