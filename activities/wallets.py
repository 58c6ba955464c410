"""Wallets: creating, topping up, debiting and ending them, and what invoices draw from them and give back.

Each function works inside the caller's transaction in the customer's scope and commits nothing. Rules are
`billing.wallets`'s; writing is `activities.wallet_books`'s.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.business_time import business_time
from activities.outbox import emit
from activities.payment_methods import tell_awaiting_invoices
from activities.wallet_books import Cause, OpenWallet, open_wallet, write_change
from activities.wallet_payloads import wallet_payload
from billing import top_ups as rules
from billing.balance_alerts import AlertSettings
from billing.codec import to_json
from billing.errors import AlreadyExists, Invalid
from billing.invoices import Invoice
from billing.money import ZERO, decimal_text
from billing.wallets import (
    PAYS_BY_DEFAULT,
    AllowedPriceTypes,
    CreditLot,
    EntryReason,
    Wallet,
    WalletChange,
    WalletType,
    credits_for,
    debit,
    expire,
    take_draws,
    terminate,
    top_up,
)
from models.ids import new_id
from models.queries.customers import get_customer
from models.queries.paging import violated_index
from models.queries.wallets import find_active_wallet, find_transaction_by_key, get_wallet, list_draft_period_ends
from models.scope import Scope
from models.tables import InvoiceRow, WalletRow, WalletTransactionRow

OFFERED: Final = ("FREE_CREDIT_GRANT", "SUBSCRIPTION_CREDIT_GRANT", "PURCHASED_CREDIT_DIRECT")
"""Reasons of a top-up."""


@dataclass(frozen=True, slots=True)
class NewWallet:
    """What a wallet is created from. One credit is worth `conversion_rate` major units of `currency`."""

    customer_id: str
    currency: str
    name: str = ""
    description: str = ""
    wallet_type: WalletType = WalletType.PRE_PAID
    conversion_rate: Decimal = Decimal(1)
    topup_conversion_rate: Decimal | None = None
    initial_credits: Decimal = ZERO
    initial_expires_at: datetime | None = None
    alerts: AlertSettings | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopUp:
    """Credits that come, given as `credits` or as their worth, `amount`, and bonus credits beside them.

    `reason` is one of `OFFERED`.
    """

    credits: Decimal | None
    reason: str
    amount: Decimal | None = None
    expires_at: datetime | None = None
    priority: int | None = None
    bonus_credits: Decimal = ZERO
    bonus_expires_at: datetime | None = None
    idempotency_key: str | None = None
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


async def create_wallet(
    session: AsyncSession, scope: Scope, new: NewWallet, now: datetime, actor: str = ""
) -> WalletRow:
    """Inserts a wallet with its first credits. Raises AlreadyExists while one of the kind is active, Invalid."""
    customer = await get_customer(session, scope, new.customer_id)
    row = _new_row(scope, new, customer.test_clock_id, now, actor)
    Wallet(row.id, new.wallet_type, row.currency, row.conversion_rate)  # the rule itself refuses what cannot be
    if row.topup_conversion_rate <= 0:
        message = f"topup_conversion_rate must be above 0; got {decimal_text(row.topup_conversion_rate)}"
        raise Invalid(message, field="topup_conversion_rate")
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "wallets_active":
            raise AlreadyExists(
                f"the customer already has an active {row.wallet_type} wallet in {row.currency}", field="customer_id"
            ) from error
        raise
    if new.wallet_type is WalletType.POST_PAID:
        await tell_awaiting_invoices(session, row.customer_id)
    at = await business_time(session, row.test_clock_id, now)
    await emit(session, scope, "wallet.created", row.id, {"wallet": wallet_payload(row, (), at)}, at)
    if new.initial_credits:
        first = TopUp(
            new.initial_credits, "FREE_CREDIT_GRANT", expires_at=new.initial_expires_at, description="Initial credits"
        )
        await top_up_wallet(session, scope, row.id, first, now, actor)
    return row


async def update_wallet(
    session: AsyncSession, scope: Scope, wallet_id: str, changes: dict[str, object], now: datetime, actor: str = ""
) -> WalletRow:
    """Name, description, alerts and metadata. Raises NotFound."""
    row = await get_wallet(session, scope, wallet_id, lock=True)
    for name, value in changes.items():
        setattr(row, "wallet_metadata" if name == "metadata" else name, value)
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    at = await business_time(session, row.test_clock_id, now)
    opened = await open_wallet(session, row)
    body = {"wallet": wallet_payload(row, list(opened.lots.values()), at)}
    await emit(session, scope, "wallet.updated", row.id, body, at)
    return row


async def top_up_wallet(
    session: AsyncSession, scope: Scope, wallet_id: str, new: TopUp, now: datetime, actor: str = ""
) -> WalletTransactionRow:
    """Adds credits, and bonus credits behind them. The same idempotency key again changes nothing.

    Raises NotFound, Invalid, and Conflict for a wallet that is not active.
    """
    if new.reason not in OFFERED:
        raise Invalid(
            f"transaction_reason must be one of {', '.join(OFFERED)}; got {new.reason!r}", field="transaction_reason"
        )
    row = await get_wallet(session, scope, wallet_id, lock=True)
    found = await _written_before(session, row, new.idempotency_key)
    if found is not None:
        return found
    at = await business_time(session, row.test_clock_id, now)
    opened = await open_wallet(session, row)
    cause = Cause(
        description=new.description, idempotency_key=new.idempotency_key, metadata=new.metadata, actor=actor
    )  # fmt: skip
    return (await write_change(session, opened, _added(opened.wallet, new, at), cause))[0]


def _added(wallet: Wallet, new: TopUp, at: datetime) -> WalletChange:
    """The wallet with the credits, and the bonus behind them."""
    name, credits = new_id("wtxn"), new.credits or _credits_worth(wallet, new.amount)
    if new.reason == EntryReason.credit_grant and not new.bonus_credits:
        return top_up(
            wallet, CreditLot(name, credits, credits, at, new.expires_at, new.priority), EntryReason(new.reason)
        )
    kind = rules.TopUpKind.free if new.reason == EntryReason.credit_grant else rules.TopUpKind(new.reason)
    asked = rules.TopUp(
        name, kind, credits, new.expires_at, new.priority, new.bonus_credits, new.bonus_expires_at
    )  # fmt: skip
    return rules.credited(wallet, asked, at)


async def debit_wallet(
    session: AsyncSession, scope: Scope, wallet_id: str, credits: Decimal, cause: Cause, now: datetime
) -> WalletTransactionRow:
    """Takes credits out. The same idempotency key again changes nothing. Raises NotFound, Conflict (too few)."""
    row = await get_wallet(session, scope, wallet_id, lock=True)
    found = await _written_before(session, row, cause.idempotency_key)
    if found is not None:
        return found
    at = await business_time(session, row.test_clock_id, now)
    opened = await open_wallet(session, row)
    return (await write_change(session, opened, debit(opened.wallet, credits, at), cause))[0]


async def terminate_wallet(
    session: AsyncSession, scope: Scope, wallet_id: str, now: datetime, actor: str = ""
) -> WalletRow:
    """Closes the wallet; what is left of its credits is gone. Raises NotFound, Conflict when it is closed."""
    row = await get_wallet(session, scope, wallet_id, lock=True)
    at = await business_time(session, row.test_clock_id, now)
    opened = await open_wallet(session, row)
    await write_change(session, opened, terminate(opened.wallet, at), Cause(actor=actor))
    row.updated_by = actor
    await session.flush()
    await emit(session, scope, "wallet.terminated", row.id, {"wallet": wallet_payload(row, (), at)}, at)
    return row


async def open_prepaid(session: AsyncSession, row: InvoiceRow) -> OpenWallet | None:
    """The wallet, locked, from which an invoice draws when it is finalized."""
    found = await find_active_wallet(
        session, scope_of(row), row.customer_id, row.currency, WalletType.PRE_PAID.value, lock=True
    )
    return None if found is None else await open_wallet(session, found)


async def draw_down(
    session: AsyncSession, opened: OpenWallet, row: InvoiceRow, invoice: Invoice, now: datetime
) -> None:
    """Takes out of the wallet what the invoice drew."""
    if invoice.credit_draws:
        change = take_draws(opened.wallet, invoice.credit_draws, now, row.id)
        await write_change(session, opened, change, Cause(reference_type="INVOICE", reference_id=row.id))


async def give_back(
    session: AsyncSession,
    row: InvoiceRow,
    amount: Decimal,
    reason: EntryReason,
    now: datetime,
    payment_id: str | None = None,
) -> None:
    """Money that an invoice, or a payment beyond it, owes the customer becomes credits of the PRE_PAID wallet.

    Where there is none, one that pays ALL is made. The ledger's side is in the invoice's or the payment's own posting.
    """
    opened = await open_prepaid(session, row) or await _made_for_credit(session, row, now)
    credits = credits_for(opened.wallet, amount)
    lot = CreditLot(new_id("wtxn"), credits, credits, now)
    cause = Cause(reference_type="INVOICE" if payment_id is None else "PAYMENT", reference_id=payment_id or row.id)
    await write_change(session, opened, top_up(opened.wallet, lot, reason), cause)


async def expire_credits(session: AsyncSession, scope: Scope, wallet_id: str, at: datetime) -> int:
    """Takes out what expired at or before `at`, unless a draft may still draw on it. Returns how many lots."""
    row = await get_wallet(session, scope, wallet_id, lock=True)
    opened = await open_wallet(session, row)
    change = expire(opened.wallet, at, await list_draft_period_ends(session, scope, row.customer_id))
    return len(await write_change(session, opened, change, Cause()))


def _credits_worth(wallet: Wallet, amount: Decimal | None) -> Decimal:
    if amount is None:
        raise Invalid("credits_to_add or amount must be given", field="credits_to_add")
    return credits_for(wallet, amount)


def _new_row(scope: Scope, new: NewWallet, test_clock_id: str | None, now: datetime, actor: str) -> WalletRow:
    kind = "Prepaid" if new.wallet_type is WalletType.PRE_PAID else "Postpaid"
    return WalletRow(
        id=new_id("wallet"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        created_by=actor,
        updated_by=actor,
        customer_id=new.customer_id,
        name=new.name or f"{kind} Wallet - {new.currency.upper()}",
        description=new.description,
        currency=new.currency,
        wallet_type=new.wallet_type.value,
        conversion_rate=new.conversion_rate,
        topup_conversion_rate=new.topup_conversion_rate or new.conversion_rate,
        allowed_price_types=[PAYS_BY_DEFAULT[new.wallet_type].value],
        wallet_metadata=new.metadata,
        alert_settings=None if new.alerts is None else to_json(new.alerts),
        test_clock_id=test_clock_id,
    )


async def _made_for_credit(session: AsyncSession, row: InvoiceRow, now: datetime) -> OpenWallet:
    made = await create_wallet(session, scope_of(row), NewWallet(row.customer_id, row.currency), now)
    made.allowed_price_types = [AllowedPriceTypes.ALL.value]
    await session.flush()
    return await open_wallet(session, made)


async def _written_before(
    session: AsyncSession, row: WalletRow, idempotency_key: str | None
) -> WalletTransactionRow | None:
    if idempotency_key is None:
        return None
    return await find_transaction_by_key(session, scope_of(row), row.id, idempotency_key)
