"""Proration in an explanation: the share of a whole period, and credits for unused time."""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import exact, money, ratio, span
from billing.invoice_lines import Derivation, InvoiceLine
from billing.periods import Period
from billing.terms import BilledLine


def share_section(derivation: Derivation, period: Period, zone: str) -> Section:
    """What a line costs less because it covers a part of its whole period only."""
    if derivation.share == 1 or derivation.nominal is None:
        return Section(Figure.amount)
    rated, share = derivation.rated, derivation.share
    counted = ratio(period, derivation.nominal, share, zone)
    part = Part(
        "time outside the line's period",
        f"{exact(rated)} x ({share} - 1)",
        rated * share - rated,
        (
            f"share of the whole period {span(derivation.nominal, zone)}: {counted}",
            f"{exact(rated)} x {exact(share)} = {exact(rated * share)}",
        ),
    )
    return Section(Figure.amount, parts=(part,))


def credit_section(line: InvoiceLine, billed: BilledLine, zone: str) -> Section:
    """The unused share of what was billed in advance, at most what is left to credit."""
    derivation = line.derivation
    rated, share = derivation.rated, derivation.share
    notes = (
        f"billed in advance: {money(billed.amount, line.currency)} for {span(billed.period, zone)} "
        f"(invoice {billed.invoice_id}, line {billed.invoice_line_id})",
        f"unused: {ratio(line.period, billed.period, share, zone)}",
    )
    parts = [Part("unused time", f"-{exact(rated)} x {share}", -rated * share, (_credit_words(rated, share),))]
    if -derivation.exact != rated * share:
        before = money(billed.credited, line.currency)
        words = f"{before} was credited before, so {exact(-derivation.exact)} is left to credit"
        parts.append(Part("credited before", before, derivation.exact + rated * share, (words,)))
    return Section(Figure.amount, notes, tuple(parts))


def _credit_words(rated: Fraction, share: Fraction) -> str:
    return f"-{exact(rated)} x {exact(share)} = {exact(-rated * share)}"
