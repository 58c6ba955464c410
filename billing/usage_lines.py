"""Usage lines: from snapshots to what is billable of each line, and what that costs before any rounding.

Owns matching usage to lines, allowances, pricing bucket by bucket, and the cap of a price. Does not round. Rules:
billing-rules.md sections 2, 6 and 10.
"""

from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct, structs

from billing.allowances import FreePart, LineUsage, draw_free
from billing.commitments import Commitment, TimeBucket
from billing.entitlements import AllowanceDraw
from billing.invoice_lines import InvoiceInputs, InvoiceLine, RatedPart
from billing.meters import UsagePart, UsageSnapshot
from billing.money import NOTHING, Number
from billing.prices import Price, Rating, RatingStep, rate
from billing.terms import DueLine, LineKind


class RatedUsage(Struct, frozen=True):
    """What a line rates: `quantity` (billable) costs `rated`, after the price's cap; `uncapped` where that cut it."""

    quantity: Fraction
    rated: Fraction
    steps: tuple[RatingStep, ...]
    parts: tuple[RatedPart, ...] = ()
    uncapped: Fraction | None = None
    usage: UsageSnapshot | None = None
    time_buckets: tuple[TimeBucket, ...] = ()


def rate_usage(inputs: InvoiceInputs) -> dict[int, RatedUsage]:
    """Each usage line of the due invoice by its position. A line without a snapshot counts 0, as in a draft."""
    snapshots = {(usage.meter_id, usage.period): usage for usage in inputs.usage}
    positions = [place for place, due in enumerate(inputs.due.lines) if due.kind is LineKind.usage]
    found: dict[int, RatedUsage] = {}
    measured: list[tuple[int, UsageSnapshot]] = []
    for place in positions:
        due = inputs.due.lines[place]
        usage = snapshots.get((due.price.meter_id or "", due.period))
        if usage is None:
            found[place] = RatedUsage(NOTHING, NOTHING, ())
        else:
            measured.append((place, usage))
    lines = [LineUsage(usage.meter_id, _parts(usage), usage.bucketed) for _, usage in measured]
    timed = {one.commitment.line_item_id: one.commitment for one in inputs.commitments if one.commitment.time_buckets}
    for (place, usage), parts in zip(measured, draw_free(lines, inputs.allowances), strict=True):
        due = inputs.due.lines[place]
        found[place] = _rated(due, usage, parts, timed.get(due.line_item_id))
    return found


def rate_fixed(price: Price, quantity: Number) -> RatedUsage:
    """A fixed line, with the price's cap."""
    exact = Fraction(quantity)
    return _capped(price, exact, rate(price, exact))


def rate_buckets(price: Price, parts: Sequence[UsagePart]) -> Fraction:
    """What buckets cost, each priced by itself, before any rounding, allowance and cap."""
    return sum((rate(price, part.quantity).amount for part in parts), NOTHING)


def allowance_draws(lines: Sequence[InvoiceLine]) -> tuple[AllowanceDraw, ...]:
    """What `lines` took free: what later invoices must know of the windows that are still open.

    A line split by a commitment says it once, on its first half.
    """
    return tuple(
        AllowanceDraw(line.derivation.price.meter_id or "", part.window, part.free)
        for line in lines
        if line.derivation.price is not None
        for part in line.derivation.parts
        if part.window is not None and part.free
    )


def _parts(usage: UsageSnapshot) -> tuple[UsagePart, ...]:
    return usage.parts or (() if usage.bucketed else (UsagePart(usage.period, usage.usage.value),))


def _rated(due: DueLine, usage: UsageSnapshot, parts: tuple[FreePart, ...], timed: Commitment | None) -> RatedUsage:
    billable = parts[0].billable if len(parts) == 1 else sum((one.billable for one in parts), NOTHING)
    if usage.bucketed:
        stored = tuple(_bucket(due.price, timed, one) for one in parts)
        whole = Rating(sum((part.amount for part in stored if part.amount), NOTHING), ())
        rated = _capped(due.price, billable, whole, stored, usage)
        return rated if timed is None else structs.replace(rated, time_buckets=timed.time_buckets)
    plain = len(parts) == 1 and parts[0].window is None
    stored = () if plain else tuple(_part(one) for one in parts)
    return _capped(due.price, billable, rate(due.price, billable), stored, usage)


def _capped(
    price: Price,
    quantity: Fraction,
    rating: Rating,
    parts: tuple[RatedPart, ...] = (),
    usage: UsageSnapshot | None = None,
) -> RatedUsage:
    cap = price.maximum_amount
    if cap is None or rating.amount <= cap:
        return RatedUsage(quantity, rating.amount, rating.steps, parts, None, usage)
    return RatedUsage(quantity, Fraction(cap), rating.steps, parts, rating.amount, usage)


def _part(one: FreePart) -> RatedPart:
    return RatedPart(one.part.period, one.part.quantity, one.free, one.window, one.limit, used=one.used)


def _bucket(price: Price, timed: Commitment | None, one: FreePart) -> RatedPart:
    """A bucket at the line's price, or at that of the time of day in which it starts."""
    part = one.part
    place = None if timed is None else timed.bucket_at(part.period.start)
    own = None if timed is None or place is None else timed.time_buckets[place].price
    rating = rate(own or price, one.billable)
    return RatedPart(
        period=part.period,
        quantity=part.quantity,
        free=one.free,
        window=one.window,
        limit=one.limit,
        group=part.group,
        amount=rating.amount,
        steps=rating.steps,
        used=one.used,
        time_bucket=place,
    )
