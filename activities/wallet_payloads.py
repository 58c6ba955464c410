"""Wallets and their transactions in the shape of the wire, for routes and webhooks alike."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.business_time import business_time
from activities.payloads import bookkeeping, when, without_none
from billing.money import decimal_text, total
from billing.wallets import balance, credit_balance, usable_at, worth_of_credits
from models.conversions import wallet_from_rows
from models.tables import WalletLotRow, WalletRow, WalletTransactionRow


def wallet_payload(
    row: WalletRow, lots: Sequence[WalletLotRow], at: datetime, credits: Decimal | None = None
) -> dict[str, Any]:
    """WalletResponse with its balance at `at`; `credits` is the balance where it is known without the lots."""
    wallet = wallet_from_rows(row, lots)
    there = credit_balance(wallet, at) if credits is None else credits
    worth = balance(wallet, at) if credits is None else worth_of_credits(wallet, credits)
    usable = [lot for lot, value in zip(lots, wallet.lots, strict=True) if usable_at(value, at)]
    breakdown = {
        name: decimal_text(total(lot.remaining for lot in usable if lot.purchased is purchased))
        for name, purchased in (("purchased", True), ("free", False))
    }
    return without_none(
        {
            "id": row.id,
            "customer_id": row.customer_id,
            "name": row.name,
            "description": row.description or None,
            "currency": row.currency,
            "balance": decimal_text(worth),
            "credit_balance": decimal_text(there),
            "wallet_status": row.wallet_status,
            "wallet_type": row.wallet_type,
            "config": {"allowed_price_types": row.allowed_price_types},
            "conversion_rate": decimal_text(row.conversion_rate),
            "topup_conversion_rate": decimal_text(row.topup_conversion_rate),
            "alert_settings": None if row.alert_settings is None else without_none(row.alert_settings),
            "alert_state": row.alert_state,
            "credits_available_breakdown": breakdown if credits is None else None,
            "metadata": row.wallet_metadata,
            **bookkeeping(row),
        }
    )


def transaction_payload(row: WalletTransactionRow, wallet: WalletRow, lot: WalletLotRow | None) -> dict[str, Any]:
    """WalletTransactionResponse; a credit shows what is left of its lot."""
    lot = lot if row.type == "credit" else None
    return without_none(
        {
            "id": row.id,
            "wallet_id": row.wallet_id,
            "customer_id": row.customer_id,
            "type": row.type,
            "amount": decimal_text(row.amount),
            "credit_amount": decimal_text(abs(row.credits)),
            "credit_balance_before": decimal_text(row.credit_balance_before),
            "credit_balance_after": decimal_text(row.credit_balance_after),
            "credits_available": decimal_text(lot.remaining if lot else Decimal(0)),
            "transaction_status": "completed",
            "transaction_reason": row.transaction_reason,
            "reference_type": row.reference_type,
            "reference_id": row.reference_id,
            "description": row.description or None,
            "expiry_date": when(lot.expires_at) if lot else None,
            "priority": lot.priority if lot else None,
            "idempotency_key": row.idempotency_key,
            "currency": row.currency,
            "conversion_rate": decimal_text(wallet.conversion_rate),
            "topup_conversion_rate": decimal_text(wallet.topup_conversion_rate),
            "occurred_at": when(row.occurred_at),
            "metadata": row.transaction_metadata,
            **bookkeeping(row),
        }
    )


async def customers_now(session: AsyncSession, rows: Sequence[WalletRow], now: datetime) -> dict[str, datetime]:
    """The business time of each wallet's customer, by the wallet's id."""
    clocks = {row.test_clock_id for row in rows}
    times = {clock: await business_time(session, clock, now) for clock in clocks}
    return {row.id: times[row.test_clock_id] for row in rows}
