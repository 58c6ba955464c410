"""Commitments on an invoice: which are due, how they split usage lines, and what is added to true up.

Owns counting in money and its order. Rules: billing-rules.md section 2: a commitment is used up by the rounded amounts
of usage lines in their order, after allowances and before discounts; the line that crosses it is split at the exact
amount; in a period cut short the commitment shrinks by the same share as a fixed price.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from msgspec import structs

from billing.commitment_windows import PromiseSum, sums_by_promise
from billing.commitments import (
    Commitment,
    CommitmentBuckets,
    CommitmentCount,
    CommitmentPart,
    DueCommitment,
    worth_of,
)
from billing.due_lines import share_of
from billing.errors import InvariantBroken
from billing.invoice_lines import Derivation, InvoiceInputs, InvoiceLine, Workings
from billing.money import ZERO, minus, round_amount, shown_decimal, total
from billing.periods import Cadence, Period, nominal_period
from billing.terms import DueLine, LineItem, LineKind, Terms
from billing.windows import WindowSize


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
    """What `lines` count towards commitments: what later invoices of the same commitment period must know.

    A closing line counts whole, also where threshold invoices billed a part of it; their lines are not asked.
    """
    return tuple(
        CommitmentCount(part.line_item_id, part.period, round_amount(line.derivation.exact, line.currency))
        for line in lines
        if line.kind is LineKind.usage
        for part in (line.derivation.commitment,)
        if part is not None and part.committed is not None
    )


def apply_commitments(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Usage beyond each commitment becomes overage, what is missing where it ends a true-up, behind all other lines."""
    lines, true_ups = list(done.lines), list[InvoiceLine]()
    for due in inputs.commitments:
        lines, added = (_by_window if due.commitment.windowed else _by_sum)(due, lines, inputs.currency)
        true_ups += added
    return structs.replace(done, lines=(*lines, *true_ups))


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
) -> tuple[list[InvoiceLine], list[InvoiceLine]]:
    commitment = due.commitment
    committed = round_amount(worth_of(commitment.type, commitment.value, due.price) * due.share, currency)
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
        return found, []
    part = CommitmentPart(
        commitment.line_item_id,
        due.period,
        Fraction(committed),
        Fraction(counted),
        commitment.overage_factor,
        committed,
        counted,
    )
    return found, [_true_up_line(due, Fraction(missing), part, currency)]


def _by_window(
    due: DueCommitment, lines: Sequence[InvoiceLine], currency: str
) -> tuple[list[InvoiceLine], list[InvoiceLine]]:
    found: list[InvoiceLine] = []
    sums: tuple[PromiseSum, ...] = ()
    for line in lines:
        if not (_counts(line, due.commitment) and line.period == due.period and line.derivation.usage is not None):
            found.append(line)
            continue
        sums = sums_by_promise(due, line)
        found += _split_by_promise(line, due, sums, currency)
    true_ups = []
    for one in sums:
        if one.true_up and round_amount(one.missing, currency) != 0:
            part = _part_of(due, one, one.promised, one.promised - one.missing)
            true_ups.append(_true_up_line(due, one.missing, part, currency))
    return found, true_ups


def _split_by_promise(
    line: InvoiceLine, due: DueCommitment, sums: Sequence[PromiseSum], currency: str
) -> list[InvoiceLine]:
    """The line up to its promises, and what is beyond each. A price's cap may leave less than the windows cost."""
    exact, quantity = line.derivation.exact, line.derivation.quantity
    within = min(sum((one.within for one in sums), Fraction(0)), exact)
    beyond = sum((one.beyond for one in sums), Fraction(0))
    overages = []
    for one in sums:
        if one.beyond and exact > within:
            left = one.beyond * (exact - within) / beyond
            part = _part_of(due, one, one.within + left, one.within)
            overages.append(_overage(_cut(line, part, one.quantity, left * Fraction(one.factor), currency), part))
            quantity -= one.quantity
    counted = CommitmentPart(due.commitment.line_item_id, due.period, exact, within, due.commitment.overage_factor)
    if not overages:
        return [structs.replace(line, derivation=structs.replace(line.derivation, commitment=counted))]
    halves = [_cut(line, counted, quantity, within, currency), *overages] if within else overages
    rest = [structs.replace(half, derivation=structs.replace(half.derivation, parts=())) for half in halves[1:]]
    return [halves[0], *rest]


def _part_of(due: DueCommitment, one: PromiseSum, whole: Fraction, within: Fraction) -> CommitmentPart:
    hours = None if one.bucket is None else one.bucket.hours
    return CommitmentPart(due.commitment.line_item_id, due.period, whole, within, one.factor, hours=hours)


def _split(line: InvoiceLine, part: CommitmentPart, currency: str) -> list[InvoiceLine]:
    """The line up to the commitment and its overage; one line where there is nothing of the other."""
    beyond = part.whole - part.within
    if beyond == 0:
        return [structs.replace(line, derivation=structs.replace(line.derivation, commitment=part))]
    quantity = line.derivation.quantity
    share = beyond / part.whole
    overage = _overage(_cut(line, part, quantity * share, beyond * Fraction(part.factor), currency), part)
    if part.within == 0:
        return [overage]
    counted = _cut(line, part, quantity * (part.within / part.whole), part.within, currency)
    return [counted, structs.replace(overage, derivation=structs.replace(overage.derivation, parts=()))]


def _overage(line: InvoiceLine, part: CommitmentPart) -> InvoiceLine:
    name = f"{line.display_name} beyond the commitment{_at_hours(part)}"
    return structs.replace(line, kind=LineKind.overage, display_name=name)


def _cut(line: InvoiceLine, part: CommitmentPart, quantity: Fraction, exact: Fraction, currency: str) -> InvoiceLine:
    derivation = structs.replace(line.derivation, quantity=quantity, exact=exact, commitment=part)
    return structs.replace(
        line,
        quantity=shown_decimal(quantity),
        amount=round_amount(exact, currency),
        derivation=derivation,
    )


def _true_up_line(due: DueCommitment, missing: Fraction, part: CommitmentPart, currency: str) -> InvoiceLine:
    whose = "True-up" if due.price is None else f"{due.price.display_name}: true-up"
    name = f"{whose} to the commitment{_at_hours(part)}"
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


def _at_hours(part: CommitmentPart) -> str:
    return "" if part.hours is None else f", {part.hours}"
