"""What an operator reads in Temporal UI: short markdown, computed from a state alone."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from activities.full_hours import Looked
from activities.ingestion.supervision import SinkReport
from activities.states import ClockState, DisputeState, InvoiceState, RefundState, SubscriptionState
from activities.usage_sealing import SealedUsage
from workflows.contracts import IngestionInput


def instant(value: datetime | None) -> str:
    """`2025-03-31 18:30 UTC`, or a dash."""
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def table(rows: list[tuple[str, str]]) -> str:
    """A markdown table of two columns."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def attention(problem: str | None) -> str:
    """What went wrong and what to do about it, before everything else; nothing when all is well."""
    if problem is None:
        return ""
    return (
        f"**Needs attention.** {problem}\n\nMend the cause, then send the signal `retry`; it is tried again by itself"
        " every hour.\n\n"
    )


def subscription_details(state: SubscriptionState, clock: datetime | None, problem: str | None = None) -> str:
    """Where a subscription stands and what it waits for."""
    if state.next_action_at is None:
        waiting = "nothing: it has ended"
    elif state.is_over:
        waiting = f"usage that comes late, which is billed at {instant(state.next_action_at)}"
    elif state.next_action_at == state.period_end:
        waiting = f"the end of the period at {instant(state.next_action_at)}"
    else:
        waiting = f"its start at {instant(state.next_action_at)}"
    rows = [
        ("Status", state.status),
        ("Current period", f"{instant(state.period_start)} to {instant(state.period_end)}"),
        ("Waits for", waiting),
        ("Plan", state.plan_id),
        ("Customer", state.customer_id),
    ]
    if clock is not None:
        rows.append(("Test clock", f"{state.test_clock_id} at {instant(clock)}"))
    return attention(problem) + table(rows)


def pause(why: str | None) -> str:
    """That a payment provider is down, which nobody has to do anything about; nothing when all is well."""
    return "" if why is None else f"**Paused.** {why}. It goes on by itself.\n\n"


def invoice_details(
    state: InvoiceState, clock: datetime | None, problem: str | None = None, paused: str | None = None
) -> str:
    """Where an invoice stands, what it waits for and what failed."""
    rows = [
        ("Number", state.number or "(draft)"),
        ("Status", f"{state.invoice_status} / {state.payment_status}"),
        ("Remaining", f"{state.amount_remaining} {state.currency.upper()}"),
        ("Waits for", invoice_waits_for(state)),
        ("Payment attempts", str(state.attempts)),
        ("Provider", state.provider or "-"),
        ("Customer", state.customer_id),
        ("Subscription", state.subscription_id or "-"),
    ]
    if clock is not None:
        rows.append(("Test clock", f"{state.test_clock_id} at {instant(clock)}"))
    return attention(problem) + pause(paused) + table(rows)


def refund_details(state: RefundState, problem: str | None = None, paused: str | None = None) -> str:
    """Where a refund stands; one that was refused says what a person can do."""
    refused = ""
    if state.status == "FAILED":
        refused = (
            f"**Needs attention.** The provider refused: {state.failure}.\n\nRetry it"
            f" (`POST /v1/refunds/{state.refund_id}/retry`), or give the money back in another"
            " way and cancel it (`/cancel`).\n\n"
        )
    rows = [
        ("Status", state.status),
        ("Amount", f"{state.amount} {state.currency.upper()}"),
        ("Provider", state.provider),
        ("Request", str(state.attempt)),
        ("Payment", state.payment_id),
        ("Invoice", state.invoice_id),
        ("Customer", state.customer_id),
    ]
    return attention(problem) + pause(paused) + refused + table(rows)


def dispute_details(state: DisputeState, problem: str | None = None) -> str:
    """Where a dispute stands, and until when evidence is wanted."""
    wanted = f"**Needs attention.** Answer it at {state.provider}.\n\n" if not state.is_closed else ""
    rows = [
        ("Status", state.status),
        ("Reason", state.reason),
        ("Answer before", instant(state.respond_by)),
        ("Amount", f"{state.amount} {state.currency.upper()}"),
        ("Provider", f"{state.provider}, {state.gateway_dispute_id}"),
        ("Payment", state.payment_id),
        ("Invoice", state.invoice_id),
        ("Customer", state.customer_id),
    ]
    return attention(problem) + wanted + table(rows)


def invoice_waits_for(state: InvoiceState) -> str:
    """What has to happen next, and when if a time is set for it."""
    if not state.waiting_for:
        return "nothing: it is closed"
    when = "" if state.next_action_at is None else f", at {instant(state.next_action_at)}"
    return f"{state.waiting_for}{when}"


def clock_details(state: ClockState) -> str:
    """Where a test clock stands."""
    rows = [("Status", state.status), ("Time", instant(state.frozen_time)), ("Going to", instant(state.target_time))]
    if state.problem:
        rows.append(("Problem", state.problem))
    return table(rows)


def ingestion_details(done: IngestionInput, running: Sequence[SinkReport], at: datetime) -> str:
    """How fast the consumers of a lane are, how far behind, and what they have done since the workflow began."""
    stored = done.stored + sum(each.stored for each in running)
    duplicates = done.duplicates + sum(each.duplicates for each in running)
    dead_lettered = done.dead_lettered + sum(each.dead_lettered for each in running)
    rows = [
        ("Lane", done.lane),
        ("Consumers", f"{len(running)} of {done.consumers} report"),
        ("Rate", f"{sum(each.per_second for each in running):,} events/s"),
        ("Lag", f"{_seconds(max(each.lag_ms for each in running))} from accepted to stored" if running else "-"),
        ("Oldest unstored", _oldest(running)),
        ("Waiting in Kafka", f"{sum(each.behind for each in running):,} records"),
        ("Stored", f"{stored:,}"),
        ("Duplicates", f"{duplicates:,}"),
        ("Dead letters", f"{dead_lettered:,}"),
        ("As of", f"{at:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    return table(rows)


def _oldest(running: Sequence[SinkReport]) -> str:
    if not running:
        return "unknown: no consumer has reported yet"
    oldest = max(each.oldest_ms for each in running)
    return f"{_seconds(oldest)} old" if oldest else "none: everything read is stored"


def _seconds(milliseconds: int) -> str:
    return f"{Decimal(milliseconds) / 1000:.1f} s"


def full_hour_details(
    hour: datetime | None, thresholds: Looked | None, balances: Looked | None, sealed: SealedUsage | None
) -> str:
    """What the pass of a full hour has done so far, and what it could not do."""
    rows = []
    if hour is not None:
        rows = [
            ("Full hour", instant(hour)),
            ("Thresholds", _looked(thresholds, "subscriptions", "invoices drafted")),
            ("Balances", _looked(balances, "wallets", "changes told")),
        ]
    said = "not yet"
    if sealed is not None:
        said = f"{sealed.rows:,} events of {sealed.environments} environments had come since the last pass"
    failed = [each for part in (thresholds, balances, sealed) if part is not None for each in part.failures]
    listed = "".join(f"- {each}\n" for each in failed)
    problems = f"**Not looked at, or not sealed; the next hour tries again:**\n\n{listed}\n" if failed else ""
    return problems + table([*rows, ("Usage sealed", said)])


def _looked(part: Looked | None, of: str, what: str) -> str:
    return "not yet" if part is None else f"{part.looked:,} {of} looked at, {part.acted:,} {what}"
