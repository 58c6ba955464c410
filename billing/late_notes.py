"""Corrections of usage as credit notes: which lines a note has, so that notes and lines add up to what is owed.

How much is owed and of which type is billing.late_usage's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing.credit_notes import CreditNoteType, InvoiceBalance
from billing.invoice_lines import InvoiceLine, PeriodCorrection
from billing.late_usage import credit_notes_for, owed_by_line
from billing.money import apportion, minus, total


@dataclass(frozen=True, slots=True)
class LateNote:
    """A note for a part of a correction. Each line with what it credits, tax included; negative where a charge rose."""

    kind: CreditNoteType
    amount: Decimal
    lines: tuple[tuple[InvoiceLine, Decimal], ...]


def late_notes(correction: PeriodCorrection, balance: InvoiceBalance) -> tuple[LateNote, ...]:
    """The notes of a correction, with their lines; none where the next invoice has the lines instead."""
    notes = credit_notes_for(correction, balance)
    if not notes:
        return ()
    owed, currency = owed_by_line(correction), correction.inputs.currency
    lines = [line for line, _ in owed]
    amount = total(part for _, part in notes)
    left = apportion(amount, [exact for _, exact in owed], currency)
    found = []
    for kind, part in notes:
        own = apportion(part, [Fraction(one) * Fraction(part) / Fraction(amount) for one in left], currency)
        found.append(LateNote(kind, part, _told(lines, own)))
        left = tuple(minus(one, other) for one, other in zip(left, own, strict=True))
        amount = minus(amount, part)
    return tuple(found)


def _told(lines: Sequence[InvoiceLine], amounts: Sequence[Decimal]) -> tuple[tuple[InvoiceLine, Decimal], ...]:
    return tuple((line, amount) for line, amount in zip(lines, amounts, strict=True) if amount)
