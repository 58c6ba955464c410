"""Refunds: which charge they go back to, what they change on the invoice, which reports are news."""

from decimal import Decimal

import pytest

from billing.errors import Conflict, Invalid
from billing.invoice_states import PaymentStatus
from billing.refunds import (
    Charge,
    RefundEffect,
    RefundStatus,
    TakenIn,
    Told,
    chosen_charge,
    refund_effect,
    settles_excess,
    split_told,
    take_in,
)

D = Decimal


def charges(*left: str) -> list[Charge]:
    """Oldest first, each of 10."""
    return [Charge(f"a{number}", "stripe", f"ch_{number}", D(10), D(rest)) for number, rest in enumerate(left, 1)]


@pytest.mark.parametrize(
    ("left", "asked", "held", "charge", "amount"),
    [
        (("10", "10"), "4", "20", "a2", "4"),  # the newest
        (("10", "3"), "4", "13", "a1", "4"),  # it has too little left
        (("10", "4"), "4", "14", "a2", "4"),  # just enough
        (("0", "7.5"), None, "7.5", "a2", "7.5"),  # all that is left
        (("10",), None, "6", "a1", "6"),  # a bank has taken 4 of the invoice's money already
    ],
)
def test_a_refund_is_of_the_newest_charge_that_has_as_much(
    left: tuple[str, ...], asked: str | None, held: str, charge: str, amount: str
) -> None:
    chosen, refunded = chosen_charge(charges(*left), None if asked is None else D(asked), D(held), "usd")
    assert (chosen.attempt_id, refunded) == (charge, D(amount))


def test_what_no_charge_has_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        chosen_charge(charges("10", "8"), D(12), D(18), "usd")
    assert refused.value.message == (
        "amount must be at most 10 usd: the payment was charged 2 times, and a refund is of one charge; ask for one"
        " refund each"
    )
    assert refused.value.field == "amount"
    with pytest.raises(Invalid, match="at most 6 usd"):
        chosen_charge(charges("10"), D("6.01"), D(6), "usd")
    for nothing in (charges("0"), []):
        with pytest.raises(Conflict, match="nothing is left"):
            chosen_charge(nothing, None, D(10), "usd")


PAID, OVERPAID, PARTLY, BACK, FAILED = (
    PaymentStatus.SUCCEEDED,
    PaymentStatus.OVERPAID,
    PaymentStatus.PARTIALLY_REFUNDED,
    PaymentStatus.REFUNDED,
    PaymentStatus.FAILED,
)


@pytest.mark.parametrize(
    ("before", "owed", "paid", "refunded", "amount", "credit", "effect"),
    [
        # 4 of 10 go back
        (PAID, 10, 10, 0, 4, 0, RefundEffect(D(0), D(4), D(4), PARTLY)),
        (PARTLY, 10, 10, 4, 6, 0, RefundEffect(D(0), D(6), D(10), BACK)),
        # 12 came for 10: 2 are beyond it, and once these have gone back it is paid
        (OVERPAID, 10, 12, 0, 2, 0, RefundEffect(D(2), D(2), D(2), PAID)),
        (OVERPAID, 10, 12, 0, 1, 0, RefundEffect(D(2), D(1), D(1), OVERPAID)),
        # 3 of the 5 were credit of a wallet, which was the invoice's no longer
        (PAID, 10, 10, 0, 5, 3, RefundEffect(D(0), D(2), D(2), PARTLY)),
        (PAID, 10, 10, 0, 5, 5, RefundEffect(D(0), D(0), D(0), PAID)),
        # a part of an invoice that dunning could not collect the rest of
        (FAILED, 10, 4, 0, 4, 0, RefundEffect(D(0), D(4), D(4), FAILED)),
    ],
)
def test_what_a_refund_does_to_the_invoice(
    before: PaymentStatus, owed: int, paid: int, refunded: int, amount: int, credit: int, effect: RefundEffect
) -> None:
    assert refund_effect(before, D(owed), D(paid), D(refunded), D(amount), D(credit)) == effect


def test_money_beyond_the_invoice_is_settled_once_all_of_it_has_gone_back() -> None:
    assert [settles_excess(D(overpaid), D(2)) for overpaid in (0, 1, 2, 3)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("amount", "excess", "held", "credit", "twice"),
    [
        (5, 0, 10, 0, 0),
        (5, 3, 10, 3, 0),  # 3 were credit of the wallet, 2 are the invoice's
        (5, 8, 10, 5, 0),
        (5, 0, 4, 0, 1),  # one more than we hold
        (5, 3, 0, 3, 2),
    ],
)
def test_a_refund_made_elsewhere(amount: int, excess: int, held: int, credit: int, twice: int) -> None:
    assert split_told(D(amount), D(excess), D(held)) == (D(credit), D(twice))


@pytest.mark.parametrize(
    ("known", "succeeded", "pending", "declined"),
    [
        (None, TakenIn.book, TakenIn.nothing, TakenIn.nothing),
        (RefundStatus.PENDING, TakenIn.settle, TakenIn.nothing, TakenIn.settle),
        (RefundStatus.PROCESSING, TakenIn.settle, TakenIn.nothing, TakenIn.settle),
        (RefundStatus.SUCCEEDED, TakenIn.nothing, TakenIn.nothing, TakenIn.tell),  # it came back after it had gone
        (RefundStatus.FAILED, TakenIn.nothing, TakenIn.nothing, TakenIn.nothing),  # a person's by now
        (RefundStatus.CANCELLED, TakenIn.nothing, TakenIn.nothing, TakenIn.nothing),
    ],
)
def test_reports_come_twice_and_out_of_order(
    known: RefundStatus | None, succeeded: TakenIn, pending: TakenIn, declined: TakenIn
) -> None:
    assert [take_in(known, told) for told in (Told.succeeded, Told.pending, Told.declined)] == [
        succeeded, pending, declined,
    ]  # fmt: skip
