"""What must hold in the books whatever has happened, asked of Postgres for every tenant: rows come when it does not."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause, text
from sqlmodel.ext.asyncio.session import AsyncSession

UNBALANCED_TRANSACTIONS: Final = text("""
SELECT tenant_id, environment_id, transaction_id AS reference, currency, sum(debit) AS debit, sum(credit) AS credit
FROM ledger_entries GROUP BY tenant_id, environment_id, transaction_id, currency
HAVING sum(debit) <> sum(credit) ORDER BY transaction_id LIMIT :most
""")

NUMBER_GAPS: Final = text("""
SELECT given.tenant_id, given.environment_id, given.month AS reference, given.value, count(invoices.id) AS invoices
FROM invoice_sequences AS given LEFT JOIN invoices ON invoices.tenant_id = given.tenant_id
  AND invoices.environment_id = given.environment_id AND split_part(invoices.invoice_number, '-', 2) = given.month
GROUP BY given.tenant_id, given.environment_id, given.month, given.value
HAVING count(invoices.id) <> given.value ORDER BY given.month LIMIT :most
""")

NOTE_NUMBER_GAPS: Final = text("""
SELECT given.tenant_id, given.environment_id, 'CN-' || given.month AS reference, given.value, count(notes.id) AS notes
FROM credit_note_sequences AS given LEFT JOIN credit_notes AS notes ON notes.tenant_id = given.tenant_id
  AND notes.environment_id = given.environment_id AND split_part(notes.credit_note_number, '-', 2) = given.month
GROUP BY given.tenant_id, given.environment_id, given.month, given.value
HAVING count(notes.id) <> given.value ORDER BY given.month LIMIT :most
""")

UNEVEN_LOTS: Final = text("""
SELECT lots.tenant_id, lots.environment_id, lots.id AS reference, lots.wallet_id, lots.remaining,
  coalesce(sum(moved.credits), 0) AS moved
FROM wallet_lots AS lots LEFT JOIN wallet_transactions AS moved ON moved.lot_id = lots.id
GROUP BY lots.tenant_id, lots.environment_id, lots.id, lots.wallet_id, lots.remaining
HAVING lots.remaining <> coalesce(sum(moved.credits), 0) ORDER BY lots.id LIMIT :most
""")

STUCK_OUTBOX: Final = text("""
SELECT tenant_id, environment_id, id AS reference, kind, reference AS about, attempts, last_error, created_at
FROM outbox WHERE relayed_at IS NULL AND created_at < :before ORDER BY created_at, id LIMIT :most
""")

UNDELIVERED: Final = text("""
SELECT way.tenant_id, way.environment_id, way.id AS reference, way.event_id, way.event_type, way.endpoint_id,
  way.delivery_status, way.last_error, endpoint.url, endpoint.ordered
FROM webhook_deliveries AS way JOIN webhook_endpoints AS endpoint ON endpoint.id = way.endpoint_id
WHERE endpoint.endpoint_status = 'enabled' AND endpoint.status = 'published'
  AND (way.delivery_status = 'pending' AND way.updated_at < :silent_since AND NOT (endpoint.ordered AND EXISTS (
      SELECT FROM webhook_deliveries AS before WHERE before.endpoint_id = way.endpoint_id
        AND before.delivery_status = 'pending' AND before.updated_at >= :silent_since))
    OR way.delivery_status = 'failed' AND way.updated_at > :failed_since)
ORDER BY way.created_at, way.id LIMIT :most
""")


async def rows_of(session: AsyncSession, statement: TextClause, most: int, **values: datetime) -> Sequence[RowMapping]:
    """Up to `most` rows of one of the questions above; each names its scope and what it is about (`reference`)."""
    bound: dict[str, Any] = {"most": most, **values}
    return (await session.execute(statement, bound)).mappings().all()
