"""Deferred revenue: table and ledger agree whatever happens in whichever order."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random

import pytest
from temporalio.testing import ActivityEnvironment

from activities.drafting import billed_lines_beyond
from activities.revenue import ReleaseRevenue, RevenueActivities
from activities.subscriptions import load_terms
from billing.errors import Conflict
from models.database import Database, Scope
from models.queries.invoices import list_lines
from models.queries.subscriptions import get_subscription
from tests.models.books import START, Books

SECOND_MONTH = datetime.fromisoformat("2025-02-28T00:00:00+00:00")
THIRD_MONTH = datetime.fromisoformat("2025-03-31T00:00:00+00:00")
MIDDLE = START + (SECOND_MONTH - START) / 2
FAR = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A seat at 10.00 in advance and a service at 4 in arrears, in dollars."""
    return await Books(database, scope, "usd").open(seat="10")


async def _opened(books: Books) -> tuple[str, str]:
    """A subscription and its opening invoice, a draft: 10.00 for the first month."""
    subscription = await books.subscribe()
    return subscription, (await books.invoices("DRAFT"))[0].id


async def test_an_advance_line_is_deferred_until_its_period_ends(books: Books) -> None:
    _, opening = await _opened(books)
    assert await books.deferred() == 0

    await books.finalize(opening, START)
    assert await books.balances() == {"accounts_receivable": Decimal(-10), "deferred_revenue": Decimal(10)}

    assert await books.release(SECOND_MONTH - MOMENT) == 0
    assert await books.deferred() == 10
    assert await books.release(SECOND_MONTH) == 1
    assert await books.deferred() == 0
    assert await books.balances() == {"accounts_receivable": Decimal(-10), "revenue": Decimal(10)}
    assert await books.release(FAR) == 0


async def test_closing_the_period_releases_it(books: Books) -> None:
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    await books.finalize(await books.close(subscription), SECOND_MONTH)
    assert await books.deferred() == 10  # of the second month
    assert (await books.balances())["revenue"] == 14  # seat of the first month, and its service


async def test_an_invoice_that_is_finalized_after_its_period_is_released_at_once(books: Books) -> None:
    subscription, opening = await _opened(books)
    second = await books.close(subscription)
    await books.finalize(second, SECOND_MONTH)
    await books.finalize(opening, SECOND_MONTH + MOMENT)
    assert await books.deferred() == 10
    assert (await books.balances())["revenue"] == 14


async def test_the_schedule_releases_what_no_period_end_will(own_database: Database, scope: Scope) -> None:
    books = await Books(own_database, scope, "usd").open(seat="10")
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    await books.finalize(await books.cancel(subscription, MIDDLE, credit=False), MIDDLE)
    assert await books.deferred() == 10
    release = RevenueActivities(own_database).release
    assert await ActivityEnvironment().run(release, ReleaseRevenue(SECOND_MONTH - MOMENT)) == 0
    assert await ActivityEnvironment().run(release, ReleaseRevenue(SECOND_MONTH)) == 1
    assert await ActivityEnvironment().run(release, ReleaseRevenue(SECOND_MONTH)) == 0
    assert await books.deferred() == 0


Step = Callable[[], Awaitable[object]]


@pytest.mark.parametrize("order", ["opening, credit, release", "credit, opening, release", "opening, release, credit"])
async def test_a_credit_takes_back_the_unused_part_in_any_order(books: Books, order: str) -> None:
    subscription, opening = await _opened(books)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    steps: dict[str, Step] = {
        "opening": lambda: books.finalize(opening, MIDDLE),
        "credit": lambda: books.finalize(final, MIDDLE),
        "release": lambda: books.release(SECOND_MONTH),
    }
    for step in order.split(", "):
        await steps[step]()
    assert await books.deferred() == 0
    # 10 for the month, half of it unused; 4 for the service until then, halved too: credit 5, charges 2, carried 3,
    # of which an opening invoice that is finalized later draws all
    carried = Decimal(0) if order.startswith("credit") else Decimal(3)
    assert await books.balances() == {
        "accounts_receivable": Decimal(-7) - carried,
        "revenue": Decimal(7),
        **({"customer_credit": carried} if carried else {}),
    }


