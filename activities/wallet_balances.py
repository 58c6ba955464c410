"""What a wallet is worth at this moment: its credits less what is owed and what the running periods have used.

The same exact read and the same rating as the invoice's, so that it agrees with what the invoice will say. Rules:
`billing.wallet_balances`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.business_time import business_time
from activities.draft_previews import preview_drafts
from activities.drafting import stored_invoice
from activities.payloads import amount_remaining
from activities.subscription_usage import read_subscription_usage
from activities.thresholds import ON_ACCOUNT, billed_on_account
from activities.usage_reader import UsageReader
from billing.money import ZERO, minus, total
from billing.wallet_balances import asked_of, usage_of
from billing.wallets import AllowedPriceTypes, Wallet, WalletType, balance, real_time_balance
from models.conversions import wallet_from_rows
from models.database import Database
from models.queries.customers import LIVE_SUBSCRIPTION
from models.queries.invoices import list_lines
from models.queries.payments import paid_by_credits
from models.queries.wallets import get_wallet, list_lots
from models.scope import Scope
from models.tables import InvoiceRow, SubscriptionRow, WalletLotRow, WalletRow


@dataclass(frozen=True, slots=True)
class RealTimeBalance:
    """A wallet at `at`, in major units: `balance` - `unpaid` - `current_usage` = `real_time_balance`, maybe below 0."""

    row: WalletRow
    lots: tuple[WalletLotRow, ...]
    at: datetime
    balance: Decimal
    unpaid: Decimal
    current_usage: Decimal
    real_time_balance: Decimal


async def read_real_time_balance(
    database: Database,
    usage: UsageReader,
    scope: Scope,
    wallet_id: str,
    now: datetime,
    dated_before: datetime | None = None,
) -> RealTimeBalance:
    """The balance at `now`, or at the customer's test clock. Raises NotFound, ClickHouseError.

    With `dated_before`, usage of the running period that is dated later does not count yet.
    """
    async with database.transaction(scope) as session:
        row = await get_wallet(session, scope, wallet_id)
        at = await business_time(session, row.test_clock_id, now)
        lots = (await list_lots(session, [row.id]))[row.id]
        running = await _live_subscriptions(session, row)
        on_account = {each.id: await billed_on_account(session, each) for each in running}
        drafts = await _invoices(
            session,
            row,
            col(InvoiceRow.invoice_status) == "DRAFT",
            # What it is going to bill is in the running period's usage until then.
            col(InvoiceRow.billing_reason) != ON_ACCOUNT.value,
        )
        wallet = wallet_from_rows(row, lots)
        unpaid = await _unpaid(session, row, wallet)
    drafted = [
        asked_of(wallet, each.invoice, True, each.invoice.amount_due, ZERO, ZERO)
        for each in await preview_drafts(database, usage, drafts, at)
    ]
    current = ZERO
    if wallet.allowed_price_types is not AllowedPriceTypes.FIXED:
        for each, billed in on_account.items():
            used = await read_subscription_usage(database, usage, scope, each, None, None, at, dated_before)
            current = total((current, max(minus(usage_of(used.invoice), billed), ZERO)))
    owed = total((unpaid, *drafted))
    return RealTimeBalance(
        row, tuple(lots), at, balance(wallet, at), owed, current, real_time_balance(wallet, at, owed, current)
    )


async def _live_subscriptions(session: AsyncSession, row: WalletRow) -> Sequence[SubscriptionRow]:
    statement = select(SubscriptionRow).where(
        SubscriptionRow.customer_id == row.customer_id,
        SubscriptionRow.currency == row.currency,
        col(SubscriptionRow.subscription_status).in_(LIVE_SUBSCRIPTION),
    )
    return (await session.exec(statement)).all()


async def _invoices(session: AsyncSession, row: WalletRow, *which: ColumnElement[bool]) -> Sequence[InvoiceRow]:
    statement = select(InvoiceRow).where(
        InvoiceRow.customer_id == row.customer_id, InvoiceRow.currency == row.currency, *which
    )
    return (await session.exec(statement)).all()


async def _unpaid(session: AsyncSession, row: WalletRow, wallet: Wallet) -> Decimal:
    finalized = col(InvoiceRow.invoice_status) == "FINALIZED"
    open_ones = await _invoices(session, row, finalized, col(InvoiceRow.amount_paid) < col(InvoiceRow.amount_due))
    amounts = []
    for invoice in open_ones:
        stored = stored_invoice(invoice, await list_lines(session, invoice.id))
        paid, by_wallet = total((invoice.amount_paid, invoice.adjustment_amount)), ZERO
        if wallet.wallet_type is WalletType.POST_PAID:
            by_wallet = await paid_by_credits(session, invoice.id)
        amounts.append(asked_of(wallet, stored, False, amount_remaining(invoice), paid, by_wallet))
    return total(amounts)
