"""Charging invoices in a story: the provider's answers in order, dunning, money by hand.

Owns the attempts; when to try again and what a payment leaves owed are billing.collection's and billing.dunning's.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from billing.collection import after_decline, after_receipt, asked_for, check_offline_payment, split_payment
from billing.dunning import DeclineKind, DunningSettings
from billing.invoice_states import PaymentStatus
from billing.money import total
from billing.scenario.document import PaymentAnswer
from billing.simulation.invoices import Attempt, PlayedInvoice

SUCCEEDED = PaymentAnswer("succeeded")


class Collection:
    """Holds the provider's answers that are left. Every method says which events it caused, in order."""

    def __init__(self, settings: DunningSettings, answers: tuple[PaymentAnswer, ...]) -> None:
        self._settings = settings
        self._answers: Iterator[PaymentAnswer] = iter(answers)

    def charge(self, played: PlayedInvoice, at: datetime) -> list[str]:
        """One attempt for what remains. The lost answer of a charge that was made is found by its id at once."""
        answer = next(self._answers, SUCCEEDED)
        outcome = "succeeded" if answer.outcome == "unknown" else answer.outcome
        amount = played.amount_remaining
        played.attempts.append(Attempt(at, amount, outcome))
        played.next_at, played.gives_up = None, False
        if outcome == "succeeded":
            return ["payment.succeeded", *self.receive(played, amount, at)]
        if outcome == "requires_action":
            played.payment_status = PaymentStatus.PENDING
            return ["payment.requires_action"]
        assert answer.kind is not None  # a document without it is refused
        return ["payment.failed", *self._decline(played, answer.kind, at)]

    def receive(self, played: PlayedInvoice, amount: Decimal, at: datetime) -> list[str]:
        """Money arrives on the invoice."""
        asked = asked_for(played.status, played.invoice.amount_due, played.adjusted)
        played.payment_status = after_receipt(asked, played.amount_paid, amount)
        played.amount_paid = total((played.amount_paid, amount))
        if played.amount_remaining:
            return []
        played.next_at, played.gives_up, played.uncollectible = None, False, False
        played.paid_at = played.paid_at or at
        return ["invoice.paid"]

    def pay_offline(self, played: PlayedInvoice, amount: Decimal, at: datetime) -> list[str]:
        """Money received outside the provider. Raises Conflict or Invalid, and nothing has changed."""
        owed = played.amount_remaining
        check_offline_payment(played.status, played.payment_status, amount, played.inputs.currency)
        part, _ = split_payment(played.status, amount, owed)
        return ["payment.succeeded", *self.receive(played, part, at)]

    def give_up(self, played: PlayedInvoice) -> list[str]:
        """Dunning is over without money."""
        played.next_at, played.gives_up = None, False
        played.payment_status = PaymentStatus.FAILED
        played.uncollectible = self._settings.writes_off
        return ["invoice.uncollectible" if played.uncollectible else "invoice.left_open"]

    def _decline(self, played: PlayedInvoice, kind: DeclineKind, at: datetime) -> list[str]:
        played.payment_status = PaymentStatus.FAILED
        played.failures += 1
        played.first_failed_at = played.first_failed_at or at
        step = after_decline(self._settings, kind, played.failures, played.first_failed_at, at)
        if step is None:
            return self.give_up(played)
        played.next_at, played.gives_up = step.at, not step.charge
        return []
