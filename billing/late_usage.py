"""Usage that is known only after its invoice was finalized: what the closed periods come to now, less what was charged.

Owns the comparison with what was frozen, the adjustment lines and the credit note in their place. Reading usage anew,
and which invoices stand, are the caller's. Rules: billing-rules.md section 7. A closed period is rated again as a
whole, with its own prices, allowances and commitments, so that tiers, caps and true-ups come out as if everything had
been known in time; what it draws and counts is passed on to the periods after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, TypeVar

from msgspec import structs

from billing.commitment_lines import commitment_counts
from billing.credit_notes import CreditNoteType, InvoiceBalance
from billing.errors import Invalid
from billing.invoice_lines import (
    Derivation,
    InvoiceInputs,
    InvoiceLine,
    LineCorrection,
    PeriodCorrection,
    UsageCharge,
    Workings,
)
from billing.invoice_steps import RATING
from billing.meters import UsageSnapshot
from billing.money import ZERO, minus, round_amount, shown_decimal, total
from billing.periods import Period
from billing.terms import BillingReason, DueInvoice, LineKind
from billing.usage_charges import net_target, share_of_charge
from billing.usage_lines import allowance_draws

RECEIVED: Final = timedelta(milliseconds=1)
"""What was accepted at an instant is known just after it."""
PERIODS_MAX: Final = 24
DAYS_MAX: Final = 1000
OF_USAGE: Final = frozenset({LineKind.usage, LineKind.overage, LineKind.true_up})
"""Kinds of lines that charge for usage."""
_CLOSING: Final = frozenset({BillingReason.SUBSCRIPTION_CYCLE, BillingReason.SUBSCRIPTION_UPDATE})
Close = TypeVar("Close")
_Key = tuple[str | None, Period]


class LateUsagePolicy(StrEnum):
    """What becomes of a difference: a line of the next invoice, a credit note where it is negative, or nothing."""

    next_invoice = "next_invoice"
    credit_note = "credit_note"
    ignore = "ignore"


@dataclass(frozen=True, slots=True)
class LateUsageSettings:
    """A tenant's way with late usage: how many periods each close reads anew, and what came in how many days."""

    policy: LateUsagePolicy = LateUsagePolicy.next_invoice
    periods: int = 2
    days: int = 62

    def __post_init__(self) -> None:
        for name, value, most in (("periods", self.periods, PERIODS_MAX), ("days", self.days, DAYS_MAX)):
            if not 0 <= value <= most:
                field = f"late_usage_{name}"
                raise Invalid(f"{field} must be from 0 to {most}; got {value}", field=field)

    @property
    def looks_back(self) -> bool:
        """Whether anything is ever read anew."""
        return self.policy is not LateUsagePolicy.ignore and self.periods > 0


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A period whose invoice was finalized: what its usage was counted from last, and what was charged for it."""

    invoice_id: str
    inputs: InvoiceInputs
    charges: tuple[UsageCharge, ...]


@dataclass(frozen=True, slots=True)
class SettledCorrection:
    """A correction that was made, with the lines of the invoice that carries it (none for a credit note).

    When that invoice is `voided`, credits stay given and charges are open again.
    """

    correction: PeriodCorrection
    lines: tuple[InvoiceLine, ...] = ()
    voided: bool = False


def closes_a_period(due: DueInvoice) -> bool:
    """Whether an invoice closes a period, and so carries corrections and is corrected itself."""
    return due.reason in _CLOSING and due.period.end == due.at


def read_anew(settings: LateUsageSettings, closes: Sequence[Close]) -> Sequence[Close]:
    """Which of the closes before this one are read anew; `closes` are those with a line of their own, in time order."""
    return closes[-settings.periods :] if settings.looks_back else ()


def look_back_end(settings: LateUsageSettings, ended_at: datetime, finalized: Sequence[datetime] = ()) -> datetime:
    """When late usage is billed of a subscription that ended, or was paused, at `ended_at`: no close does it any more.

    `finalized`: when the invoices of its periods are; nothing is looked back on before.
    """
    return max([ended_at + timedelta(days=settings.days), *finalized])


def look_back_invoice(ended_at: datetime, at: datetime) -> DueInvoice:
    """What bills at `at` what came late for the last periods of a subscription that ended at `ended_at`."""
    return DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, at, Period(ended_at, at), ())


def known_until(frozen: UsageSnapshot, at: datetime, look_back_days: int) -> datetime:
    """The cutoff for reading frozen usage anew at `at`: everything accepted before it counts.

    What came more than `look_back_days` (of 24 hours) after the period's end is left out, unless it was counted before.
    """
    last = frozen.period.end + timedelta(days=look_back_days) + RECEIVED
    return min(at, max(last, frozen.cutoff))


def closed_period(
    invoice_id: str,
    inputs: InvoiceInputs,
    lines: Sequence[InvoiceLine],
    settled: Sequence[SettledCorrection] = (),
) -> ClosedPeriod:
    """A finalized invoice's usage as it is counted by now: its own `inputs` and `lines`, then what was settled since.

    `settled` are the corrections of this invoice, in their order.
    """
    charges, counted = _charges(lines), _usage_only(inputs)
    for one in settled:
        own = {_key(line): line for line in one.lines if _corrects(line, invoice_id)}
        for line in _differences(one.correction):
            charge = charges.get(_key(line)) or _nothing(line)
            if line.amount < 0 or not one.voided:
                charges[_key(line)] = _corrected(charge, line, own.get(_key(line)))
        counted = counted if one.voided else one.correction.inputs
    return ClosedPeriod(invoice_id, counted, tuple(charges.values()))


def corrections(
    periods: Sequence[ClosedPeriod], usage: Mapping[str, Sequence[UsageSnapshot]]
) -> tuple[PeriodCorrection, ...]:
    """What has changed in closed `periods`, in the order of time. `usage` is read anew, by the id of their invoices.

    A period also changes when an earlier one drew more of an allowance, or counted more towards a commitment, that both
    share. Periods in which nothing changed have none.
    """
    found: list[PeriodCorrection] = []
    moved = _Moved({}, {})
    for period in periods:
        read = {(one.meter_id, one.period): one for one in usage.get(period.invoice_id, ())}
        fresh = tuple(read.get((one.meter_id, one.period), one) for one in period.inputs.usage)
        inputs = moved.applied_to(replace(period.inputs, usage=fresh))
        if _same(inputs, period.inputs):
            continue
        moved.note(counted_lines(period.inputs), -1)
        moved.note(counted_lines(inputs), 1)
        found.append(PeriodCorrection(period.invoice_id, inputs, period.charges))
    return tuple(found)


def counted_lines(inputs: InvoiceInputs) -> tuple[InvoiceLine, ...]:
    """The usage lines, with overage and true-ups, that follow from `inputs`; before discounts and tax."""
    done = Workings()
    for step in RATING:
        done = step(done, inputs)
    return done.lines


def correction_lines(correction: PeriodCorrection) -> tuple[InvoiceLine, ...]:
    """The adjustment lines of a correction: one a line item and period whose charge changes."""
    return tuple(line for line in _differences(correction) if line.amount)


def makes_lines(found: Iterable[PeriodCorrection]) -> bool:
    """Whether an invoice has a line for one of the corrections."""
    return any(correction_lines(one) for one in found if not one.by_credit_note)


def add_corrections(done: Workings, inputs: InvoiceInputs) -> Workings:
    """The step of an invoice that adds its corrections, behind all other lines."""
    added = [line for one in inputs.corrections if not one.by_credit_note for line in correction_lines(one)]
    return structs.replace(done, lines=(*done.lines, *added)) if added else done


def credit_notes_for(
    correction: PeriodCorrection, balance: InvoiceBalance
) -> tuple[tuple[CreditNoteType, Decimal], ...]:
    """The notes that credit a correction on the invoice it corrects, with the tax on top that it was billed with.

    First on what is left to pay, then on what was paid. None when the period costs as much or more than before, when
    later invoices charged a part of it, or when the invoice has not as much left: the next invoice has the lines then.
    """
    if any(charge.corrected > 0 for charge in correction.charges):
        return ()
    exact = sum((owed for _, owed in owed_by_line(correction)), Fraction(0))
    amount = round_amount(exact, correction.inputs.currency)
    if amount <= 0 or amount > total((balance.remaining, balance.refundable)):
        return ()
    adjusted = min(amount, balance.remaining)
    notes = ((CreditNoteType.ADJUSTMENT, adjusted), (CreditNoteType.REFUND, minus(amount, adjusted)))
    return tuple((kind, part) for kind, part in notes if part)


def owed_by_line(correction: PeriodCorrection) -> tuple[tuple[InvoiceLine, Fraction], ...]:
    """What the customer is owed for each line of a correction, exactly: the line and the tax that it was billed with.

    Negative where a charge rises.
    """
    tax_on_all = share_of_charge(
        total(charge.exclusive_tax for charge in correction.charges),
        total(charge.charged for charge in correction.charges),
    )
    found = []
    for line in correction_lines(correction):
        charge = _charge_of(line)
        tax = share_of_charge(charge.exclusive_tax, charge.charged) if charge.charged else tax_on_all
        found.append((line, -Fraction(line.amount) * (1 + tax)))
    return tuple(found)


def in_its_way(settings: LateUsageSettings, one: PeriodCorrection, balance: InvoiceBalance | None) -> PeriodCorrection:
    """The correction, marked where credit notes make it on its invoice, whose `balance` is given if they may."""
    if settings.policy is not LateUsagePolicy.credit_note or balance is None or not credit_notes_for(one, balance):
        return one
    return replace(one, by_credit_note=True)


@dataclass(frozen=True, slots=True)
class _Moved:
    """How much more (or less) than before earlier periods drew of allowances and counted towards commitments."""

    drawn: dict[tuple[str, Period], Fraction]
    counted: dict[tuple[str | None, datetime], Decimal]

    def note(self, lines: Sequence[InvoiceLine], sign: int) -> None:
        """Adds what `lines` draw and count, or takes it away."""
        for draw in allowance_draws(lines):
            key = (draw.meter_id, draw.window)
            self.drawn[key] = self.drawn.get(key, Fraction(0)) + sign * draw.quantity
        for count in commitment_counts(lines):
            own = (count.line_item_id, count.period.start)
            part = count.amount if sign > 0 else count.amount.copy_negate()
            self.counted[own] = total((self.counted.get(own, ZERO), part))

    def applied_to(self, inputs: InvoiceInputs) -> InvoiceInputs:
        """The inputs of a later period."""
        allowances = tuple(
            replace(one, used=one.used + self.drawn.get((one.meter_id, one.window), Fraction(0)))
            for one in inputs.allowances
        )
        lasting = tuple(
            replace(one, counted=total((one.counted, self._counted(one.commitment.line_item_id, one.period))))
            if one.commitment.duration is not None
            else one
            for one in inputs.commitments
        )
        return replace(inputs, allowances=allowances, commitments=lasting)

    def _counted(self, line_item_id: str | None, period: Period) -> Decimal:
        return self.counted.get((line_item_id, period.start), ZERO)


def _usage_only(inputs: InvoiceInputs) -> InvoiceInputs:
    """What the usage of an invoice follows from, without the rest of it."""
    lines = tuple(line for line in inputs.due.lines if line.kind is LineKind.usage)
    due = replace(inputs.due, lines=lines)
    return replace(inputs, due=due, coupons=(), tax_rates=(), line_tax_rates=(), wallet=None, corrections=())


def _same(inputs: InvoiceInputs, before: InvoiceInputs) -> bool:
    """Whether nothing that an amount follows from has changed; a later cutoff alone is no change."""
    if inputs.allowances != before.allowances or inputs.commitments != before.commitments:
        return False
    pairs = zip(inputs.usage, before.usage, strict=True)  # the same meters and periods, in the same order
    return all(one.usage.value == other.usage.value and one.parts == other.parts for one, other in pairs)


def _differences(correction: PeriodCorrection) -> list[InvoiceLine]:
    """One line a charge, also where the difference is 0: charges before, in their order, then what is new."""
    now: dict[_Key, list[InvoiceLine]] = {}
    for line in counted_lines(correction.inputs):
        now.setdefault(_key(line), []).append(line)
    charges = {(charge.line_item_id, charge.period): charge for charge in correction.charges}
    for key, lines in now.items():
        charges.setdefault(key, _nothing(lines[0]))
    return [_difference(correction, charge, tuple(now.get(key, ()))) for key, charge in charges.items()]


def _difference(correction: PeriodCorrection, charge: UsageCharge, now: tuple[InvoiceLine, ...]) -> InvoiceLine:
    currency = correction.inputs.currency
    amount = minus(net_target(charge, total(line.amount for line in now), currency), _billed(charge))
    quantity = _quantity(now) - charge.quantity
    exact = Fraction(amount)
    basis = LineCorrection(correction.invoice_id, charge, now)
    return InvoiceLine(
        kind=LineKind.adjustment,
        display_name=f"Correction: {charge.display_name}",
        currency=currency,
        period=charge.period,
        quantity=shown_decimal(quantity),
        amount=amount,
        derivation=Derivation(quantity, exact, Fraction(1), exact, price=charge.price, correction=basis),
        line_item_id=charge.line_item_id,
        price_id=None if charge.price is None else charge.price.id,
    )


def _billed(charge: UsageCharge) -> Decimal:
    return total((charge.net, charge.corrected))


def _quantity(lines: Sequence[InvoiceLine]) -> Fraction:
    """What is billable; a true-up alone is one."""
    counted = [line.derivation.quantity for line in lines if line.kind is not LineKind.true_up]
    return sum(counted, Fraction(0)) if counted else Fraction(len(lines))


def _charges(lines: Sequence[InvoiceLine]) -> dict[_Key, UsageCharge]:
    """What the lines of an invoice charge for usage."""
    own: dict[_Key, list[InvoiceLine]] = {}
    for line in lines:
        if line.kind in OF_USAGE:
            own.setdefault(_key(line), []).append(line)
    return {key: _charge(lines) for key, lines in own.items()}


def _charge(lines: Sequence[InvoiceLine]) -> UsageCharge:
    net = total(line.net_amount for line in lines)
    return replace(
        _nothing(lines[0]),
        quantity=_quantity(lines),
        gross=total(line.amount for line in lines),
        net=net,
        charged=net,
        exclusive_tax=total(line.exclusive_tax for line in lines),
        inclusive_tax=total(line.inclusive_tax for line in lines),
    )


def _nothing(line: InvoiceLine) -> UsageCharge:
    """No charge yet where `line` makes one."""
    if line.derivation.correction is not None:
        charge = line.derivation.correction.charge
        return UsageCharge(charge.line_item_id, charge.period, charge.display_name, charge.price)
    price = line.derivation.price
    named = line.display_name if line.kind is LineKind.true_up or price is None else price.display_name
    return UsageCharge(line.line_item_id, line.period, named, price)


def _corrected(charge: UsageCharge, line: InvoiceLine, carried: InvoiceLine | None) -> UsageCharge:
    """The charge after a correction; `carried` is the line on the invoice that carries it."""
    basis = line.derivation.correction
    assert basis is not None
    after = replace(charge, quantity=_quantity(basis.now), corrected=total((charge.corrected, line.amount)))
    if carried is None or carried.amount <= 0:
        return after
    return replace(
        after,
        charged=total((charge.charged, carried.amount)),
        exclusive_tax=total((charge.exclusive_tax, carried.exclusive_tax)),
        inclusive_tax=total((charge.inclusive_tax, carried.inclusive_tax)),
    )


def _corrects(line: InvoiceLine, invoice_id: str) -> bool:
    basis = line.derivation.correction
    return basis is not None and basis.invoice_id == invoice_id


def _charge_of(line: InvoiceLine) -> UsageCharge:
    basis = line.derivation.correction
    assert basis is not None
    return basis.charge


def _key(line: InvoiceLine) -> _Key:
    return line.line_item_id, line.period
