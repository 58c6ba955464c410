"""Commitments on an invoice: which are due, how they split usage lines, and what is added to true up.

Owns counting in money and its order. Rules: billing-rules.md section 2: a commitment is used up by the rounded amounts
of usage lines in their order, after allowances and before discounts; the line that crosses it is split at the exact
amount; in a period cut short the commitment shrinks by the same share as a fixed price.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.commitments import (
    Commitment,
    CommitmentBuckets,
    CommitmentCount,
    CommitmentPart,
    CommitmentType,
    DueCommitment,
)
from billing.due_lines import share_of
from billing.errors import InvariantBroken
from billing.invoice_lines import Derivation, InvoiceInputs, InvoiceLine, Workings
from billing.money import ZERO, minus, round_amount, shown_decimal, total
from billing.periods import Cadence, Period, nominal_period
from billing.prices import Price, rate
from billing.terms import DueLine, LineItem, LineKind, Terms
from billing.windows import WindowSize, window_at, windows_of


def due_commitments(
    terms: Terms,
    closed: Period,
    lines: Sequence[DueLine],
    known_end: datetime | None = None,
    counts: Sequence[CommitmentCount] = (),
    bucket_sizes: Sequence[tuple[str, WindowSize]] = (),
) -> tuple[DueCommitment, ...]:
    """The commitments that an invoice closing `closed` meets, with its due `lines`.

    `known_end` is the end of the subscription where it is known, `counts` are those of earlier invoices, and
    `bucket_sizes` name the buckets of bucketed meters by meter id. A line's commitment waits until the line is due.
    """
    found = []
    for one in terms.commitments:
        item = next((item for item in terms.lines if item.id == one.line_item_id), None)
        own = [line for line in lines if line.kind is LineKind.usage and line.line_item_id == one.line_item_id]
        if one.line_item_id is not None and (item is None or not own):
            continue
        if one.windowed and item is not None:
            found += [_windowed(terms, one, line, dict(bucket_sizes)) for line in own]
        elif one.duration is not None:
            found.append(_lasting(terms, one, closed, known_end, counts, item))
        else:
            found.append(_of_period(terms, one, closed, own, item))
    return tuple(found)


def commitment_counts(lines: Sequence[InvoiceLine]) -> tuple[CommitmentCount, ...]:
    """What `lines` count towards commitments: what later invoices of the same commitment period must know."""
    return tuple(
        CommitmentCount(part.line_item_id, part.period, line.amount)
        for line in lines
        if line.kind is LineKind.usage
        for part in (line.derivation.commitment,)
        if part is not None and part.committed is not None
    )


def apply_commitments(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Usage beyond each commitment becomes overage, what is missing where it ends a true-up, behind all other lines."""
    lines, true_ups = list(done.lines), []
    for due in inputs.commitments:
        added: InvoiceLine | None
        lines, added = (_by_window if due.commitment.windowed else _by_sum)(due, lines, inputs.currency)
        if added is not None:
            true_ups.append(added)
    return replace(done, lines=(*lines, *true_ups))


@dataclass(frozen=True, slots=True)
class _Window:
    """One window of a windowed commitment: what was used and what was promised, in money."""

    used: Fraction
    promised: Fraction


def _of_period(
    terms: Terms, one: Commitment, closed: Period, own: Sequence[DueLine], item: LineItem | None
) -> DueCommitment:
    """For the billing period; for the line's own where that is as long or longer: a phase may cut it."""
    span, whole = closed, nominal_period(terms.anchor, terms.zone, terms.cadence, closed.start)
    if own and own[-1].nominal is not None and own[-1].nominal.microseconds >= whole.microseconds:
        span, whole = own[-1].period, own[-1].nominal
    share = share_of(terms, span, whole)
    return DueCommitment(one, span, share, price=None if item is None else item.price)


def _lasting(
    terms: Terms,
    one: Commitment,
    closed: Period,
    known_end: datetime | None,
    counts: Sequence[CommitmentCount],
    item: LineItem | None,
) -> DueCommitment:
    """For one of its own periods since the subscription's start."""
    assert one.duration is not None
    whole = nominal_period(terms.start, terms.zone, Cadence(one.duration), closed.start)
    end = whole.end if known_end is None else min(whole.end, known_end)
    # counts of the period are found by its start: its end moves when the subscription is cancelled
    counted = total(
        count.amount for count in counts if count.line_item_id == one.line_item_id and count.period.start == whole.start
    )
    return DueCommitment(
        commitment=one,
        period=Period(whole.start, end),
        share=share_of(terms, Period(whole.start, end), whole),
        counted=counted,
        ends=closed.end >= end,
        price=None if item is None else item.price,
    )


def _windowed(terms: Terms, one: Commitment, line: DueLine, bucket_sizes: dict[str, WindowSize]) -> DueCommitment:
    size = bucket_sizes.get(line.price.meter_id or "")
    if size is None:
        raise InvariantBroken(f"line {line.line_item_id} has a windowed commitment, but its meter has no buckets")
    buckets = CommitmentBuckets(size, terms.zone, terms.anchor)
    return DueCommitment(one, line.period, price=line.price, buckets=buckets)


