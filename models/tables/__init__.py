"""Every table, so that `SQLModel.metadata` is complete once this package is imported."""

from models.tables.catalog import FeatureRow, MeterRow, PlanRow, PriceRow
from models.tables.credit_notes import CreditNoteLineRow, CreditNoteRow, CreditNoteSequenceRow
from models.tables.customers import CustomerRow, TaxAssociationRow, TaxRateRow
from models.tables.events import EventCorrectionRow
from models.tables.findings import FindingRow
from models.tables.invoices import InvoiceLineRow, InvoiceRow, InvoiceSequenceRow, InvoiceTaxRow, UsageSnapshotRow
from models.tables.late_usage import UsageCorrectionRow
from models.tables.ledger import DeferredRevenueRow, LedgerEntryRow, LedgerTransactionRow
from models.tables.payments import PaymentAttemptRow, PaymentRow, ProviderEventRow
from models.tables.refunds import DisputeRow, RefundRow
from models.tables.subscriptions import SubscriptionLineItemRow, SubscriptionRow
from models.tables.tenants import (
    ApiKeyRow,
    EnvironmentRow,
    IdempotencyKeyRow,
    SettingRow,
    TenantRow,
    TestClockRow,
)
from models.tables.wallets import WalletLotRow, WalletRow, WalletTransactionRow
from models.tables.webhooks import OutboxRow, WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow

__all__ = [
    "ApiKeyRow",
    "CreditNoteLineRow",
    "CreditNoteRow",
    "CreditNoteSequenceRow",
    "CustomerRow",
    "DeferredRevenueRow",
    "DisputeRow",
    "EnvironmentRow",
    "EventCorrectionRow",
    "FeatureRow",
    "FindingRow",
    "IdempotencyKeyRow",
    "InvoiceLineRow",
    "InvoiceRow",
    "InvoiceSequenceRow",
    "InvoiceTaxRow",
    "LedgerEntryRow",
    "LedgerTransactionRow",
    "MeterRow",
    "OutboxRow",
    "PaymentAttemptRow",
    "PaymentRow",
    "PlanRow",
    "PriceRow",
    "ProviderEventRow",
    "RefundRow",
    "SettingRow",
    "SubscriptionLineItemRow",
    "SubscriptionRow",
    "TaxAssociationRow",
    "TaxRateRow",
    "TenantRow",
    "TestClockRow",
    "UsageCorrectionRow",
    "UsageSnapshotRow",
    "WalletLotRow",
    "WalletRow",
    "WalletTransactionRow",
    "WebhookDeliveryRow",
    "WebhookEndpointRow",
    "WebhookEventRow",
]
