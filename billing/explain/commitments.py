"""Commitments in an explanation: what of a line counts, what is beyond it and at which factor, what is missing."""

from collections.abc import Sequence
from fractions import Fraction

from billing.commitment_windows import PromiseWindow, promise_windows
from billing.commitments import CommitmentPart, DueCommitment
from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import exact, span
from billing.invoice_lines import InvoiceLine
from billing.money import decimal_text
from billing.terms import LineKind


def commitment_section(line: InvoiceLine) -> Section:
    """How a commitment cut a usage line: the half that counts, or the overage at its factor."""
    part = line.derivation.commitment
    if part is None:
        return Section(Figure.amount)
    beyond = part.whole - part.within
    if line.kind is not LineKind.overage:
        cut = (Part("beyond the commitment", "on the line of the overage", -beyond, ()),) if beyond else ()
        return Section(Figure.amount, (_counts(part),), cut)
    words = f"beyond it: ({exact(part.whole)} - {exact(part.within)}) x {decimal_text(part.factor)}"
    others = line.derivation.rated * line.derivation.share - part.whole
    parts = [Part("at other times of the day", "on other lines", -others, ())] if others else []
    if part.within:
        parts.append(Part("within the commitment", "on the line of the usage", -part.within, ()))
    more = beyond * (Fraction(part.factor) - 1)
    if more:
        parts.append(Part(f"overage factor {decimal_text(part.factor)}", f"{exact(beyond)} x", more, ()))
    return Section(Figure.amount, (_counts(part),), tuple(parts), (f"{words} = {exact(line.derivation.exact)}",))


def promise_section(line: InvoiceLine, dues: Sequence[DueCommitment], zone: str) -> Section:
    """What each window of a windowed commitment used of its promise; windows without usage are counted."""
    due = next((one for one in dues if _is_of(one, line)), None)
    if due is None or not line.derivation.parts:
        return Section(Figure.amount)
    windows = tuple(promise_windows(due, line))
    notes = [_promise(window, due, zone) for window in windows if window.used]
    unused = [window.promised for window in windows if not window.used and window.promised]
    if unused:
        notes.append(f"windows without usage: {len(unused)}, {exact(sum(unused, Fraction(0)))} promised")
    return Section(Figure.amount, tuple(notes))


def true_up_section(line: InvoiceLine, part: CommitmentPart) -> Section:
    """What is missing to a commitment."""
    missing = exact(line.derivation.exact)
    words = f"commitment {exact(part.whole)}, counted {exact(part.within)}: {missing} is missing"
    parts = (
        Part("commitment", "of the period", part.whole, (words,)),
        Part("counted", "on lines of kind usage", -part.within, ()),
    )
    return Section(Figure.amount, parts=parts)


def _counts(part: CommitmentPart) -> str:
    text = f"{exact(part.within)} of {exact(part.whole)} counts towards the commitment"
    if part.committed is not None and part.counted is not None:
        text += f" of {decimal_text(part.committed)}, after {decimal_text(part.counted)} before"
    return text


def _is_of(due: DueCommitment, line: InvoiceLine) -> bool:
    own = due.commitment.windowed and due.commitment.line_item_id == line.line_item_id
    return own and due.period == line.period and line.kind in (LineKind.usage, LineKind.overage)


def _promise(window: PromiseWindow, due: DueCommitment, zone: str) -> str:
    hours = f" ({due.commitment.time_buckets[window.place - 1].hours})" if window.place else ""
    promised = exact(window.promised) if window.promised else "nothing"
    text = f"window {span(window.period, zone)}{hours}: {exact(window.used)} used, {promised} promised"
    beyond = window.used - window.within
    return f"{text}, {exact(beyond)} beyond" if beyond else text
