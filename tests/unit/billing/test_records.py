"""What a step writes down beside its amount: reasons, instants, references, taxes; and that `verify` misses none."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from msgspec import structs

from billing.codec import from_json, to_json
from billing.dunning import DunningSettings, next_attempt
from billing.errors import Conflict, Invalid, InvariantBroken
from billing.invoices import (
    Invoice,
    InvoiceLine,
    billed_line,
    build_final_invoice,
    build_invoice,
    is_deferred,
    verify,
)
from billing.money import amount_text, parse_decimal, round_amount
from billing.periods import Period
from billing.taxes import TaxRateType
from billing.terms import LineKind
from billing.wallets import CreditDraw, CreditLot, EntryReason, LotEntry, Wallet, WalletType, debit, draw_at, take_draws

from .builders import credit_due, fixed_due, inputs, package, seat, snapshot, span, talk, tax, usage_due, utc

D = Decimal
USED = span("2025-01-31", "2025-02-28")
AT = utc("2025-02-28T02:00")
LOTS = (CreditLot("a", D(10), D(6), utc("2025-01-01")), CreditLot("b", D(5), D(5), utc("2025-01-02")))
WALLET = Wallet("w", WalletType.PRE_PAID, "usd", lots=LOTS)


def test_entries_say_why_when_and_for_what() -> None:
    taken = debit(WALLET, D(8), AT, "note")
    assert taken.entries == (
        LotEntry("a", D(-6), EntryReason.debit, AT, "note"),
        LotEntry("b", D(-2), EntryReason.debit, AT, "note"),
    )
    paid = take_draws(WALLET, (CreditDraw("w", "b", D(4), D(4)), CreditDraw("other", "c", D(1), D(1))), AT, "inv_1")
    assert paid.entries == (LotEntry("b", D(-4), EntryReason.invoice, AT, "inv_1"),)
    assert [lot.remaining for lot in paid.wallet.lots] == [D(6), D(1)]


def test_two_draws_of_one_lot_add_up() -> None:
    draws = (CreditDraw("w", "a", D(1), D(1)), CreditDraw("w", "a", D(2), D(2)))
    assert take_draws(WALLET, draws, AT, "inv_1").wallet.lots[0].remaining == D(3)


def test_too_much_is_a_conflict_with_a_code_of_its_own() -> None:
    with pytest.raises(Conflict) as refusal:
        debit(WALLET, D(12), AT)
    assert (refusal.value.code, refusal.value.field) == ("insufficient_credits", "credits")


def test_a_lot_pays_all_its_credits_when_it_pays_all_its_worth() -> None:
    """A third of a unit each: 3 credits are worth 1, and none of them is left behind by a rounding."""
    third = replace(WALLET, wallet_type=WalletType.POST_PAID, conversion_rate=D("0.333333333333333"),
                    lots=(CreditLot("a", D(9), D(9), utc("2025-01-01")),))  # fmt: skip
    (draw,) = draw_at(third, D(100), AT)
    # 9 x 0.333333333333333 = 2.999999999999997, of which a wallet pays 2.99
    assert (draw.amount, draw.credits) == (D("2.99"), D("8.970000000000009"))
    (whole,) = draw_at(replace(third, conversion_rate=D("0.25"), lots=(LOTS[0],)), D(100), AT)
    assert (whole.amount, whole.credits) == (D("1.5"), D(6))


def line_of(tax_inclusive: bool) -> InvoiceLine:
    return build_invoice(inputs(fixed_due(seat()), taxes=(tax("18", inclusive=tax_inclusive),))).lines[0]


@pytest.mark.parametrize(("inclusive", "taxes"), [(False, ("11.25", "0")), (True, ("0", "9.53"))])
def test_what_was_billed_in_advance_keeps_its_place_and_its_taxes(inclusive: bool, taxes: tuple[str, str]) -> None:
    line = line_of(inclusive)  # 62.50; 18 % on top are 11.25, inside they are 62.50 - 62.50 / 1.18 = 9.53
    billed = billed_line("inv_1", "li_1", line, D(5))
    assert (billed.invoice_id, billed.invoice_line_id, billed.line_item_id) == ("inv_1", "li_1", "line_0")
    assert (billed.exclusive_tax, billed.inclusive_tax, billed.credited) == (D(taxes[0]), D(taxes[1]), D(5))
    assert (billed.amount, billed.quantity, billed.period, billed.price) == (D("62.50"), D(5), line.period, seat())


def test_the_shortest_span_of_time_is_deferred_and_a_moment_is_not() -> None:
    line = line_of(False)
    start = line.period.start
    assert is_deferred(structs.replace(line, period=Period(start, start.replace(microsecond=1))))
    assert not is_deferred(structs.replace(line, period=Period(start, start)))
    assert not is_deferred(structs.replace(line, derivation=structs.replace(line.derivation, price=None)))


def test_a_credit_says_what_it_credits() -> None:
    due = credit_due("62.50", Fraction(1, 2))
    invoice = build_invoice(inputs(due))
    credit, carry = invoice.lines
    assert (credit.derivation.price, credit.derivation.nominal) == (due.price, due.nominal)
    assert (carry.kind, carry.quantity, carry.amount) == (LineKind.adjustment, D(1), D("31.25"))


def test_usage_that_is_missing_is_named() -> None:
    with pytest.raises(
        InvariantBroken, match=r"line_1 \(Talk time\) from 2025-01-31T00:00:00Z to 2025-02-28T00:0"
    ) as e:
        build_final_invoice(inputs(usage_due(talk())))
    assert e.value.details == {"line_item_id": "line_1", "price_id": "price_talk"}


def test_verify_sees_a_line_that_is_gone_and_one_that_was_added() -> None:
    given = inputs(usage_due(talk()), usage_due(package()), usage=(
        snapshot("meter_talk", USED, "1000"), snapshot("meter_premium", USED, "0"),
    ))  # fmt: skip
    stored = build_final_invoice(given)
    for lines in (stored.lines[:1], (*stored.lines, structs.replace(stored.lines[1]))):
        (difference,) = verify(given, structs.replace(stored, lines=lines))
        assert difference.startswith("lines: expected [{")
    bare = structs.replace(stored.lines[0], derivation=structs.replace(stored.lines[0].derivation, usage=None))
    (difference,) = verify(given, structs.replace(stored, lines=(bare, stored.lines[1])))
    assert difference.startswith("lines[0].derivation.usage: expected {")
    assert difference.endswith("stored None")


@pytest.mark.parametrize(("line_field", "named"), [
    # 1000 x 0.0015 = 1.50, of which 18 % are 0.27; the invoice's own sums catch what they are made of
    ("period", "lines[0] is incomplete"),
    ("amount", "lines[0] is incomplete"),
    ("exclusive_tax", "the lines' taxes add up"),
    ("taxable", "lines[0].taxable: expected '1.5', stored '0'"),
    ("line_item_id", "lines[0].line_item_id: expected 'line_1', stored None"),
    ("price_id", "lines[0].price_id: expected 'price_talk', stored None"),
])  # fmt: skip
def test_a_field_that_a_stored_invoice_lacks_is_named_or_refused(line_field: str, named: str) -> None:
    given = inputs(usage_due(talk()), taxes=(tax("18"),), usage=(snapshot("meter_talk", USED, "1000"),))
    stored = to_json(build_final_invoice(given))
    assert verify(given, from_json(Invoice, stored)) == ()
    del stored["lines"][0][line_field]
    try:
        found = verify(given, from_json(Invoice, stored))
    except (Invalid, InvariantBroken) as refusal:
        found = (str(refusal),)
    assert len(found) == 1
    assert named in found[0]


def test_a_fixed_tax_is_whole_on_the_smallest_base() -> None:
    made = inputs(fixed_due(seat("0.30"), quantity="1"), taxes=(tax("3.5", kind=TaxRateType.fixed),))
    (line,) = build_invoice(made).lines
    assert (line.amount, line.exclusive_tax) == (D("0.30"), D("3.50"))


@pytest.mark.parametrize(("days", "hour", "field"), [
    ((1, 365), 23, None), ((1, 366), None, "dunning_days"), ((0,), None, "dunning_days"), ((1,), 24, "dunning_hour"),
])  # fmt: skip
def test_a_schedule_lies_within_a_year_and_an_hour_within_a_day(
    days: tuple[int, ...], hour: int | None, field: str | None
) -> None:
    if field is None:
        assert DunningSettings(days, hour=hour).hour == hour
        return
    with pytest.raises(Invalid) as refusal:
        DunningSettings(days, hour=hour)
    assert refusal.value.field == field


def test_a_retry_at_an_hour_is_at_its_very_start() -> None:
    failed = utc("2025-03-01T07:12").replace(second=34, microsecond=567)
    assert next_attempt(DunningSettings(hour=9), 1, failed) == utc("2025-03-02T09:00")
    assert next_attempt(DunningSettings(), 1, failed) == failed.replace(day=2)


def test_texts_of_amounts() -> None:
    assert amount_text(D("1E+3"), "usd") == "1000.00"
    assert amount_text(D("0.0000001"), "clf") == "0.0000"
    assert round_amount(D("1E+3"), "jpy") == 1000
    longest = "0." + "0" * 98
    assert parse_decimal(longest, "amount") == 0
    with pytest.raises(Invalid, match=f"got '{'1' * 40}'"):
        parse_decimal("1" * 101, "amount")
    assert parse_decimal("1200000", "amount", places=0) == 1_200_000
    assert parse_decimal("0.1200", "amount", places=2) == D("0.12")