async def test_an_unpaid_invoice_that_is_voided_leaves_nothing(books: Books) -> None:
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    second = await books.close(subscription)
    await books.finalize(second, SECOND_MONTH)
    await books.void(opening, SECOND_MONTH)  # released already
    await books.void(second, SECOND_MONTH)  # deferred still
    assert await books.deferred() == 0
    assert await books.balances() == {}
    assert await books.release(FAR) == 0


async def test_a_credit_keeps_what_it_took_when_its_invoice_is_void(database: Database, scope: Scope) -> None:
    """Released before or after: the time stays unused, and the customer has the credit."""
    books = await Books(database, scope, "usd").open(seat="10", service="100")
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    await books.pay(opening, START)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    await books.finalize(final, MIDDLE)
    await books.void(final, MIDDLE)
    assert await books.deferred() == 5
    assert await books.release(SECOND_MONTH) == 1
    assert await books.balances() == {
        "cash_in_transit:offline": Decimal(-10), "revenue": Decimal(5), "customer_credit": Decimal(5),
    }  # fmt: skip
    await books.void(opening, SECOND_MONTH)
    assert await books.deferred() == 0
    assert await books.balances() == {"cash_in_transit:offline": Decimal(-10), "customer_credit": Decimal(10)}


async def test_a_credit_of_what_was_released_already_stays_when_it_is_void(database: Database, scope: Scope) -> None:
    books = await Books(database, scope, "usd").open(seat="10", service="100")
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    await books.pay(opening, START)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    await books.release(SECOND_MONTH)
    assert (await books.balances())["revenue"] == 10
    await books.void(final, SECOND_MONTH)  # still a draft
    assert await books.deferred() == 0
    assert await books.release(FAR) == 0
    assert await books.balances() == {
        "cash_in_transit:offline": Decimal(-10), "revenue": Decimal(5), "customer_credit": Decimal(5),
    }  # fmt: skip


async def test_a_credit_is_finalized_after_what_it_credits_is_void(database: Database, scope: Scope) -> None:
    """5 of the 10 were credited by a draft: the void gives back the other 5, the final invoice the rest."""
    books = await Books(database, scope, "usd").open(seat="10", service="100")
    subscription, opening = await _opened(books)
    await books.finalize(opening, START)
    await books.pay(opening, START)
    await books.release(SECOND_MONTH)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    await books.void(opening, SECOND_MONTH)
    row = await books.finalize(final, SECOND_MONTH)
    assert row.total == 45
    assert await books.deferred() == 0
    assert await books.balances() == {
        "cash_in_transit:offline": Decimal(-10), "accounts_receivable": Decimal(-45), "revenue": Decimal(50),
        "customer_credit": Decimal(5),
    }  # fmt: skip


async def test_what_was_credited_of_a_draft_stays_noted_when_it_is_finalized(books: Books) -> None:
    subscription, opening = await _opened(books)
    await books.cancel(subscription, MIDDLE, credit=True)
    noted = await _credited(books, opening)
    await books.finalize(opening, MIDDLE)
    assert await _credited(books, opening) == noted == [Decimal(5)]


async def test_unused_time_is_credited_once(books: Books) -> None:
    subscription, opening = await _opened(books)

    async def still_to_credit() -> list[tuple[str, Decimal]]:
        async with books.database.transaction(books.scope) as session:
            terms = await load_terms(session, await get_subscription(session, subscription))
            found = await billed_lines_beyond(session, terms, subscription, MIDDLE)
            return [(line.invoice_id, line.amount) for line in found]

    assert await still_to_credit() == [(opening, Decimal(10))]
    final = await books.cancel(subscription, MIDDLE, credit=True)
    assert await still_to_credit() == []
    await books.finalize(opening, MIDDLE)
    await books.pay(opening, MIDDLE)
    await books.void(final, MIDDLE)  # the credit stays given
    assert await still_to_credit() == []


