"""Deferred revenue of a line: released, credited and voided in any order, nothing is earned twice or lost."""

from collections.abc import Callable
from decimal import Decimal
from itertools import permutations

import pytest

from billing.deferral import Deferral, release, reverse, take_back
from billing.ledger import DEFERRED_REVENUE, REVENUE, PostingKind, post_back_to_deferred

D = Decimal


def deferral(amount: str, released: str = "0", reversed_: str = "0") -> Deferral:
    return Deferral(D(amount), D(released), D(reversed_))


@pytest.mark.parametrize(
    ("before", "wanted", "after", "returned", "lost"),
    [
        # 30 are put aside, 10 of them are credited before anything was earned
        (deferral("30"), "10", deferral("30", "0", "10"), "0", "0"),
        (deferral("30", "0", "10"), "20", deferral("30", "0", "30"), "0", "0"),
        # all 30 had been earned: 10 are put aside again first
        (deferral("30", "30"), "10", deferral("30", "20", "10"), "10", "0"),
        # 5 are still put aside, so 5 of the 20 that were earned return
        (deferral("30", "20", "5"), "10", deferral("30", "15", "15"), "5", "0"),
        # 31 of 30: the line's tax was another when the credit was drafted
        (deferral("30"), "31", deferral("30", "0", "30"), "0", "1"),
        (deferral("30", "30"), "31", deferral("30", "0", "30"), "30", "1"),
        (deferral("30", "10", "20"), "12", deferral("30", "0", "30"), "10", "2"),
    ],
)
def test_a_credit_takes_back_what_it_was_taken_of(
    before: Deferral, wanted: str, after: Deferral, returned: str, lost: str
) -> None:
    taken = take_back(before, D(wanted))
    assert (taken.after, taken.returned, taken.lost) == (after, D(returned), D(lost))


def test_the_end_of_the_period_earns_what_was_not_taken_back() -> None:
    assert release(deferral("30", "0", "10")) == deferral("30", "20", "10")
    assert release(deferral("30", "5", "10")) == deferral("30", "20", "10")
    assert release(deferral("30", "0", "10")).left == 0
    assert deferral("30", "5", "10").left == 15
    assert deferral("30", "5", "10").gone == 15


def test_a_void_leaves_what_was_earned_for_its_reversal() -> None:
    assert reverse(deferral("30", "5", "10")) == deferral("30", "5", "25")


def test_the_order_of_release_and_credits_changes_nothing() -> None:
    """30 put aside, 10 and 4 credited: 16 are earned in the end, whichever comes first."""
    steps: tuple[Callable[[Deferral], Deferral], ...] = (
        release,
        lambda each: take_back(each, D(10)).after,
        lambda each: take_back(each, D(4)).after,
    )
    for order in permutations(steps):
        found = deferral("30")
        for step in order:
            found = step(found)
        assert release(found) == deferral("30", "16", "14")


def test_what_returns_is_no_revenue_any_more() -> None:
    posting = post_back_to_deferred("line_1/2", D(5), "usd")
    assert (posting.kind, posting.reference) == (PostingKind.deferred_released, "line_1/2")
    assert [(entry.account, entry.debit, entry.credit) for entry in posting.entries] == [
        (REVENUE, D(5), D(0)), (DEFERRED_REVENUE, D(0), D(5)),
    ]  # fmt: skip
