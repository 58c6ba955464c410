"""Wallets: lots, their order, balances, expiry; credit grants; and what credits pay of an invoice, by hand."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.codec import from_json, to_json
from billing.coupons import Coupon, CouponAssociation, CouponType
from billing.credit_grants import (
    CreditGrant,
    DurationUnit,
    GrantCadence,
    GrantExpiration,
    lots_granted,
    next_grant_at,
)
from billing.errors import Conflict, Invalid
from billing.explain import explain_invoice, explain_line
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, build_invoice
from billing.ledger import post_finalized
from billing.money import ZERO, minus, total
from billing.periods import BillingCycle, BillingPeriod, Cadence
from billing.prices import TierMode
from billing.terms import DueLine
from billing.wallets import (
    AllowedPriceTypes,
    CreditDraw,
    CreditLot,
    EntryReason,
    LotEntry,
    Wallet,
    WalletStatus,
    WalletType,
    balance,
    counts_for_invoice,
    credit_balance,
    credits_for,
    debit,
    draw_at,
    draw_for_invoice,
    expire,
    in_draw_order,
    real_time_balance,
    take_draws,
    terminate,
    top_up,
    usable_at,
)

from .builders import MONTHLY, credit_due, fixed_due, inputs, seat, snapshot, span, tax, terms, tiered, usage_due, utc

USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))


def lot(
    name: str, credits: str = "10", expires: str | None = None, priority: int | None = None, granted: str = "2025-01-01"
) -> CreditLot:
    worth = Decimal(credits)
    return CreditLot(name, worth, worth, utc(granted), None if expires is None else utc(expires), priority)


def wallet(*lots: CreditLot, rate: str = "1", allowed: AllowedPriceTypes = AllowedPriceTypes.USAGE) -> Wallet:
    return Wallet("w", WalletType.PRE_PAID, "usd", Decimal(rate), allowed, lots=lots)


def remaining(made: Wallet) -> list[str]:
    return [str(one.remaining) for one in made.lots]


EXPIRY = "expiry_date_utc must be after the credits are granted"
CURRENCY = "currency 'xyz' is not known; write a lower-case ISO 4217 code with a minor unit, such as 'usd'"
LEFT = "remaining must be from 0 to the lot's credits, 10; got "
REFUSED: list[tuple[Callable[[], object], type[Invalid | Conflict], str | None, str]] = [
    (lambda: lot("a", "0"), Invalid, "credits", "credits must be above 0; got 0"),
    (lambda: replace(lot("a"), remaining=Decimal(11)), Invalid, "remaining", LEFT + "11"),
    (lambda: replace(lot("a"), remaining=Decimal(-1)), Invalid, "remaining", LEFT + "-1"),
    (lambda: lot("a", expires="2025-01-01"), Invalid, "expiry_date_utc", EXPIRY),
    (lambda: wallet(rate="0"), Invalid, "conversion_rate", "conversion_rate must be above 0; got 0"),
    (lambda: replace(wallet(), currency="xyz"), Invalid, "currency", CURRENCY),
    (lambda: top_up(wallet(lot("a")), lot("a")), Invalid, "credits", "lot a must be new and whole"),
    (
        lambda: top_up(wallet(), replace(lot("a"), remaining=Decimal(5))),
        Invalid,
        "credits",
        "lot a must be new and whole",
    ),
    (
        lambda: top_up(replace(wallet(), status=WalletStatus.frozen), lot("a")),
        Conflict,
        None,
        "top_up is not possible: wallet w is frozen",
    ),
    (
        lambda: debit(wallet(lot("a")), Decimal("10.01"), utc("2025-02-01")),
        Conflict,
        "credits",
        "credits must be above 0 and at most 10, which are there; got 10.01",
    ),
    (
        lambda: debit(wallet(lot("a")), ZERO, utc("2025-02-01")),
        Conflict,
        "credits",
        "credits must be above 0 and at most 10, which are there; got 0",
    ),
    (
        lambda: debit(wallet(lot("a")), Decimal(1), utc("2024-12-31")),
        Conflict,
        "credits",
        "credits must be above 0 and at most 0, which are there; got 1",
    ),
    (
        lambda: terminate(replace(wallet(), status=WalletStatus.closed), utc("2025-02-01")),
        Conflict,
        None,
        "wallet w is closed already",
    ),
]


@pytest.mark.parametrize(("make", "error", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(
    make: Callable[[], object], error: type[Invalid | Conflict], field: str | None, message: str
) -> None:
    with pytest.raises(error) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


def test_lots_are_drawn_by_priority_then_expiry_then_age_then_id() -> None:
    lots = (
        lot("never", priority=None), lot("late", expires="2025-12-01"), lot("soon", expires="2025-06-01"),
        lot("old", priority=2, granted="2025-01-01"), lot("young", priority=2, granted="2025-01-05"),
        lot("first", priority=0), lot("dated", priority=2, expires="2026-01-01"), lot("again", priority=None),
    )  # fmt: skip
    order = ["first", "dated", "old", "young", "soon", "late", "again", "never"]
    assert [one.id for one in in_draw_order(lots)] == order


@pytest.mark.parametrize(
    ("made", "period_end", "counts"),
    [
        (lot("a", granted="2025-02-27"), "2025-02-28", True),
        (lot("a", granted="2025-02-28"), "2025-02-28", False),  # a grant of the new period
        (lot("a", expires="2025-02-28"), "2025-02-28", True),
        (lot("a", expires="2025-02-27T23:59:59"), "2025-02-28", False),
    ],
)
def test_which_lots_count_for_an_invoice(made: CreditLot, period_end: str, counts: bool) -> None:
    assert counts_for_invoice(made, utc(period_end)) is counts


def test_elsewhere_a_lot_is_gone_at_its_expiry() -> None:
    made = lot("a", expires="2025-02-01")
    assert [usable_at(made, utc(at)) for at in ("2024-12-31", "2025-01-01", "2025-01-31T23:59:59", "2025-02-01")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert credit_balance(wallet(made, lot("b")), utc("2025-02-01")) == 10


def test_a_balance_is_rounded_down_and_the_rest_stays() -> None:
    made = wallet(lot("a", "3.333"), rate="0.5")  # worth 1.6665
    assert balance(made, utc("2025-02-01")) == Decimal("1.66")
    (draw,) = draw_at(made, Decimal(5), utc("2025-02-01"))
    assert (draw.amount, draw.credits) == (Decimal("1.66"), Decimal("3.32"))
    after = take_draws(
        made, (draw, CreditDraw("other", "a", Decimal(1), Decimal(1))), utc("2025-02-01"), "inv_1"
    ).wallet
    assert (remaining(after), balance(after, utc("2025-02-01"))) == (["0.013"], ZERO)
    assert real_time_balance(made, utc("2025-02-01"), Decimal("1"), Decimal("2.5")) == Decimal("-1.84")


def test_a_rate_that_does_not_divide_costs_credits_of_15_digits() -> None:
    made = wallet(lot("a", "10"), rate="3")
    (draw,) = draw_at(made, Decimal(1), utc("2025-02-01"))
    assert (str(draw.credits), draw.amount) == ("0.333333333333333", Decimal(1))
    assert credits_for(made, Decimal("10")) == Decimal("3.333333333333333")


def test_debits_expiry_and_termination_are_entries() -> None:
    made = top_up(wallet(lot("a", "10", expires="2025-03-01")), lot("b", "5"), EntryReason.credit_grant)
    assert made.entries == (LotEntry("b", Decimal(5), EntryReason.credit_grant, utc("2025-01-01")),)
    spent = debit(made.wallet, Decimal(12), utc("2025-02-01"), "support")
    assert [(entry.lot_id, str(entry.credits)) for entry in spent.entries] == [("a", "-10"), ("b", "-2")]
    assert remaining(spent.wallet) == ["0", "3"]
    late = expire(made.wallet, utc("2025-04-01"))
    assert late.entries == (LotEntry("a", Decimal(-10), EntryReason.expired, utc("2025-03-01")),)
    assert expire(made.wallet, utc("2025-02-28")).entries == ()
    # a draft of February may still draw on it, one of March may not
    assert expire(made.wallet, utc("2025-03-01"), (utc("2025-03-01"),)).entries == ()
    assert len(expire(made.wallet, utc("2025-03-01"), (utc("2025-04-01"),)).entries) == 1
    # an empty lot before the next is passed over
    again = debit(spent.wallet, Decimal(1), utc("2025-02-02"))
    assert [(entry.lot_id, str(entry.credits)) for entry in again.entries] == [("b", "-1")]
    closed = terminate(spent.wallet, utc("2025-05-01"))
    assert (closed.wallet.status, remaining(closed.wallet)) == (WalletStatus.closed, ["0", "0"])
    assert draw_at(closed.wallet, Decimal(1), utc("2025-06-01")) == ()
    assert draw_for_invoice(replace(made.wallet, status=WalletStatus.frozen), Decimal(1), USED.end) == ()


# Grants.


def grant(**changes: object) -> CreditGrant:
    made = CreditGrant("grant", Decimal(50), utc("2025-01-31"))
    return replace(made, **changes)  # type: ignore[arg-type]


PERIOD_RULE = "period is required for RECURRING grants, and only for them"
RECURRING = {"recurs": GrantCadence.RECURRING, "cadence": MONTHLY}
LASTING = {"expiration": GrantExpiration.DURATION, "expiration_duration": 3}


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (lambda: grant(credits=ZERO), "credits", "credits must be above 0; got 0"),
        (lambda: grant(cadence=MONTHLY), "period", PERIOD_RULE),
        (lambda: grant(recurs=GrantCadence.RECURRING), "period", PERIOD_RULE),
        (
            lambda: grant(recurs=GrantCadence.RECURRING, cadence=Cadence(BillingPeriod.ONETIME)),
            "period",
            "period must recur; a grant that is given once is ONETIME",
        ),
        (
            lambda: grant(**LASTING),
            "expiration_duration_unit",
            "expiration_duration_unit is required for expiration DURATION, and only for it",
        ),
        (
            lambda: grant(expiration_duration=3),
            "expiration_duration",
            "expiration_duration is required for expiration DURATION, and only for it",
        ),
        (
            lambda: grant(expiration_duration_unit=DurationUnit.DAY),
            "expiration_duration_unit",
            "expiration_duration_unit is required for expiration DURATION, and only for it",
        ),
        (
            lambda: grant(**{**LASTING, "expiration_duration": 0}, expiration_duration_unit=DurationUnit.DAY),
            "expiration_duration",
            "expiration_duration must be 1 or more",
        ),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


YEARLY = terms(seat(), cadence=Cadence(BillingPeriod.ANNUAL), zone="Europe/Berlin", start="2025-01-31")


@pytest.mark.parametrize(
    ("made", "granted"),
    [
        (grant(), [("2025-01-31", None)]),
        # monthly credits on a yearly plan, clamped and not sticking; Berlin's clock goes forward on 30 March
        (
            grant(**RECURRING),
            [("2025-01-31", None), ("2025-02-28", None), ("2025-03-30T23:00", None), ("2025-04-29T23:00", None)],
        ),
        # its own anchor: a short first span, then the 15th
        (
            grant(**RECURRING, anchor=utc("2025-01-15")),
            [("2025-01-31", None), ("2025-02-15", None), ("2025-03-15", None), ("2025-04-14T23:00", None)],
        ),
        (grant(**RECURRING, end=utc("2025-02-28")), [("2025-01-31", None)]),
        (
            grant(**RECURRING, end=utc("2025-03-01"), expiration=GrantExpiration.BILLING_CYCLE),
            [("2025-01-31", "2026-01-31"), ("2025-02-28", "2026-01-31")],
        ),
        (grant(**LASTING, expiration_duration_unit=DurationUnit.DAY), [("2025-01-31", "2025-02-03")]),
        (grant(**LASTING, expiration_duration_unit=DurationUnit.WEEK), [("2025-01-31", "2025-02-21")]),
        (grant(**LASTING, expiration_duration_unit=DurationUnit.MONTH), [("2025-01-31", "2025-04-29T23:00")]),
        (grant(**LASTING, expiration_duration_unit=DurationUnit.YEAR), [("2025-01-31", "2028-01-31")]),
    ],
)
def test_grants(made: CreditGrant, granted: list[tuple[str, str | None]]) -> None:
    lots = lots_granted(made, YEARLY, None, utc("2025-05-01"))
    assert [(one.granted_at, one.expires_at) for one in lots] == [
        (utc(at), None if expires is None else utc(expires)) for at, expires in granted
    ]
    # asked in two steps, each lot is given once
    early = lots_granted(made, YEARLY, None, utc("2025-02-28"))
    assert (*early, *lots_granted(made, YEARLY, utc("2025-02-28"), utc("2025-05-01"))) == lots


def test_when_the_next_grant_is() -> None:
    assert next_grant_at(grant(), "UTC", utc("2025-01-31")) is None
    assert next_grant_at(grant(**RECURRING), "UTC", utc("2025-01-31")) == utc("2025-02-28")
    calendar = terms(seat(), cycle=BillingCycle.calendar)
    (given_lot,) = lots_granted(grant(expiration=GrantExpiration.BILLING_CYCLE), calendar, None, utc("2025-02-01"))
    assert given_lot.expires_at == utc("2025-02-01")


# On an invoice.


def paying(made: InvoiceInputs, own: Wallet) -> Invoice:
    invoice = build_final_invoice(replace(made, wallet=own))
    assert from_json(Invoice, to_json(invoice)) == invoice
    post_finalized("inv_1", invoice)  # balances, or raises
    return invoice


def seat_and_usage(units: str = "30") -> InvoiceInputs:
    """62.50 of seats and 1.00 a unit, 18 % of tax on top."""
    return inputs(fixed_due(seat()), usage_due(PER_UNIT), taxes=(tax(),), usage=(snapshot("meter_talk", USED, units),))


@pytest.mark.parametrize(
    ("credits", "allowed", "paid", "total_left"),
    [
        ("20", AllowedPriceTypes.USAGE, ["0", "20.00"], "89.15"),  # 92.50 + 16.65 - 20
        ("50", AllowedPriceTypes.USAGE, ["0", "30.00"], "79.15"),
        ("50", AllowedPriceTypes.FIXED, ["50.00", "0"], "59.15"),
        ("70", AllowedPriceTypes.ALL, ["62.50", "7.50"], "39.15"),
        ("500", AllowedPriceTypes.ALL, ["62.50", "30.00"], "16.65"),  # never tax
    ],
)
def test_credits_pay_lines_in_order(credits: str, allowed: AllowedPriceTypes, paid: list[str], total_left: str) -> None:
    invoice = paying(seat_and_usage(), wallet(lot("a", credits), allowed=allowed))
    assert [str(line.prepaid_credits) for line in invoice.lines] == paid
    assert (str(invoice.total), str(invoice.total_tax)) == (total_left, "16.65")
    assert invoice.total_prepaid_credits_applied == total(Decimal(part) for part in paid)


def test_lots_of_a_wallet_pay_in_their_order_and_are_explained() -> None:
    own = wallet(lot("a", "8"), lot("b", "7", expires="2025-02-28"), lot("new", "99", granted="2025-02-28"), rate="2")
    made = seat_and_usage()
    invoice = paying(made, own)
    assert [(draw.lot_id, str(draw.credits), str(draw.amount)) for draw in invoice.credit_draws] == [
        ("b", "7", "14"), ("a", "8", "16"),
    ]  # fmt: skip
    after = take_draws(own, invoice.credit_draws, utc("2025-02-28T02:00"), "inv_1")
    assert remaining(after.wallet) == ["0", "0", "99"]
    assert explain_invoice(invoice, made)[-3:] == [
        "Credits: 7 of lot b pay 14 usd",
        "Credits: 8 of lot a pay 16 usd",
        "Total: 79.15 usd",
    ]
    assert explain_line(invoice.lines[1])[-1] == "paid by credits: 30.00 usd"


def test_credits_pay_what_discounts_and_inclusive_tax_leave() -> None:
    half = CouponAssociation("a", Coupon("c", "Half", CouponType.percentage, Decimal(50)))
    made = replace(seat_and_usage("118"), coupons=(half,), tax_rates=(tax("18", inclusive=True),))
    invoice = paying(made, wallet(lot("a", "500")))
    # 118 - 59 = 59, of which 9 are tax
    assert [str(line.prepaid_credits) for line in invoice.lines] == ["0", "50.00"]


def test_credits_pay_no_more_than_the_invoice_asks_for() -> None:
    due: tuple[DueLine, ...] = (usage_due(PER_UNIT), credit_due("100", Fraction(1, 4)))
    made = inputs(*due, usage=(snapshot("meter_talk", USED, "30"),))
    invoice = paying(made, wallet(lot("a", "50")))
    # 30 of usage, 25 of credit for unused time: 5 are asked for
    assert (str(invoice.total_prepaid_credits_applied), str(invoice.total)) == ("5.00", "0.00")
    beyond = replace(made, due=replace(made.due, lines=(due[0], credit_due("200", Fraction(1, 4)))))
    assert paying(beyond, wallet(lot("a", "50"))).total_prepaid_credits_applied == 0


def test_only_a_prepaid_wallet_of_the_currency_pays_at_finalize() -> None:
    for wrong in (replace(wallet(), wallet_type=WalletType.POST_PAID), replace(wallet(), currency="eur")):
        with pytest.raises(Invalid, match="PRE_PAID and in usd"):
            build_invoice(replace(seat_and_usage(), wallet=wrong))


LOTS = st.lists(
    st.tuples(st.decimals("0.000000000000001", 60, places=15), st.sampled_from([None, 1, 2])), min_size=1, max_size=4
)


@given(LOTS, st.decimals("0.001", 7, places=3), st.integers(0, 150), st.sampled_from(AllowedPriceTypes))
def test_credit_laws(
    rows: list[tuple[Decimal, int | None]], rate: Decimal, units: int, allowed: AllowedPriceTypes
) -> None:
    lots = tuple(lot(f"l{index}", str(credits), priority=priority) for index, (credits, priority) in enumerate(rows))
    own = wallet(*lots, rate=str(rate), allowed=allowed)
    invoice = paying(seat_and_usage(str(units)), own)
    plain = build_final_invoice(seat_and_usage(str(units)))
    assert minus(plain.total, invoice.total) == invoice.total_prepaid_credits_applied <= balance(own, USED.start)
    assert invoice.total_tax == plain.total_tax <= invoice.total
    after = take_draws(own, invoice.credit_draws, USED.end, "inv_1")
    assert all(one.remaining >= 0 for one in after.wallet.lots)
    written = total(entry.credits for entry in after.entries)
    assert total((credit_balance(own, USED.end), written)) == credit_balance(after.wallet, USED.end)
    # what was not used stays, to a unit of the 15th digit
    lost = Fraction(rate) * Fraction(written) + Fraction(invoice.total_prepaid_credits_applied)
    assert abs(lost) <= Fraction(rate) / 10**15