def _by_sum(
    due: DueCommitment, lines: Sequence[InvoiceLine], currency: str
) -> tuple[list[InvoiceLine], InvoiceLine | None]:
    commitment = due.commitment
    committed = round_amount(_worth(commitment, due.price) * due.share, currency)
    counted = due.counted
    found: list[InvoiceLine] = []
    for line in lines:
        if not _counts(line, commitment):
            found.append(line)
            continue
        left = max(minus(committed, counted), ZERO)
        exact = line.derivation.exact
        within = exact if line.amount <= left else Fraction(left)
        part = CommitmentPart(
            commitment.line_item_id, due.period, exact, within, commitment.overage_factor, committed, counted
        )
        halves = _split(line, part, currency)
        counted = total((counted, *(half.amount for half in halves if half.kind is LineKind.usage)))
        found += halves
    missing = minus(committed, counted)
    if not (commitment.true_up and due.ends and missing > 0):
        return found, None
    part = CommitmentPart(
        commitment.line_item_id,
        due.period,
        Fraction(committed),
        Fraction(counted),
        commitment.overage_factor,
        committed,
        counted,
    )
    return found, _true_up_line(due, Fraction(missing), part, currency)


def _by_window(
    due: DueCommitment, lines: Sequence[InvoiceLine], currency: str
) -> tuple[list[InvoiceLine], InvoiceLine | None]:
    commitment = due.commitment
    found: list[InvoiceLine] = []
    missing = promised = used = Fraction(0)
    for line in lines:
        if not (_counts(line, commitment) and line.period == due.period and line.derivation.usage is not None):
            found.append(line)
            continue
        windows = _windows(due, line)
        promised = sum((one.promised for one in windows), Fraction(0))
        used = sum((min(one.used, one.promised) for one in windows), Fraction(0))
        missing = sum((max(one.promised - one.used, Fraction(0)) for one in windows), Fraction(0))
        exact = line.derivation.exact
        within = min(used, exact)  # a price's cap may leave less than its windows
        part = CommitmentPart(commitment.line_item_id, due.period, exact, within, commitment.overage_factor)
        found += _split(line, part, currency)
    if not commitment.true_up or round_amount(missing, currency) == 0:
        return found, None
    part = CommitmentPart(commitment.line_item_id, due.period, promised, used, commitment.overage_factor)
    return found, _true_up_line(due, missing, part, currency)


def _windows(due: DueCommitment, line: InvoiceLine) -> list[_Window]:
    """Every window of the line's period, with or without usage; one that the period cuts is promised its share."""
    assert due.buckets is not None
    buckets, worth = due.buckets, _worth(due.commitment, due.price)
    used: dict[datetime, Fraction] = {}
    for part in line.derivation.parts:
        used[part.period.start] = used.get(part.period.start, Fraction(0)) + (part.amount or 0)
    found = []
    for window in windows_of(due.period, buckets.size, buckets.zone, buckets.anchor):
        whole = window_at(buckets.size, buckets.zone, buckets.anchor, window.start)
        share = Fraction(window.microseconds, whole.microseconds)
        found.append(_Window(used.pop(window.start, Fraction(0)), worth * share))
    if used:
        raise InvariantBroken(f"line {line.line_item_id} was not read in the windows of its commitment")
    return found


def _split(line: InvoiceLine, part: CommitmentPart, currency: str) -> list[InvoiceLine]:
    """The line up to the commitment and its overage; one line where there is nothing of the other."""
    beyond = part.whole - part.within
    if beyond == 0:
        return [replace(line, derivation=replace(line.derivation, commitment=part))]
    overage = _half(line, part, beyond / part.whole, beyond * Fraction(part.factor), currency)
    overage = replace(overage, kind=LineKind.overage, display_name=f"{line.display_name} beyond the commitment")
    if part.within == 0:
        return [overage]
    counted = _half(line, part, part.within / part.whole, part.within, currency)
    return [counted, replace(overage, derivation=replace(overage.derivation, parts=()))]


def _half(
    line: InvoiceLine, part: CommitmentPart, of_quantity: Fraction, exact: Fraction, currency: str
) -> InvoiceLine:
    derivation = replace(line.derivation, quantity=line.derivation.quantity * of_quantity, exact=exact, commitment=part)
    return replace(
        line,
        quantity=shown_decimal(derivation.quantity),
        amount=round_amount(exact, currency),
        derivation=derivation,
    )


def _true_up_line(due: DueCommitment, missing: Fraction, part: CommitmentPart, currency: str) -> InvoiceLine:
    name = "True-up to the commitment" if due.price is None else f"{due.price.display_name}: true-up to the commitment"
    return InvoiceLine(
        kind=LineKind.true_up,
        display_name=name,
        currency=currency,
        period=due.period,
        quantity=Decimal(1),
        amount=round_amount(missing, currency),
        derivation=Derivation(Fraction(1), missing, Fraction(1), missing, price=due.price, commitment=part),
        line_item_id=due.commitment.line_item_id,
        price_id=None if due.price is None else due.price.id,
    )


def _counts(line: InvoiceLine, commitment: Commitment) -> bool:
    own = commitment.line_item_id is None or line.line_item_id == commitment.line_item_id
    return own and line.kind is LineKind.usage


def _worth(commitment: Commitment, price: Price | None) -> Fraction:
    """The commitment of a whole period in money."""
    if commitment.type is CommitmentType.quantity and price is not None:
        return rate(price, commitment.value).amount
    return Fraction(commitment.value)
