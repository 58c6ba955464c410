"""What an invoice of a story follows from once its usage is read: snapshots, allowances, commitments, corrections.

Owns which earlier invoices are asked for what; the rules are billing's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from billing.billed_usage import billed_usage
from billing.commitment_lines import commitment_counts
from billing.invoice_lines import BilledUsage
from billing.invoice_states import InvoiceStatus
from billing.invoices import InvoiceInputs
from billing.meters import Meter, UsageSnapshot
from billing.simulation.events import EventLog
from billing.simulation.invoices import PlayedInvoice
from billing.simulation.late import LateUsage
from billing.simulation.usage import snapshot
from billing.terms import BillingReason
from billing.terms_history import allowances_over, metered
from billing.thresholds import commitments_met
from billing.usage_lines import allowance_draws


class UsageInputs:
    """Reads usage for the invoices of a story."""

    def __init__(self, log: EventLog, meters: Mapping[str, Meter], late: LateUsage) -> None:
        self._log, self._meters, self._late = log, meters, late
        self._sizes = [(meter.id, meter.bucket_size) for meter in meters.values() if meter.bucket_size]

    def of(self, played: PlayedInvoice, invoices: Sequence[PlayedInvoice], at: datetime) -> InvoiceInputs:
        """The inputs with the usage known before `at`, and what is left by earlier `invoices`."""
        due = played.inputs.due
        if not due.lines or played.purchase is not None:
            return played.inputs
        found = self._late.corrections(invoices, played, at)
        billed = _billed(invoices) if due.has_usage else ()
        inputs = replace(played.inputs, usage=self._usage(played, at), corrections=found, billed=billed)
        if not played.terms.commitments and not any(one.terms.entitlements for one in played.history):
            return inputs
        closed = [each for each in invoices if each.status is InvoiceStatus.FINALIZED and not _on_account(each)]
        lines = self._late.counted_lines(closed, found)
        allowances = allowances_over(played.history, due.lines, allowance_draws(lines))
        if not due.has_usage:  # opening a period uses no commitment up
            return replace(inputs, allowances=allowances)
        counts = commitment_counts(lines)
        commitments = commitments_met(played.terms, due, played.known_end, counts, self._sizes)
        return replace(inputs, allowances=allowances, commitments=commitments)

    def _usage(self, played: PlayedInvoice, at: datetime) -> tuple[UsageSnapshot, ...]:
        """One snapshot a meter and period, as known before `at`; a threshold invoice's of what has passed."""
        until = at if _on_account(played) else None
        return tuple(
            snapshot(self._log, self._meters[meter_id], played.history, period, at, until)
            for meter_id, period in metered(played.inputs.due.lines)
        )


def _billed(invoices: Sequence[PlayedInvoice]) -> tuple[BilledUsage, ...]:
    """What the threshold invoices in force billed."""
    return billed_usage(
        (each.id, each.invoice.lines)
        for each in invoices
        if _on_account(each) and each.status is InvoiceStatus.FINALIZED
    )


def _on_account(played: PlayedInvoice) -> bool:
    return played.inputs.due.reason is BillingReason.AUTO_INVOICE_THRESHOLD