async def _credited(books: Books, invoice_id: str) -> list[Decimal]:
    async with books.database.transaction(books.scope) as session:
        return [line.credited_amount for line in await list_lines(session, invoice_id)]


@pytest.mark.parametrize("tax", [None, "inclusive", "exclusive"])
@pytest.mark.parametrize("currency", ["usd", "jpy"])
@pytest.mark.parametrize("seed", range(3))
async def test_any_story_leaves_the_books_even(
    database: Database, scope: Scope, seed: int, currency: str, tax: str | None
) -> None:
    chance = Random(f"{seed} {currency} {tax}")
    seat, service = ("10.01", "3.33") if currency == "usd" else ("1001", "333")
    books = await Books(database, scope, currency).open(seat, service, tax)
    story = Story(books, chance)
    for _ in range(25):
        await story.go_on()
    assert sum(story.told.values()) == 25
    await story.end()


class Story:
    """Random commands at the instant they may happen, the books checked after each."""

    def __init__(self, books: Books, chance: Random) -> None:
        self._books = books
        self._chance = chance
        self._running: list[str] = []
        self._now = START
        self.told: dict[str, int] = {}

    async def go_on(self) -> None:
        """One more command; one that has nothing to act on opens a subscription."""
        name = self._chance.choice(["subscribe", "close", "close", "cancel", "finalize", "finalize", "pay", "void"])
        self.told[name] = self.told.get(name, 0) + 1
        await getattr(self, f"_{name}")()
        await self._books.credit()
        if not await self._books.invoices("DRAFT"):
            await self._books.deferred()

    async def end(self) -> None:
        """Every draft is finalized, all time has passed: nothing is deferred any more."""
        for draft in await self._books.invoices("DRAFT"):
            await self._books.finalize(draft.id, self._now)
        await self._books.deferred()
        while await self._books.release(FAR):
            pass
        assert await self._books.deferred() == 0

    async def _subscribe(self) -> None:
        self._running.append(await self._books.subscribe(self._now))

    async def _close(self) -> None:
        if not self._running:
            return await self._subscribe()
        chosen = self._chance.choice(self._running)
        self._now = max(self._now, (await self._books.subscription(chosen)).current_period_end)
        await self._books.close(chosen)
        return None

    async def _cancel(self) -> None:
        if not self._running:
            return await self._subscribe()
        chosen = self._running.pop(self._chance.randrange(len(self._running)))
        row = await self._books.subscription(chosen)
        while row.current_period_end <= self._now:  # boundaries that have passed come first
            await self._books.close(chosen)
            row = await self._books.subscription(chosen)
        self._now = max(self._now, row.current_period_start)
        self._now += (row.current_period_end - self._now) * self._chance.randrange(100) // 100
        await self._books.cancel(chosen, self._now, credit=self._chance.random() < 0.7)
        return None

    async def _finalize(self) -> None:
        drafts = await self._books.invoices("DRAFT")
        if not drafts:
            return await self._subscribe()
        await self._books.finalize(self._chance.choice(drafts).id, self._now)
        return None

    async def _pay(self) -> None:
        beyond = Decimal(self._chance.choice((0, 0, 7)))
        await self._try(partial(self._books.pay, beyond=beyond))

    async def _void(self) -> None:
        await self._try(self._books.void)

    async def _try(self, command: Callable[[str, datetime], Awaitable[None]]) -> None:
        invoices = await self._books.invoices("DRAFT", "FINALIZED", "VOIDED", "SKIPPED")
        if not invoices:
            return await self._subscribe()
        before = await self._books.balances()
        try:
            await command(self._chance.choice(invoices).id, self._now)
        except Conflict:
            assert await self._books.balances() == before
        return None
