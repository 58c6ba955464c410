"""Attempts at a provider: which one goes on, when a method is tried, and which reports are news."""

from datetime import timedelta

import pytest

from billing.attempts import (
    Attempt,
    AttemptStatus,
    PaymentSource,
    is_dead,
    is_new_method,
    is_overdue,
    looked_up_again_at,
    source_of,
    takes_outcome,
    to_go_on_with,
    to_withdraw,
)
from billing.dunning import DeclineKind

from .builders import utc

HARD, SOFT = DeclineKind.hard, DeclineKind.soft


def attempt(number: int, status: str, method: str = "card", decline: DeclineKind | None = None) -> Attempt:
    return Attempt(f"a{number}", method, AttemptStatus(status), decline)


@pytest.mark.parametrize(
    ("is_sent", "holders", "found"),
    [
        (False, [("stripe", "pm_1"), ("sandbox", "tok")], PaymentSource("stripe", "pm_1")),  # the subscription's first
        (False, [(None, None), ("sandbox", "tok")], PaymentSource("sandbox", "tok")),
        (False, [(None, "pm_1"), ("sandbox", "tok")], PaymentSource("sandbox", "tok")),  # half a method is none
        (False, [("stripe", None), ("", "tok")], None),
        (False, [], None),
        (True, [("stripe", "pm_1")], None),  # it is sent, not charged
    ],
)
def test_by_what_an_invoice_is_collected(
    is_sent: bool, holders: list[tuple[str | None, str | None]], found: PaymentSource | None
) -> None:
    assert source_of(is_sent, holders) == found


@pytest.mark.parametrize(
    ("statuses", "wanted", "found"),
    [
        ([], "a1", None),  # the first is made
        (["FAILED"], "a1", "a1"),  # asked for again: it has its outcome
        (["FAILED"], "a2", None),
        (["FAILED", "FAILED"], "a1", "a1"),
        (["INITIATED"], "a1", "a1"),
        (["INITIATED"], "a2", "a1"),  # its outcome is open: no second charge beside it
        (["FAILED", "PENDING", "FAILED"], "a4", "a2"),
        (["FAILED", "PROCESSING"], "a3", "a2"),
        (["VOIDED", "SUCCEEDED"], "a3", None),
    ],
)
def test_which_attempt_comes_first(statuses: list[str], wanted: str, found: str | None) -> None:
    attempts = [attempt(number, status) for number, status in enumerate(statuses, 1)]
    chosen = to_go_on_with(attempts, wanted)
    assert (None if chosen is None else chosen.id) == found
    assert chosen is None or chosen.is_settled == (chosen.status in ("FAILED", "VOIDED", "SUCCEEDED"))


@pytest.mark.parametrize(
    ("attempts", "dead", "new"),
    [
        ([], False, True),
        ([attempt(1, "FAILED", decline=SOFT)], False, False),
        ([attempt(1, "FAILED", decline=HARD)], True, False),  # declined for good: not by itself again
        ([attempt(1, "FAILED", "other", HARD)], False, True),
        ([attempt(1, "FAILED", decline=HARD), attempt(2, "FAILED", decline=SOFT)], False, False),  # the last one counts
        ([attempt(1, "FAILED", "other", HARD), attempt(2, "FAILED", decline=HARD)], True, False),
        ([attempt(1, "PENDING", "other")], False, True),  # nobody has confirmed the other one
        ([attempt(1, "PROCESSING", "other")], False, False),  # a bank works on it
        ([attempt(1, "INITIATED", "other")], False, False),
    ],
)
def test_what_a_method_is_good_for(attempts: list[Attempt], dead: bool, new: bool) -> None:
    assert is_dead(attempts, "card") is dead
    assert is_new_method(attempts, "card") is new
    assert is_new_method(attempts, None) is False


@pytest.mark.parametrize(
    ("statuses", "method", "is_owed", "withdrawn"),
    [
        (["FAILED", "PENDING"], "card", True, None),  # still wanted
        (["FAILED", "PENDING"], None, True, None),  # nothing else pays it
        (["FAILED", "PENDING"], "new", True, "a2"),  # paid by another method by now
        (["FAILED", "PENDING"], "card", False, "a2"),  # nothing is owed any more
        (["FAILED", "PENDING"], None, False, "a2"),
        (["FAILED", "SUCCEEDED"], "new", False, None),
        ([], None, False, None),
    ],
)
def test_what_nobody_is_to_confirm_any_more_is_taken_back(
    statuses: list[str], method: str | None, is_owed: bool, withdrawn: str | None
) -> None:
    found = to_withdraw([attempt(number, status) for number, status in enumerate(statuses, 1)], method, is_owed)
    assert (None if found is None else found.id) == withdrawn


@pytest.mark.parametrize(
    ("status", "of_money", "of_anything_else"),
    [
        ("INITIATED", True, True), ("PROCESSING", True, True), ("PENDING", True, True),
        ("FAILED", True, False), ("VOIDED", True, False),  # a bank let it through after all
        ("SUCCEEDED", False, False),
    ],
)  # fmt: skip
def test_which_reports_are_news(status: str, of_money: bool, of_anything_else: bool) -> None:
    assert takes_outcome(AttemptStatus(status), True) is of_money
    assert takes_outcome(AttemptStatus(status), False) is of_anything_else


def test_a_bank_is_asked_each_day_and_a_person_is_told_after_a_week() -> None:
    made = utc("2025-01-01T09:30")
    assert looked_up_again_at(made) == utc("2025-01-02T09:30")
    assert not is_overdue(made, utc("2025-01-08T09:30") - timedelta(microseconds=1))
    assert is_overdue(made, utc("2025-01-08T09:30"))
