"""Wallets in the database: credits come, are drawn, expire and go; lots, transactions, ledger and balances agree."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select
from temporalio.testing import ActivityEnvironment

from activities import wallet_expiry
from activities.wallet_books import Cause
from activities.wallet_expiry import ExpireCredits, WalletActivities
from activities.wallets import (
    NewWallet,
    TopUp,
    create_wallet,
    debit_wallet,
    expire_credits,
    terminate_wallet,
    top_up_wallet,
)
from billing.errors import AlreadyExists, BillingError, Conflict, Invalid
from models.database import Database
from models.queries.wallets import get_wallet, list_lots
from models.scope import Scope
from models.tables import WalletRow, WalletTransactionRow
from tests.models.books import START, Books

FIRST_END = datetime.fromisoformat("2025-02-28T00:00:00Z")
FREE = "FREE_CREDIT_GRANT"


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A customer with a plan: 10.01 a month in advance, 4 in arrears."""
    return await Books(database, scope, "usd").open()


async def _wallet(books: Books, pays: str = "ALL", rate: str = "1") -> str:
    async with books.database.transaction(books.scope) as session:
        new = NewWallet(books.customer_id, "usd", conversion_rate=Decimal(rate))
        row = await create_wallet(session, books.scope, new, START)
        row.allowed_price_types = [pays]
        return row.id


async def _top_up(books: Books, wallet: str, credits: str, **more: object) -> str:
    async with books.database.transaction(books.scope) as session:
        new = TopUp(Decimal(credits), str(more.pop("reason", FREE)), **more)  # type: ignore[arg-type]
        return (await top_up_wallet(session, books.scope, wallet, new, START)).id


async def _left(books: Books, wallet: str) -> Decimal:
    async with books.database.transaction(books.scope) as session:
        return sum((lot.remaining for lot in (await list_lots(session, [wallet]))[wallet]), Decimal(0))


async def _transactions(books: Books, wallet: str) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    async with books.database.transaction(books.scope) as session:
        statement = select(WalletTransactionRow).where(WalletTransactionRow.wallet_id == wallet)
        rows = (await session.exec(statement.order_by(col(WalletTransactionRow.sequence)))).all()
        return [(row.transaction_reason, row.credits, row.amount, row.credit_balance_after) for row in rows]


async def _opening(books: Books) -> str:
    await books.subscribe()
    return (await books.invoices("DRAFT"))[0].id


async def test_an_invoice_draws_what_the_wallet_has(books: Books) -> None:
    wallet = await _wallet(books)
    await _top_up(books, wallet, "4.5", expires_at=FIRST_END + timedelta(days=1))
    await _top_up(books, wallet, "3")
    opening = await _opening(books)
    row = await books.finalize(opening, START)
    # 10.01 in advance; 4.5 (expiring, so first) and 3 are granted before the period's end: 10.01 - 7.5 = 2.51
    assert (row.total_prepaid_credits_applied, row.total, row.amount_due) == (
        Decimal("7.5"), Decimal("2.51"), Decimal("2.51"),
    )  # fmt: skip
    assert await _left(books, wallet) == 0
    assert await _transactions(books, wallet) == [
        (FREE, Decimal("4.5"), Decimal("4.5"), Decimal("4.5")),
        (FREE, Decimal(3), Decimal(3), Decimal("7.5")),
        ("INVOICE_PAYMENT", Decimal("-4.5"), Decimal("4.5"), Decimal(3)),
        ("INVOICE_PAYMENT", Decimal(-3), Decimal(3), Decimal(0)),
    ]
    # the ledger: 7.5 promised and used, so no credit is owed any more, and promotions cost 7.5
    balances = await books.balances()
    assert "customer_credit" not in balances
    assert balances["promotions"] == Decimal("-7.5")
    assert balances["accounts_receivable"] == Decimal("-2.51")


async def test_a_wallet_for_usage_leaves_fixed_lines_alone(books: Books) -> None:
    wallet = await _wallet(books, "USAGE")
    await _top_up(books, wallet, "5")
    opening = await _opening(books)
    assert (await books.finalize(opening, START)).total == Decimal("10.01")
    assert await _left(books, wallet) == 5


async def test_a_void_gives_the_drawn_credits_back(books: Books) -> None:
    wallet = await _wallet(books)
    await _top_up(books, wallet, "7.5")
    opening = await _opening(books)
    await books.finalize(opening, START)
    await books.void(opening, START)
    assert await _left(books, wallet) == Decimal("7.5")
    assert (await _transactions(books, wallet))[-1][:2] == ("INVOICE_VOID_REFUND", Decimal("7.5"))
    assert await books.balances() == {"customer_credit": Decimal("7.5"), "promotions": Decimal("-7.5")}


async def test_credit_beyond_an_invoice_goes_to_a_wallet(books: Books) -> None:
    subscription = await books.subscribe()
    await books.finalize((await books.invoices("DRAFT"))[0].id, START)
    middle = START + (FIRST_END - START) / 2
    final = await books.cancel(subscription, middle, credit=True)
    await books.finalize(final, middle)
    # half of 10.01 is 5.01 unused; half of 4 is charged: 3.01 goes to a wallet, which is made for it
    async with books.database.transaction(books.scope) as session:
        row = (await session.exec(select(WalletRow).where(WalletRow.customer_id == books.customer_id))).one()
        wallet, allowed = row.id, row.allowed_price_types
    assert (await _left(books, wallet), allowed) == (Decimal("3.01"), ["ALL"])
    assert (await books.balances())["customer_credit"] == Decimal("3.01")


