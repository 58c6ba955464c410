"""Newer versions of prices: from the next period on, for the lines that have the plan's price, and nothing before."""

from dataclasses import replace
from decimal import Decimal

import pytest

from billing.commitments import Commitment, CommitmentType
from billing.errors import Conflict
from billing.periods import BillingPeriod
from billing.price_versions import PriceVersion, outdated_lines, sync_prices
from billing.prices import InvoiceCadence

from .builders import seat, talk, terms, utc
from .story import FEBRUARY, shown, story

OLD = FEBRUARY.lines[0].price
NEWER = replace(OLD, id="price_v2", amount=Decimal(56))
NEWEST = replace(OLD, id="price_v3", amount=Decimal(84))
VERSIONS = (PriceVersion(OLD, NEWER), PriceVersion(NEWER, NEWEST))


def test_the_newest_version_is_paid_from_the_next_period_on() -> None:
    told = story(FEBRUARY)
    told.change(sync_prices(told.terms, told.state, VERSIONS, {"line_0": "b"}))
    assert [line.price for line in told.terms.lines] == [OLD, NEWEST]
    # February was billed at 28 and nothing of it is touched; the invoice of 1 March opens the month at 84
    assert shown(told.close()) == [("fixed", "b", "03-01 04-01", "84.00")]


def test_in_arrear_the_close_bills_the_old_version_and_then_the_new_one_counts() -> None:
    old = seat("28", invoice_cadence=InvoiceCadence.ARREAR)
    told = story(terms(old, talk(), start="2025-02-01", quantity="1"))
    told.change(
        sync_prices(told.terms, told.state, [PriceVersion(old, replace(old, amount=Decimal(30)))], {"line_0": "b"})
    )
    assert [line[1:] for line in shown(told.close())] == [
        ("line_0", "02-01 03-01", "28.00"), ("line_1", "02-01 03-01", "0.00"),
    ]  # fmt: skip
    assert shown(told.close())[0] == ("fixed", "b", "03-01 04-01", "30.00")


def test_an_override_and_a_line_that_ends_stay_and_a_price_without_a_version_ends() -> None:
    own = replace(OLD, amount=Decimal(20))
    told = story(replace(FEBRUARY, lines=(replace(FEBRUARY.lines[0], price=own),)))
    assert outdated_lines(told.terms, told.state, VERSIONS) == ()
    assert sync_prices(told.terms, told.state, VERSIONS, {}).terms == told.terms
    ending = replace(FEBRUARY, lines=(replace(FEBRUARY.lines[0], end=utc("2025-03-01")),))
    assert outdated_lines(ending, told.state, VERSIONS) == ()
    gone = sync_prices(FEBRUARY, told.state, [PriceVersion(OLD, None)], {"line_0": "b"})
    assert [line.end for line in gone.terms.lines] == [utc("2025-03-01")]


def test_what_was_agreed_for_a_line_goes_on_with_its_successor() -> None:
    later = replace(
        FEBRUARY.lines[0], id="later", start=utc("2025-04-01"), end=utc("2025-05-01"), agreed_end=utc("2025-05-01")
    )
    first = replace(FEBRUARY.lines[0], end=utc("2025-04-01"), agreed_end=utc("2025-04-01"), quantity=Decimal(3))
    told = story(replace(FEBRUARY, lines=(first, later)))
    after = sync_prices(told.terms, told.state, VERSIONS[:1], {"line_0": "b", "later": "c"}).terms
    assert [(line.id, line.start, line.end, line.quantity) for line in after.lines if line.price == NEWER] == [
        ("b", utc("2025-03-01"), utc("2025-04-01"), Decimal(3)),
        ("c", utc("2025-04-01"), utc("2025-05-01"), Decimal(1)),
    ]  # fmt: skip


def test_a_commitment_follows_its_line_unless_it_counts_over_a_duration() -> None:
    promise = Commitment(CommitmentType.amount, Decimal(10), "line_1")
    whole = Commitment(CommitmentType.amount, Decimal(10))
    told = story(replace(terms(seat(), talk(), start="2025-02-01"), commitments=(promise,)))
    versions = [PriceVersion(talk(), replace(talk(), id="price_v2"))]
    after = sync_prices(told.terms, told.state, versions, {"line_1": "b"}).terms
    assert after.commitments == (promise, replace(promise, line_item_id="b"))
    dropped = sync_prices(told.terms, told.state, [PriceVersion(talk(), None)], {"line_1": "b"}).terms
    assert dropped.commitments == (promise,)
    everywhere = replace(told.terms, commitments=(whole,))
    assert sync_prices(everywhere, told.state, versions, {"line_1": "b"}).terms.commitments == (whole,)
    lasting = replace(told.terms, commitments=(replace(promise, duration=BillingPeriod.QUARTERLY),))
    with pytest.raises(Conflict, match="committed to for a QUARTERLY period"):
        sync_prices(lasting, told.state, versions, {"line_1": "b"})
