"""Tax rates of single lines: each rate once over its lines, and credits that meet no charge of the same rates."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.invoices import InvoiceInputs, build_invoice, verify
from billing.ledger import post_finalized
from billing.money import total
from billing.taxes import LineTaxRates, TaxRate, TaxRateType, narrowest
from billing.terms import DueLine

from .builders import credit_due, fixed_due, inputs, seat, tax, terms

FULL, LOW = tax("18"), tax("5")


def on(line_item_id: str, due: DueLine) -> DueLine:
    """The line of another line item."""
    return replace(due, line_item_id=line_item_id)


def charge(line_item_id: str, amount: str) -> DueLine:
    return on(line_item_id, fixed_due(seat(amount), quantity="1"))


def with_own(given_inputs: InvoiceInputs, **rates: tuple[TaxRate, ...]) -> InvoiceInputs:
    return replace(given_inputs, line_tax_rates=tuple(LineTaxRates(name, own) for name, own in rates.items()))


def test_each_rate_is_rounded_once_over_the_lines_it_applies_to() -> None:
    # low: 0.10 + 0.10 = 0.20, 5 % = 0.01; by line it would be 0.005 -> 0.01 twice. full: 18 % of 0.10 = 0.018 -> 0.02
    lines = [charge("a", "0.10"), charge("b", "0.10"), charge("c", "0.10")]
    invoice = build_invoice(with_own(inputs(*lines, taxes=(FULL,)), a=(LOW,), b=(LOW,)))
    assert [(one.rate.code, str(one.base), str(one.amount)) for one in invoice.taxes] == [
        (LOW.code, "0.20", "0.01"),
        (FULL.code, "0.10", "0.02"),
    ]
    assert [str(line.exclusive_tax) for line in invoice.lines] == ["0.01", "0.00", "0.02"]


def test_one_rate_in_two_sets_is_one_tax() -> None:
    # inclusive 10 and 15 on a: 125 / 1.25 = 100, so 10 and 15; only 10 on b: 110 / 1.1 = 100, 10 more
    ten, fifteen = tax("10", inclusive=True), tax("15", inclusive=True)
    invoice = build_invoice(with_own(inputs(charge("a", "125"), charge("b", "110"), taxes=(ten,)), a=(ten, fifteen)))
    assert [(one.rate.code, one.base, one.amount) for one in invoice.taxes] == [
        (ten.code, Decimal(235), Decimal(20)),
        (fifteen.code, Decimal(125), Decimal(15)),
    ]
    assert invoice.total == 235


def test_a_fixed_tax_of_some_lines_is_shared_among_them() -> None:
    stamp = tax("1", kind=TaxRateType.fixed)
    lines = [charge("a", "30"), charge("b", "10"), charge("c", "60")]
    invoice = build_invoice(with_own(inputs(*lines), a=(stamp,), b=(stamp,)))
    assert [str(line.exclusive_tax) for line in invoice.lines] == ["0.75", "0.25", "0.00"]


def test_a_credit_beyond_the_charges_of_its_rates_lowers_what_is_due_but_no_other_tax() -> None:
    # 100 were billed with 18 of tax; they lower the 300, whose tax stays 5 % of 300; the 18 go to the customer
    credit = credit_due("100", Fraction(1), exclusive_tax="18")
    given_inputs = with_own(inputs(charge("hosting", "300"), credit, taxes=(FULL,)), hosting=(LOW,))
    invoice = build_invoice(given_inputs)
    assert (invoice.subtotal, invoice.total_tax, invoice.total) == (Decimal(200), Decimal(15), Decimal(215))
    assert [(one.rate.code, one.base) for one in invoice.taxes] == [(LOW.code, Decimal(300)), (FULL.code, Decimal(0))]
    assert (invoice.carried.amount, invoice.carried.to_customer) == (Decimal(0), Decimal(18))
    assert verify(given_inputs, invoice) == ()
    posted = {entry.account: entry.credit - entry.debit for entry in post_finalized("inv_2", invoice).entries}
    assert (posted["tax_payable"], posted["customer_credit"]) == (Decimal(-3), Decimal(18))


def test_what_exceeds_all_charges_is_carried_as_ever() -> None:
    # 100 - 60: 40 are carried, and the tax of all the 100 that met no charge of their rate; 5 % of 60 is owed
    credit = credit_due("100", Fraction(1), exclusive_tax="18")
    invoice = build_invoice(with_own(inputs(charge("hosting", "60"), credit, taxes=(FULL,)), hosting=(LOW,)))
    assert (invoice.subtotal, invoice.total) == (Decimal(0), Decimal(3))
    assert (invoice.carried.amount, invoice.carried.to_customer) == (Decimal(40), Decimal(58))


def test_terms_name_the_lines_with_rates_of_their_own() -> None:
    plain = terms(seat(), seat())
    own = replace(plain, lines=(plain.lines[0], replace(plain.lines[1], tax_rates=(LOW,))))
    assert (plain.line_tax_rates, own.line_tax_rates) == ((), (LineTaxRates("line_1", (LOW,)),))


cents = st.integers(1, 100_000).map(lambda count: Decimal(count) / 100)
RATES = [(), (FULL,), (LOW,), (LOW, tax("2.5")), (tax("20", inclusive=True),), (tax("7", inclusive=True), LOW)]


@given(st.lists(st.tuples(st.sampled_from(RATES), cents, st.booleans()), min_size=1, max_size=4))
def test_the_tax_is_what_each_line_asks_for_by_itself(lines: list[tuple[tuple[TaxRate, ...], Decimal, bool]]) -> None:
    """Nothing is lost: tax on the invoice less tax given to the customer = the tax of all lines, credits included.

    But for the rounding of each rate and of what is carried. No base is below 0, and the ledger's posting balances (it
    is refused otherwise).
    """
    own: dict[str, tuple[TaxRate, ...]] = {}
    due, wanted = [], Fraction(0)
    for place, (rates, amount, credited) in enumerate(lines):
        name = f"line_{place}"
        own |= {name: rates} if rates else {}
        (billed,) = build_invoice(inputs(charge(name, str(amount)), taxes=rates)).lines
        taxes = {"exclusive_tax": str(billed.exclusive_tax), "inclusive_tax": str(billed.inclusive_tax)}
        due.append(on(name, credit_due(str(amount), Fraction(1), **taxes)) if credited else charge(name, str(amount)))
        wanted += Fraction(billed.exclusive_tax + billed.inclusive_tax) * (-1 if credited else 1)
    invoice = build_invoice(with_own(inputs(*due), **own))
    assert all(one.base >= 0 for one in invoice.taxes)
    assert invoice.total == total((invoice.subtotal, invoice.exclusive_tax)) >= 0
    given_back = Fraction(invoice.carried.exclusive_tax + invoice.carried.inclusive_tax)
    rounded = 2 * len(lines) + len(invoice.taxes) + 2  # half a cent each
    assert abs(Fraction(invoice.total_tax) - given_back - wanted) <= Fraction(rounded, 200)
    post_finalized("inv_1", invoice)


def test_the_narrowest_level_that_has_rates_wins() -> None:
    assert list(narrowest([["own"], ["customer's"]])) == ["own"]
    assert list(narrowest([[], ["customer's"]])) == ["customer's"]
    assert list(narrowest([[], []])) == []
