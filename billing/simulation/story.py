"""Plays a scenario: boundaries, invoices and payments in the order of time, and the customer's actions between them.

Owns the order: at one instant the boundary, then invoices, then actions. Every decision is billing's own; actions are
in billing.simulation.actions.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from billing import subscriptions as rules
from billing.allowances import LIFETIME_END
from billing.collection import at_finalizing, first_attempt_at
from billing.credit_grants import CreditGrant
from billing.credit_notes import CreditNoteType, issue_credit_note, payment_after_refund
from billing.invoice_lines import PeriodCorrection
from billing.invoice_states import PAID, InvoiceStatus
from billing.invoices import Invoice, InvoiceInputs, build_invoice, draft_inputs, invoice_number
from billing.late_usage import counted_lines, look_back_invoice, makes_lines
from billing.line_trials import end_trials, next_trial_end
from billing.money import ZERO
from billing.periods import Period
from billing.running_usage import running_usage
from billing.scenario.agreement import build_coupons, build_dunning, build_late_usage, build_terms, check_settings
from billing.scenario.catalog import build_catalog
from billing.scenario.credits import build_addon_grants, build_grants, build_wallets, build_watched, check_grants
from billing.scenario.document import Scenario
from billing.scenario.phases import build_phase_coupons, build_phases
from billing.simulation.balances import real_time
from billing.simulation.collecting import Collection
from billing.simulation.coupons import coupons_for
from billing.simulation.events import EventLog
from billing.simulation.inputs import UsageInputs
from billing.simulation.invoices import PlayedInvoice, billed_beyond
from billing.simulation.late import LateUsage
from billing.simulation.purchases import bought, fill
from billing.simulation.records import IssuedNote, Refusal, TimelineEntry, status_event
from billing.simulation.thresholds import ThresholdChecks
from billing.simulation.wallets import PlayedWallet, Wallets
from billing.simulation.watching import Watch
from billing.terms import BilledLine, BillingReason, DueInvoice, Terms
from billing.terms_history import TermsInForce, changed, terms_before
from billing.thresholds import is_reached, threshold_invoice
from billing.top_ups import TopUp
from billing.unused_time import with_unused_time
from billing.wallet_balances import usage_of
from billing.wallets import EntryReason, Wallet

SUBSCRIPTION = "subscription"
PLAN = ""
"""Who gives the credits of the plan; an add-on's are given by its key."""
INSTANT = timedelta(milliseconds=1)
"""What is received at an instant is known just after it."""


