"""Terms one after another: which allowances an invoice meets whose period saw a change of plan or add-ons.

Owns cutting usage at the changes. Each terms' own windows and limits are billing.allowances'. Rules: billing-rules.md
section 10: after a change the new limit counts what the window already used free.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from billing.allowances import allowance_cuts, allowances_for
from billing.entitlements import Allowance, AllowanceDraw
from billing.meters import Meter
from billing.periods import Period
from billing.terms import DueLine, LineKind, Terms


@dataclass(frozen=True, slots=True)
class TermsInForce:
    """What was agreed over `span`. The spans of a history follow one another without a gap."""

    terms: Terms
    span: Period


def usage_cuts(history: Sequence[TermsInForce], meter: Meter, period: Period) -> tuple[Period, ...]:
    """The windows in which usage over `period` must be read: those of each terms, cut where they changed.

    () when one read is enough, and for a meter with buckets, which is read in them.
    """
    if meter.bucket_size is not None or not any(_entitles(one.terms, meter.id) for one in history):
        return ()
    found: list[Period] = []
    for one in history:
        common = _common(one.span, period)
        if common is not None:
            found += allowance_cuts(one.terms, meter, common) or (common,)
    return tuple(found) if len(found) > 1 else ()


def allowances_over(
    history: Sequence[TermsInForce], lines: Sequence[DueLine], drawn: Iterable[AllowanceDraw] = ()
) -> tuple[Allowance, ...]:
    """Every allowance that the usage lines of an invoice can draw on; none (a limit of 0) where terms grant none."""
    if len(history) == 1:
        return allowances_for(history[0].terms, lines, drawn)
    draws = tuple(drawn)
    found: list[Allowance] = []
    for one in history:
        found += allowances_for(one.terms, lines, draws, one.span)
    meters = {allowance.meter_id for allowance in found}
    for one in history:
        missing = [meter_id for meter_id in sorted(meters) if not _entitles(one.terms, meter_id)]
        found += [Allowance(meter_id, one.span, Fraction(0)) for meter_id in missing]
    return tuple(found)


def changed(history: Sequence[TermsInForce], terms: Terms, span: Period) -> tuple[TermsInForce, ...]:
    """The history when `terms` replace the last ones at the start of `span`; the same instant replaces them wholly."""
    last = history[-1]
    if last.span.start == span.start:
        return (*history[:-1], TermsInForce(terms, span))
    return (*history[:-1], TermsInForce(last.terms, Period(last.span.start, span.start)), TermsInForce(terms, span))


def terms_before(history: Sequence[TermsInForce], at: datetime) -> Terms:
    """What was agreed until `at`: what closes a period that ends there. At the start of all, what begins there."""
    return next((one.terms for one in reversed(history) if one.span.start < at), history[0].terms)


def metered(lines: Sequence[DueLine]) -> tuple[tuple[str, Period], ...]:
    """The meters and periods that the lines of an invoice read, each once."""
    found = [(line.price.meter_id, line.period) for line in lines if line.kind is LineKind.usage]
    return tuple(dict.fromkeys((meter_id, period) for meter_id, period in found if meter_id is not None))


def _entitles(terms: Terms, meter_id: str) -> bool:
    return any(one.meter_id == meter_id and one.is_enabled for one in terms.entitlements)


def _common(one: Period, other: Period) -> Period | None:
    start, end = max(one.start, other.start), min(one.end, other.end)
    return Period(start, end) if start < end else None