async def test_purchased_credits_are_money_and_bonus_is_promotion(books: Books) -> None:
    wallet = await _wallet(books, rate="0.01")
    first = await _top_up(
        books, wallet, "1000", reason="PURCHASED_CREDIT_DIRECT", bonus_credits=Decimal(50), idempotency_key="k1"
    )
    again = await _top_up(
        books, wallet, "1000", reason="PURCHASED_CREDIT_DIRECT", bonus_credits=Decimal(50), idempotency_key="k1"
    )
    assert first == again
    assert await _left(books, wallet) == 1050
    assert await books.balances() == {
        "customer_credit": Decimal("10.5"),
        "cash_in_transit:outside": Decimal(-10),
        "promotions": Decimal("-0.5"),
    }


async def test_debit_expiry_and_the_end_of_a_wallet_lapse_its_credits(books: Books) -> None:
    wallet = await _wallet(books)
    await _top_up(books, wallet, "2", expires_at=FIRST_END)
    await _top_up(books, wallet, "3")
    async with books.database.transaction(books.scope) as session:
        for _ in range(2):
            taken = Cause(idempotency_key="d1")
            await debit_wallet(session, books.scope, wallet, Decimal("2.5"), taken, START)
    assert await _left(books, wallet) == Decimal("2.5")  # 2 of the lot that expires, half of the other
    with pytest.raises(Conflict, match=r"at most 2\.5"):
        async with books.database.transaction(books.scope) as session:
            await debit_wallet(session, books.scope, wallet, Decimal(3), Cause(idempotency_key="d2"), START)
    await _top_up(books, wallet, "4", expires_at=FIRST_END)
    async with books.database.transaction(books.scope) as session:
        assert await expire_credits(session, books.scope, wallet, FIRST_END - timedelta(microseconds=1)) == 0
        assert await expire_credits(session, books.scope, wallet, FIRST_END) == 1
        assert await expire_credits(session, books.scope, wallet, FIRST_END) == 0
    async with books.database.transaction(books.scope) as session:
        await terminate_wallet(session, books.scope, wallet, FIRST_END)
    assert await _left(books, wallet) == 0
    with pytest.raises(Conflict, match="is closed"):
        await _top_up(books, wallet, "1")
    assert await books.balances() == {"lapsed_credit": Decimal(9), "promotions": Decimal(-9)}


async def test_what_a_draft_may_still_draw_on_does_not_expire(books: Books) -> None:
    wallet = await _wallet(books)
    await _top_up(books, wallet, "2", expires_at=FIRST_END)
    await _opening(books)  # its period ends with the lot
    async with books.database.transaction(books.scope) as session:
        assert await expire_credits(session, books.scope, wallet, FIRST_END + timedelta(hours=1)) == 0


async def test_the_schedules_pass_expires_what_is_over_whatever_is_held(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallet_expiry, "BATCH", 1)
    wallet = await _wallet(books)
    await _top_up(books, wallet, "2", expires_at=FIRST_END)
    await _top_up(books, wallet, "3")
    passes = WalletActivities(books.database)
    environment = ActivityEnvironment()
    await environment.run(passes.expire, ExpireCredits(FIRST_END - timedelta(seconds=1)))
    assert await _left(books, wallet) == 5
    assert await environment.run(passes.expire, ExpireCredits(FIRST_END)) >= 1
    assert await environment.run(passes.expire, ExpireCredits(FIRST_END)) == 0
    assert (await _transactions(books, wallet))[-1] == ("CREDIT_EXPIRED", Decimal(-2), Decimal(2), Decimal(3))


async def test_a_wallet_that_cannot_be(books: Books) -> None:
    for new, field in (
        (NewWallet("cust_none", "usd"), "customer_id"),
        (NewWallet(books.customer_id, "xxx"), "currency"),
        (NewWallet(books.customer_id, "usd", conversion_rate=Decimal(0)), "conversion_rate"),
        (NewWallet(books.customer_id, "usd", topup_conversion_rate=Decimal(-1)), "topup_conversion_rate"),
    ):
        with pytest.raises(BillingError) as caught:
            async with books.database.transaction(books.scope) as session:
                await create_wallet(session, books.scope, new, START)
        assert caught.value.field == field


async def test_one_active_wallet_of_a_kind(books: Books) -> None:
    first = await _wallet(books)
    with pytest.raises(AlreadyExists, match="active PRE_PAID wallet in usd"):
        await _wallet(books)
    async with books.database.transaction(books.scope) as session:
        await terminate_wallet(session, books.scope, first, START)
    assert await _wallet(books) != first


async def test_a_reason_that_is_not_offered_changes_nothing(books: Books) -> None:
    wallet = await _wallet(books)
    with pytest.raises(Invalid, match="transaction_reason must be one of"):
        await _top_up(books, wallet, "1", reason="CREDIT_NOTE")
    with pytest.raises(Invalid, match="credits must be above 0"):
        await _top_up(books, wallet, "-1")
    assert await _transactions(books, wallet) == []


async def test_the_database_refuses_a_lot_that_does_not_add_up(books: Books) -> None:
    wallet = await _wallet(books)
    await _top_up(books, wallet, "2")
    with pytest.raises(DBAPIError, match="its transactions add up to 2"):
        async with books.database.transaction(books.scope) as session:
            await session.execute(text("UPDATE wallet_lots SET remaining = 1"))
    with pytest.raises(DBAPIError, match="wallet_transactions is append-only"):
        async with books.database.transaction(books.scope) as session:
            await session.execute(text("UPDATE wallet_transactions SET credits = 3"))
    async with books.database.transaction(books.scope) as session:
        assert (await get_wallet(session, books.scope, wallet)).transaction_count == 1
