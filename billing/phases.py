"""Phases: terms that a subscription has over a time agreed in advance, as its line items.

Owns how a line is cut where a phase begins or ends, and which phases make sense. What each piece costs follows from
the lines alone (billing.due_lines): their ends are known, so a period in advance costs each piece's share when it
opens, and no credit is ever due. Outside of all phases the subscription's own terms hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.commitments import Commitment
from billing.errors import Invalid
from billing.periods import BillingPeriod, check_utc
from billing.prices import Price
from billing.terms import LineItem


@dataclass(frozen=True, slots=True)
class PhaseItem:
    """A price that the subscription pays in one phase only."""

    price: Price
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Phase:
    """Terms of their own over [start, end), without an end until the subscription's.

    `prices` stand in for the subscription's of the same id, `quantities` for those of the line of a price id.
    """

    start: datetime
    end: datetime | None = None
    prices: tuple[Price, ...] = ()
    quantities: tuple[tuple[str, Decimal], ...] = ()
    items: tuple[PhaseItem, ...] = ()

    def contains(self, at: datetime) -> bool:
        """Whether the phase is in force at `at`."""
        return self.start <= at and (self.end is None or at < self.end)

    def gives_quantity(self, price_id: str) -> bool:
        """Whether the phase says the quantity of a price's line."""
        items = [item.price.id for item in self.items]
        return price_id in (*(name for name, _ in self.quantities), *items)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a line is over a part of its life."""

    start: datetime
    end: datetime | None
    price: Price
    quantity: Decimal


def check_phases(phases: Sequence[tuple[datetime, datetime | None]], start: datetime, end: datetime | None) -> None:
    """Whether phases [start, end) follow one another inside the subscription. Raises Invalid naming the field."""
    at, ended_by = start, f"the subscription's start, {start.isoformat()}"
    for index, (begins, ends) in enumerate(phases):
        path = f"phases[{index}]"
        if check_utc(begins, f"{path}.start_date") < at:
            raise Invalid(f"{path}.start_date must not be before {ended_by}", field=f"{path}.start_date")
        if ends is not None and check_utc(ends, f"{path}.end_date") <= begins:
            raise Invalid(f"{path}.end_date must be after its start_date", field=f"{path}.end_date")
        if ends is None and index < len(phases) - 1:
            raise Invalid(f"{path}.end_date is required: only the last phase goes on", field=f"{path}.end_date")
        if end is not None and (ends is not None and ends > end):
            raise Invalid(f"{path}.end_date must not be after the subscription's end_date", field=f"{path}.end_date")
        if end is not None and begins >= end:
            raise Invalid(f"{path}.start_date must be before the subscription's end_date", field=f"{path}.start_date")
        at, ended_by = ends or begins, f"the end of the phase before, {(ends or begins).isoformat()}"


def phased_lines(
    lines: Sequence[LineItem], phases: Sequence[Phase], new_id: Callable[[str], str]
) -> tuple[LineItem, ...]:
    """The line items of a subscription with `phases`: its own, cut where a phase changes them, then the phases' items.

    `new_id` names a further line item of a price. One-time charges are not repeated: what holds at their time counts.
    """
    found: list[LineItem] = []
    for line in lines:
        first, *later = _pieces(line, phases)
        found.append(_as_line(line, first, line.id))
        if line.price.cadence.period is not BillingPeriod.ONETIME:
            found += [_as_line(line, piece, new_id(line.price.id)) for piece in later]
    return tuple(found)


def item_lines(phases: Sequence[Phase], first: datetime, new_id: Callable[[str], str]) -> tuple[LineItem, ...]:
    """The lines of the phases' own items; none starts before `first`, the subscription's first period."""
    return tuple(
        LineItem(
            new_id(item.price.id),
            item.price,
            item.quantity,
            max(phase.start, first),
            phase.end,
            agreed_end=phase.end,
        )
        for phase in phases
        for item in phase.items
        if phase.end is None or phase.end > first
    )


def phased_commitments(commitments: Sequence[Commitment], lines: Sequence[LineItem]) -> tuple[Commitment, ...]:
    """The commitments of the lines before they were cut, on each of their pieces: every piece keeps its share."""
    found: list[Commitment] = []
    for one in commitments:
        price = next((line.price.id for line in lines if line.id == one.line_item_id), None)
        own = [line.id for line in lines if line.price.id == price]
        found += [replace(one, line_item_id=name) for name in own] or [one]
    return tuple(found)


def _pieces(line: LineItem, phases: Sequence[Phase]) -> list[_Piece]:
    """The line's life, cut where its price or its quantity changes."""
    at = line.start
    found: list[_Piece] = []
    for phase in phases:
        if phase.end is not None and phase.end <= at:
            continue
        if phase.start > at:
            _append(found, _Piece(at, phase.start, line.price, line.quantity))
        price = next((price for price in phase.prices if price.id == line.price.id), line.price)
        quantity = dict(phase.quantities).get(line.price.id, line.quantity)
        _append(found, _Piece(max(phase.start, at), phase.end, price, quantity))
        if phase.end is None:
            return found
        at = phase.end
    _append(found, _Piece(at, line.end, line.price, line.quantity))
    return found


def _append(found: list[_Piece], piece: _Piece) -> None:
    """Adds a piece, or makes the last one longer when nothing changes."""
    last = found[-1] if found else None
    if last is not None and (last.price, last.quantity) == (piece.price, piece.quantity):
        found[-1] = replace(last, end=piece.end)
    else:
        found.append(piece)


def _as_line(line: LineItem, piece: _Piece, name: str) -> LineItem:
    return replace(
        line,
        id=name,
        price=piece.price,
        quantity=piece.quantity,
        start=piece.start,
        end=piece.end,
        agreed_end=piece.end,
        trial_end=line.trial_end if line.trial_end is not None and piece.start < line.trial_end else None,
    )