class Story:
    """A scenario while it is played. Raises Invalid with the path of what makes no sense or is not offered."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        check_settings(scenario.settings)
        self.catalog = build_catalog(scenario)
        self.phases = build_phases(scenario, self.catalog)
        self.terms = build_terms(scenario, self.catalog, self.phases)
        self.coupons = (*build_coupons(scenario, self.catalog), *build_phase_coupons(scenario, self.catalog))
        self.log = EventLog(scenario, self.catalog.meters)
        self.late = LateUsage(build_late_usage(scenario.settings), self.log, self.catalog.meters)
        self.usage = UsageInputs(self.log, self.catalog.meters, self.late)
        threshold = self.terms.auto_invoice_threshold
        self.checks = ThresholdChecks(threshold is not None, self.log, self.catalog.meters.values())
        self.dunning = build_dunning(scenario.settings)
        self.collection = Collection(self.dunning, scenario.payments)
        self.state: rules.SubscriptionState | None = None
        self.invoices: list[PlayedInvoice] = []
        self.timeline: list[TimelineEntry] = []
        self.refused: list[Refusal] = []
        self.credit_notes: list[IssuedNote] = []
        self.plan = scenario.subscription.plan
        self.addons = [addon.addon for addon in scenario.subscription.addons]
        self.pending: list[Callable[[datetime], None]] = []
        self.closing: Callable[[datetime], None] | None = None
        self.history: tuple[TermsInForce, ...] = (TermsInForce(self.terms, Period(self.terms.start, LIFETIME_END)),)
        self._watched = Watch(build_watched(scenario), self.real_time, self.tell, self.buy)
        self.wallets = Wallets(scenario, build_wallets(scenario), self.tell)
        for logged in self.log.all():
            self._watched.mark(logged.original.accepted_at)
        self._plan_first_grants()
        self._open: list[PlayedInvoice] = []
        self._numbers: dict[str, int] = {}
        self._line_items = Counter(line.price.id for line in self.terms.lines)
        self._now = self._trials_ended = scenario.subscription.start_date

    def advance(self, to: datetime) -> None:
        """Does everything due at or before `to`."""
        while True:
            found = [(at, rank, step) for rank, (at, step) in enumerate(self._due(to)) if at is not None]
            at, _, step = min(found, key=lambda each: each[:2], default=(None, 0, None))
            if at is None or step is None or at > to:
                return
            self._now = max(self._now, at)
            step(at)

    def apply(self, transition: rules.Transition, at: datetime) -> None:
        """Takes over the state after a step, and drafts the invoice that it makes due."""
        before, self.state = self.state, transition.state
        self.checks.note(at)
        if transition.invoice is not None:
            self._draft(transition.invoice)
        if transition.state.status is not (before.status if before else None):
            self.tell(at, status_event(before, transition.state), SUBSCRIPTION)
        if transition.state.status is rules.SubscriptionStatus.cancelled:
            self.wallets.stop_grants()

    def billed(self, at: datetime) -> tuple[BilledLine, ...]:
        """What was billed in advance for time after `at` and can still be credited."""
        return with_unused_time(self.terms, billed_beyond(self.invoices, at), at)

    def new_line_id(self, price: str) -> str:
        """The id of a price's next line item: the price's key, then the key and a number."""
        self._line_items[price] += 1
        count = self._line_items[price]
        return price if count == 1 else f"{price}#{count}"

    def forget_pending(self) -> None:
        """What was to change when the period ends does not."""
        self.pending, self.closing = [], None

    def adopt(self, terms: Terms, at: datetime) -> None:
        """Other terms are in force from `at` on."""
        self.terms = terms
        self.history = changed(self.history, terms, Period(at, LIFETIME_END))
        self.wallets.plan_grants(terms, at, self.scenario.until)

    def give(self, owner: str, grants: Sequence[CreditGrant], at: datetime) -> None:
        """A plan or an add-on (or none any more) gives credits from `at` on."""
        self.wallets.give(owner, grants)
        self.wallets.plan_grants(self.terms, at, self.scenario.until)

    def charge_now(self, played: PlayedInvoice, at: datetime) -> None:
        """The POST_PAID wallet pays what it can, then one attempt at the provider for the rest."""
        paid = self.wallets.pay(played, at)
        events = ["payment.succeeded", *self.collection.receive(played, paid, at)] if paid else []
        if played.amount_remaining:
            events += self.collection.charge(played, at)
        self.payment_events(events, played, at)
        self._watch(played)

    def buy(self, wallet: PlayedWallet, asked: TopUp, at: datetime, reason: BillingReason) -> PlayedInvoice:
        """An invoice for credits, which come when it is paid."""
        played = bought(len(self.invoices), wallet, asked, at, reason, self.terms, self.history)
        self.invoices.append(played)
        self._watch(played)
        self.tell(at, "invoice.drafted", played.id)
        return played

    def payment_events(self, events: list[str], played: PlayedInvoice, at: datetime) -> None:
        """What a payment or its failure caused."""
        for event in events:
            self._payment_event(event, played, at)

    def tell(self, at: datetime, event: str, about: str) -> None:
        """Adds to the timeline."""
        self.timeline.append(TimelineEntry(at, event, about))
        self._watched.mark(at)

    def present(self, played: PlayedInvoice, at: datetime) -> Invoice:
        """A draft as it would be finalized with the usage known at `at`; any other invoice as it is."""
        if played.status is not InvoiceStatus.DRAFT:
            return played.invoice
        return build_invoice(self.inputs_of(played, at))

    def inputs_of(self, played: PlayedInvoice, at: datetime) -> InvoiceInputs:
        """What an invoice was finalized from, or a draft would be at `at`."""
        return (
            self.usage.of(played, self.invoices, at + INSTANT)
            if played.status is InvoiceStatus.DRAFT
            else played.inputs
        )

    def real_time(self, wallet: Wallet, at: datetime) -> Decimal:
        """What a wallet is worth at `at`, less what is owed and used so far."""
        return real_time(wallet, at, [(each, self.present(each, at)) for each in self.invoices], self.current_usage)

    def current_usage(self, at: datetime) -> Decimal:
        """What the usage of the running period costs so far, as its invoice will say it.

        What comes late for closed periods counts from the draft that carries it.
        """
        if self.state is None or self.state.next_boundary is None:
            return ZERO
        running = self._new(running_usage(self.terms, self.state), InvoiceStatus.DRAFT, at, None)
        return usage_of(build_invoice(replace(self.inputs_of(running, at), corrections=())))

    def issue_note(
        self, played: PlayedInvoice, kind: CreditNoteType, amount: Decimal, at: datetime, reference: str
    ) -> None:
        """Credits a part of an invoice: less to pay, or money back to the wallet. Raises a BillingError."""
        before = played.balance
        after = issue_credit_note(before, played.status, kind, amount, self.terms.currency)
        played.adjusted, played.refunded = after.adjusted, after.refunded
        self.credit_notes.append(IssuedNote(played.id, kind.value, amount, at))
        self.tell(at, "credit_note.created", played.id)
        if kind is CreditNoteType.REFUND:
            due = played.invoice.amount_due
            played.payment_status = payment_after_refund(played.payment_status, played.status, due, before, amount)
            self.wallets.give_back(amount, at, reference, EntryReason.credit_note)
        elif not played.amount_remaining:
            self.payment_events(self.collection.receive(played, ZERO, at), played, at)

    def _plan_first_grants(self) -> None:
        scenario, start = self.scenario, self.terms.start
        check_grants(scenario)
        self.wallets.give(PLAN, build_grants(scenario, self.plan, start))
        for addon in self.addons:
            self.wallets.give(addon, build_addon_grants(scenario, addon, self.terms, start))
        self.wallets.plan_grants(self.terms, start, scenario.until)

    def _due(self, to: datetime) -> tuple[tuple[datetime | None, Callable[[datetime], None]], ...]:
        """What happens next of each kind; of things at one instant the earlier in this list comes first."""
        self._open = [played for played in self._open if played.next_at is not None]
        invoice = min(self._open, key=lambda played: (played.next_at, played.position), default=None)
        boundary = self.terms.start if self.state is None else self.state.next_boundary
        trial_end = None if self.state is None else next_trial_end(self.terms, self.state, self._trials_ended)
        return (
            (boundary, self._cross),
            (trial_end, self._end_trials),
            (self.checks.next(self.state), self._check_threshold),
            (self.wallets.next_expiry(self._open_period_ends(), to), self._expire),
            (self.wallets.next_grant(), lambda at: self.wallets.grant()),
            (None, self._expire) if invoice is None else (invoice.next_at, partial(self._act_on, invoice)),
            (self.late.look_back_end(self.state, self.invoices), self._end_look_back),
            (self._watched.next_look(), lambda at: self._watched.look(self.wallets, at)),
        )

    def _expire(self, at: datetime) -> None:
        self.wallets.expire(max(at, self._now), self._open_period_ends())

    def _open_period_ends(self) -> list[datetime]:
        """Ends of the periods whose invoices have not drawn their credits yet."""
        drafts = [played for played in self._open if played.status is InvoiceStatus.DRAFT]
        return [played.inputs.due.period.end for played in drafts]

    def _cross(self, at: datetime) -> None:
        if self.state is None:
            self.apply(rules.open_subscription(self.terms), at)
            return
        ends = self._known_end() == at
        pending, closing = ([], None) if ends else (self.pending, self.closing)
        self.forget_pending()
        for change in pending:
            change(at)
        if closing is not None:
            closing(at)
        else:
            self.apply(rules.close_period(self.terms, self.state, self.billed(at)), at)

    def _end_trials(self, at: datetime) -> None:
        assert self.state is not None
        self._trials_ended = at
        self.apply(rules.Transition(self.state, end_trials(self.terms, self.state, at)), at)

    def _check_threshold(self, at: datetime) -> None:
        assert self.state is not None
        assert self.terms.auto_invoice_threshold is not None
        self.checks.done(at)
        due = threshold_invoice(self.terms, self.state, at)
        inputs = self.usage.of(self._new(due, InvoiceStatus.DRAFT, at, at), self.invoices, at)
        if is_reached(self.terms.auto_invoice_threshold, counted_lines(inputs)):
            self._draft(due)

    def _draft(self, due: DueInvoice) -> None:
        act_at = rules.finalize_at(due, self.scenario.settings.finalization_delay_seconds)
        played = self._new(due, InvoiceStatus.DRAFT, act_at, act_at)
        if not due.lines:
            found = self.late.corrections(self.invoices, played, due.at + INSTANT)
            played.inputs = replace(played.inputs, corrections=found)
            if not makes_lines(found):
                played.status, played.next_at = InvoiceStatus.SKIPPED, None
        self.invoices.append(played)
        self._watch(played)
        drafted = played.status is InvoiceStatus.DRAFT
        self.tell(due.at, "invoice.drafted" if drafted else "invoice.skipped", played.id)
        if not drafted:
            self._settle(played.inputs.corrections, played, due.at)

    def _end_look_back(self, at: datetime) -> None:
        """What came late for the last periods of a subscription that has ended, or is paused: one invoice, if any."""
        assert self.state is not None
        self.late.looked_back(self.state)
        due = look_back_invoice(self.state.current_period.end, at)
        found = self.late.corrections(self.invoices, self._new(due, InvoiceStatus.DRAFT, at, at), at + INSTANT)
        if makes_lines(found):
            self._draft(due)
        else:
            self._settle(found, None, at)

    def _settle(self, found: tuple[PeriodCorrection, ...], carrier: PlayedInvoice | None, at: datetime) -> None:
        """Corrections are made by the invoice that carries them, or by the credit notes that they ask for."""
        for corrected, kind, amount in self.late.settle(found, carrier, self.invoices):
            self.issue_note(corrected, kind, amount, at, f"credit_notes[{len(self.credit_notes)}]")

    def _new(self, due: DueInvoice, status: InvoiceStatus, act_at: datetime, next_at: datetime | None) -> PlayedInvoice:
        """An invoice with what a draft fixes: lines, coupons, tax rates and terms as of now."""
        coupons = coupons_for(due, self.coupons, self.invoices) if self.coupons else ()
        inputs = draft_inputs(self.terms, due, coupons)
        position, known_end = len(self.invoices), self._known_end()
        closed = terms_before(self.history, due.at)
        return PlayedInvoice(position, inputs, status, act_at, next_at, closed, self.history, known_end)

    def _act_on(self, played: PlayedInvoice, at: datetime) -> None:
        if played.status is InvoiceStatus.DRAFT:
            self._finalize(played, at)
        elif played.gives_up:
            self.payment_events(self.collection.give_up(played), played, at)
        else:
            self.charge_now(played, at)

    def _finalize(self, played: PlayedInvoice, at: datetime) -> None:
        month = f"{at:%Y%m}"
        self._numbers[month] = self._numbers.get(month, 0) + 1
        number = invoice_number(self._numbers[month], at)
        prepaid = self.wallets.prepaid()
        wallet = None if prepaid is None else prepaid.wallet
        known = self.usage.of(played, self.invoices, at)
        played.finalize(known if played.purchase else replace(known, wallet=wallet), at, number)
        self.tell(at, "invoice.finalized", played.id)
        self.checks.note(at)
        self._settle(played.inputs.corrections, played, at)
        self.wallets.draw(played.invoice, at, played.id)
        if played.invoice.carried.to_customer:
            self.wallets.give_back(played.invoice.carried.to_customer, at, f"{played.id}/carried")
        played.payment_status = at_finalizing(played.invoice.amount_due)
        played.next_at = first_attempt_at(played.payment_status, True, at)
        if played.payment_status in PAID:
            played.paid_at = at
            self.tell(at, "invoice.paid", played.id)

    def _known_end(self) -> datetime | None:
        return rules.known_end(self.terms, None if self.state is None else self.state.cancel_at)

    def _payment_event(self, event: str, played: PlayedInvoice, at: datetime) -> None:
        self.tell(at, event, played.id)
        if played.purchase is not None:  # it is nothing to the subscription
            if event == "invoice.paid":
                fill(self.wallets, played, at)
            return
        assert self.state is not None  # only a subscription that was opened has invoices of its own
        if event == "invoice.paid" and self.state.status is rules.SubscriptionStatus.past_due:
            self.apply(rules.Transition(rules.clear_past_due(self.state), None), at)
        if event in ("invoice.uncollectible", "invoice.left_open"):
            self.apply(rules.Transition(rules.mark_past_due(self.state), None), at)
            self._end_after_dunning(at)

    def _end_after_dunning(self, at: datetime) -> None:
        """A subscription that the tenant does not keep ends at once, with its final invoice."""
        if self.state is not None and self.dunning.ends(self.state.status):
            kind = rules.CancellationType.immediate
            self.apply(rules.cancel(self.terms, self.state, at, kind, self.billed(at)), at)

    def _watch(self, played: PlayedInvoice) -> None:
        if played not in self._open:
            self._open.append(played)
