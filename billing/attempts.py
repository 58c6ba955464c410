"""Attempts to collect an invoice at a provider: which one goes on, when the next is made, and what a report changes.

Owns these decisions only; what a decline or a receipt leads to is billing.collection's, the schedule billing.dunning's.
Rules: billing-rules.md section 8.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from billing.dunning import DeclineKind

LOOK_AGAIN: Final = timedelta(days=1)
"""How often a payment that a bank works on is looked up; its webhook usually comes first."""
PATIENCE: Final = timedelta(days=7)
"""After which a person is told that a bank has not answered."""


class AttemptStatus(StrEnum):
    """PENDING waits for the customer, PROCESSING for the bank; VOIDED was taken back before anybody confirmed it."""

    INITIATED = "INITIATED"
    PROCESSING = "PROCESSING"
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    VOIDED = "VOIDED"


SETTLED: Final = frozenset({AttemptStatus.SUCCEEDED, AttemptStatus.FAILED, AttemptStatus.VOIDED})
UNDER_WAY: Final = frozenset({AttemptStatus.INITIATED, AttemptStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One charge of `method` at a provider; `decline` is set where it was refused."""

    id: str
    method: str
    status: AttemptStatus
    decline: DeclineKind | None = None

    @property
    def is_settled(self) -> bool:
        """Its outcome is known."""
        return self.status in SETTLED


@dataclass(frozen=True, slots=True)
class PaymentSource:
    """By which provider and with which of its tokens an invoice is collected."""

    provider: str
    method: str


def source_of(is_sent: bool, holders: Iterable[tuple[str | None, str | None]]) -> PaymentSource | None:
    """The first whole (provider, token) of `holders`, the subscription's before the customer's.

    None when invoices are sent instead of charged (`is_sent`), and where nobody has a token.
    """
    found = (PaymentSource(provider, method) for provider, method in holders if provider and method)
    return None if is_sent else next(found, None)


def to_go_on_with(attempts: Sequence[Attempt], wanted: str) -> Attempt | None:
    """The earlier attempt that stands in the way of attempt `wanted`, in the order in which they were made.

    One whose outcome is open comes first, whatever its number: a second charge beside it could take the money twice. A
    settled one is `wanted` itself, which is not made again. None: a new one may be made.
    """
    return next((each for each in attempts if not each.is_settled or each.id == wanted), None)


def is_dead(attempts: Sequence[Attempt], method: str) -> bool:
    """Whether `method` was declined for good: the same one is not tried again by itself."""
    return bool(attempts) and attempts[-1].decline is DeclineKind.hard and attempts[-1].method == method


def is_new_method(attempts: Sequence[Attempt], method: str | None) -> bool:
    """Whether `method` can be charged at once: it is not the last attempt's, and no charge is under way beside it."""
    if method is None or any(each.status in UNDER_WAY for each in attempts):
        return False
    return not attempts or attempts[-1].method != method


def to_withdraw(attempts: Iterable[Attempt], method: str | None, is_owed: bool) -> Attempt | None:
    """The attempt that waits for the customer though nobody is to confirm it any more.

    Nothing is owed, or the invoice is paid by another `method` by now.
    """
    waiting = next((each for each in attempts if each.status is AttemptStatus.PENDING), None)
    if waiting is None or (is_owed and (method is None or waiting.method == method)):
        return None
    return waiting


def takes_outcome(status: AttemptStatus, is_money: bool) -> bool:
    """Whether what a provider reports of an attempt is news: a settled one stays as it is.

    But for money that comes after a refusal: banks let some charges through that they refused first, and money that was
    taken must never be lost from sight.
    """
    return status not in SETTLED or (is_money and status is not AttemptStatus.SUCCEEDED)


def looked_up_again_at(seen_at: datetime) -> datetime:
    """When a payment that a bank was at work on at `seen_at` is looked up again."""
    return seen_at + LOOK_AGAIN


def is_overdue(attempted_at: datetime, seen_at: datetime) -> bool:
    """Whether a bank has been at work on a payment for so long that a person asks it."""
    return seen_at - attempted_at >= PATIENCE
