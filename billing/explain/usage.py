"""Usage in an explanation: what was counted, window by window, and what the allowance took of it."""

from billing.explain.parts import Figure, Section, Window
from billing.explain.wording import exact, instant, span
from billing.invoice_lines import InvoiceLine, RatedPart
from billing.money import decimal_text
from billing.terms import LineKind


def usage_section(line: InvoiceLine, zone: str) -> Section:
    """What was frozen of the meter, and the windows in which it was read."""
    parts = line.derivation.parts
    used = [part for part in parts if part.quantity]
    empty = len(parts) - len(used)
    unused = (f"{empty} of its {len(parts)} windows have no usage and are not listed",) if empty else ()
    windows = tuple(Window(part, part_name(part, zone), _words(part, zone)) for part in used)
    return Section(Figure.amount, notes=(*_counted(line, zone), *unused), windows=windows)


def _counted(line: InvoiceLine, zone: str) -> tuple[str, ...]:
    if line.kind not in (LineKind.usage, LineKind.overage):
        return ()
    snapshot = line.derivation.usage
    if snapshot is None:
        return ("usage is not frozen yet; it is counted when the invoice is finalized",)
    usage = snapshot.usage
    events = "1 event" if usage.event_count == 1 else f"{usage.event_count} events"
    proof = f" (checksum {usage.checksum})" if usage.checksum else ""
    counted = (
        f"usage: {decimal_text(usage.quantity)} from {events} of meter {snapshot.meter_id}, "
        f"accepted before {instant(snapshot.cutoff, zone)}{proof}"
    )
    if not usage.rejected_values:
        return (counted,)
    return counted, f"{usage.rejected_values} of these events had no usable value and count 0"


def part_name(part: RatedPart, zone: str) -> str:
    """A part by its time, and its group where the meter groups."""
    group = "" if part.group is None else f" of {part.group or 'no group'}"
    return f"{span(part.period, zone)}{group}"


def _words(part: RatedPart, zone: str) -> str:
    text = f"{part_name(part, zone)}: {exact(part.quantity)}"
    if part.window is None:
        return text
    limit = "unlimited" if part.limit is None else f"{exact(part.limit)} for {span(part.window, zone)}"
    if part.used:
        limit += f", {exact(part.used)} used before"
    return f"{text}, less {exact(part.free)} of the allowance ({limit}) = {exact(part.quantity - part.free)}"
