"""Late usage in a story: which periods are read anew, with which cutoff, and which corrections stand.

Owns the choice of invoices, the record of what was settled and the report of what came too late; what a period comes to
is billing.late_usage's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from billing import late_usage as rules
from billing.allowances import LIFETIME_END
from billing.credit_notes import CreditNoteType
from billing.invoice_lines import InvoiceInputs, InvoiceLine, PeriodCorrection
from billing.invoice_states import InvoiceStatus
from billing.meters import Meter, ResetUsage, UsageSnapshot
from billing.simulation.events import EventLog, Rejected
from billing.simulation.invoices import PlayedInvoice
from billing.simulation.usage import has_changed, snapshot
from billing.subscriptions import SubscriptionState
from billing.usage_aggregation import matches

TOO_LATE = "too_late"


class LateUsage:
    """The corrections of a story, in their order, each with the invoice that carries it; None: credit notes do."""

    def __init__(self, settings: rules.LateUsageSettings, log: EventLog, meters: Mapping[str, Meter]) -> None:
        self._settings = settings
        self._log, self._meters = log, meters
        self._settled: list[tuple[PeriodCorrection, PlayedInvoice | None]] = []
        self._looked_back: datetime | None = None

    def corrections(
        self, invoices: Sequence[PlayedInvoice], carrier: PlayedInvoice, at: datetime
    ) -> tuple[PeriodCorrection, ...]:
        """What `carrier`, closing a period, has to correct by what is known before `at`."""
        if not self._settings.looks_back or not rules.closes_a_period(carrier.inputs.due):
            return ()
        frozen = self._look_back(invoices, carrier)
        usage = {played.id: self._read(played, at) for played in frozen}
        if not any(usage.values()):
            return ()
        found = rules.corrections([self._closed(played) for played in frozen], usage)
        balances = {played.id: played.balance for played in frozen}
        return tuple(rules.in_its_way(self._settings, one, balances[one.invoice_id]) for one in found)

    def settle(
        self, found: Iterable[PeriodCorrection], carrier: PlayedInvoice | None, invoices: Sequence[PlayedInvoice]
    ) -> Iterator[tuple[PlayedInvoice, CreditNoteType, Decimal]]:
        """Corrections are made: by the invoice `carrier`, or by the credit notes that this gives one after another."""
        for one in found:
            self._settled.append((one, None if one.by_credit_note else carrier))
            if one.by_credit_note:
                corrected = next(played for played in invoices if played.id == one.invoice_id)
                for kind, amount in rules.credit_notes_for(one, corrected.balance):
                    yield corrected, kind, amount

    def counted_lines(self, invoices: Iterable[PlayedInvoice], found: Sequence[PeriodCorrection]) -> list[InvoiceLine]:
        """The lines of `invoices` as they are counted by now, `found` included: what draws on allowances."""
        last = self._counted() | {one.invoice_id: one.inputs for one in found}
        lines: list[InvoiceLine] = []
        for played in invoices:
            inputs = last.get(played.id)
            lines += played.invoice.lines if inputs is None else rules.counted_lines(inputs)
        return lines

    def look_back_end(self, state: SubscriptionState | None, invoices: Sequence[PlayedInvoice]) -> datetime | None:
        """When what came late for the last periods is billed though no period closes any more; None: not, or done."""
        if not self._settings.looks_back or state is None or state.next_boundary is not None:
            return None
        if state.current_period.end == self._looked_back:
            return None
        own = [played for played in invoices if played.purchase is None]
        finalized = [played.finalize_at for played in own if played.inputs.due.lines]
        return rules.look_back_end(self._settings, state.current_period.end, finalized)

    def looked_back(self, state: SubscriptionState) -> None:
        """The look-back of the last periods is over."""
        self._looked_back = state.current_period.end

    def left_out(self, invoices: Sequence[PlayedInvoice]) -> list[Rejected]:
        """The events that came too late for their period's invoice and for every correction of it."""
        found: dict[str, Rejected] = {}
        closes = _closes(invoices)
        for place, played in enumerate(closes):
            for frozen in played.inputs.usage if played.status is InvoiceStatus.FINALIZED else ():
                meter, last = self._meters[frozen.meter_id], self._last_moment(frozen, closes[place + 1 :])
                for logged in self._log.named(meter.event_name) if meter.reset_usage is not ResetUsage.NEVER else ():
                    event = logged.original
                    if frozen.period.contains(event.at) and event.accepted_at >= last and matches(meter, event):
                        found[event.event_id] = Rejected(event.event_id, TOO_LATE)
        return list(found.values())

    def _last_moment(self, frozen: UsageSnapshot, after: Sequence[PlayedInvoice]) -> datetime:
        """What is accepted from then on is not counted in a frozen period any more."""
        if not self._settings.looks_back:
            return frozen.cutoff
        last = after[self._settings.periods - 1 :][:1]
        ended = [each.finalized_at for each in last if each.finalized_at is not None]
        return rules.known_until(frozen, min([LIFETIME_END, *ended]), self._settings.days)

    def _look_back(self, invoices: Sequence[PlayedInvoice], carrier: PlayedInvoice) -> list[PlayedInvoice]:
        """The frozen ones of the periods before the carrier's."""
        closes = rules.read_anew(self._settings, _closes(invoices[: carrier.position]))
        return [each for each in closes if each.status is InvoiceStatus.FINALIZED]

    def _closed(self, played: PlayedInvoice) -> rules.ClosedPeriod:
        own = [
            rules.SettledCorrection(one, () if carrier is None else carrier.invoice.lines, not _stands(carrier))
            for one, carrier in self._settled
            if one.invoice_id == played.id
        ]
        return rules.closed_period(played.id, played.inputs, played.invoice.lines, own)

    def _read(self, played: PlayedInvoice, at: datetime) -> tuple[UsageSnapshot, ...]:
        """Usage read anew where something came or was changed since it was counted last."""
        found = []
        for one in self._counted().get(played.id, played.inputs).usage:
            meter, cutoff = self._meters[one.meter_id], rules.known_until(one, at, self._settings.days)
            if has_changed(self._log, meter, one, cutoff):
                found.append(snapshot(self._log, meter, played.history, one.period, cutoff))
        return tuple(found)

    def _counted(self) -> dict[str, InvoiceInputs]:
        """What the usage of corrected invoices is counted from by now."""
        return {one.invoice_id: one.inputs for one, carrier in self._settled if _stands(carrier)}


def _closes(invoices: Sequence[PlayedInvoice]) -> list[PlayedInvoice]:
    """Those that closed a period with a line of its own."""
    return [each for each in invoices if each.inputs.due.lines and rules.closes_a_period(each.inputs.due)]


def _stands(carrier: PlayedInvoice | None) -> bool:
    """What a voided invoice carried is counted no more; credit notes stand."""
    return carrier is None or carrier.status is not InvoiceStatus.VOIDED
