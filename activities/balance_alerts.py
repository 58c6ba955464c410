"""Telling a wallet's owner that its real-time balance is in another state. Rules are `billing.balance_alerts`'s."""

from datetime import datetime, timedelta
from typing import Final

from activities.outbox import emit
from activities.usage_reader import UsageReader
from activities.wallet_balances import read_real_time_balance
from activities.wallet_books import open_wallet
from activities.wallet_payloads import wallet_payload
from billing.balance_alerts import AlertState, alert_change
from billing.money import decimal_text
from models.conversions import alerts_from_row
from models.database import Database
from models.queries.wallets import get_wallet
from models.scope import Scope
from models.tables import WalletRow

INSTANT: Final = timedelta(milliseconds=1)
"""Of usage: what is dated at the look itself counts."""


class BalanceAlerts:
    """Looks at wallets."""

    def __init__(self, database: Database, usage: UsageReader) -> None:
        self._database = database
        self._usage = usage

    async def look(self, scope: Scope, wallet_id: str, at: datetime) -> str | None:
        """Tells a change of the balance's state at `at`, once; returns the event. Raises ClickHouseError."""
        async with self._database.transaction(scope) as session:
            row = await get_wallet(session, scope, wallet_id)
            if not _is_watched(row):
                return None
            moved = row.transaction_count
        found = await read_real_time_balance(self._database, self._usage, scope, wallet_id, at, at + INSTANT)
        balance = found.real_time_balance
        async with self._database.transaction(scope) as session:
            row = await get_wallet(session, scope, wallet_id, lock=True)
            settings = alerts_from_row(row)
            if settings is None or not _is_watched(row) or row.transaction_count != moved:
                return None  # what has moved meanwhile is looked at when the next hour is full
            change = alert_change(settings, balance, AlertState(row.alert_state))
            if change is None:
                return None
            row.alert_state = change.after.value
            await session.flush()
            lots = list((await open_wallet(session, row)).lots.values())
            body = {
                "wallet": wallet_payload(row, lots, at),
                "alert_type": "low_ongoing_balance",
                "alert_state": change.after.value,
                "alert_state_before": change.before.value,
                "ongoing_balance": decimal_text(balance),
            }
            await emit(session, scope, change.event, f"{row.id}/{at.isoformat()}", body, at)
            return change.event


def _is_watched(row: WalletRow) -> bool:
    return row.alert_settings is not None and row.wallet_status == "active"
