"""From rows to the values that `billing/` reasons about. Pure; the other direction is each query's own business."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from billing.balance_alerts import AlertSettings
from billing.codec import from_json
from billing.meters import Filter, Meter, parse_aggregation, parse_reset_usage
from billing.money import decimal_text
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType, RoundMode, Tier, TierMode, TransformQuantity
from billing.subscriptions import SubscriptionState, SubscriptionStatus
from billing.taxes import TaxRate, TaxRateType
from billing.terms import LineItem, ProrationBehavior, Terms
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletStatus, WalletType
from billing.windows import WindowSize
from models.tables import (
    MeterRow,
    PriceRow,
    SubscriptionLineItemRow,
    SubscriptionRow,
    TaxRateRow,
    WalletLotRow,
    WalletRow,
)


def price_from_row(row: PriceRow) -> Price:
    """The price as billing rates it; a price without a display name shows its lookup key."""
    tiered = row.billing_model == BillingModel.TIERED
    return Price(
        id=row.id,
        display_name=row.display_name or row.lookup_key or row.id,
        type=PriceType(row.type),
        billing_model=BillingModel(row.billing_model),
        currency=row.currency,
        cadence=Cadence(BillingPeriod(row.billing_period), row.billing_period_count),
        invoice_cadence=InvoiceCadence(row.invoice_cadence),
        amount=None if tiered else row.amount,
        tier_mode=TierMode(row.tier_mode) if row.tier_mode else None,
        tiers=tuple(tier_from_json(tier) for tier in row.tiers or ()),
        transform_quantity=_transform(row) if row.billing_model == BillingModel.PACKAGE else None,
        meter_id=row.meter_id,
        min_quantity=row.min_quantity,
    )


def tier_from_json(tier: dict[str, Any]) -> Tier:
    """A tier from its stored form: decimals as text, `up_to` null for the last."""
    up_to = tier.get("up_to")
    return Tier(
        up_to=None if up_to is None else Decimal(str(up_to)),
        unit_amount=Decimal(str(tier["unit_amount"])),
        flat_amount=Decimal(str(tier.get("flat_amount") or 0)),
    )


def _transform(row: PriceRow) -> TransformQuantity:
    stored = row.transform_quantity or {}
    return TransformQuantity(int(stored.get("divide_by", 1)), RoundMode(stored.get("round") or RoundMode.up))


def meter_from_row(row: MeterRow) -> Meter:
    """The meter as usage is read by it."""
    return Meter(
        id=row.id,
        name=row.name,
        event_name=row.event_name,
        aggregation=parse_aggregation(row.aggregation["type"]),
        field=row.aggregation.get("field") or None,
        filters=tuple(Filter(item["key"], tuple(item["values"])) for item in row.filters),
        reset_usage=parse_reset_usage(row.reset_usage),
        multiplier=Decimal(row.aggregation["multiplier"]) if row.aggregation.get("multiplier") else None,
        bucket_size=WindowSize(row.aggregation["bucket_size"]) if row.aggregation.get("bucket_size") else None,
        group_by=row.aggregation.get("group_by"),
        expression=row.aggregation.get("expression"),
    )


def aggregation_json(meter: Meter) -> dict[str, Any]:
    """A meter's aggregation as it is stored, and shown: only what the meter has."""
    stored = {
        "type": meter.aggregation.value,
        "field": meter.field,
        "expression": meter.expression,
        "multiplier": None if meter.multiplier is None else decimal_text(meter.multiplier),
        "bucket_size": None if meter.bucket_size is None else meter.bucket_size.value,
        "group_by": meter.group_by,
    }
    return {name: value for name, value in stored.items() if value is not None}


def tax_rate_from_row(row: TaxRateRow) -> TaxRate:
    """The tax rate as invoices apply it."""
    kind = TaxRateType(row.tax_rate_type)
    value = row.percentage_value if kind is TaxRateType.percentage else row.fixed_value
    return TaxRate(row.id, row.code, row.name, kind, value or Decimal(0), row.inclusive)


def cadence_from_row(row: SubscriptionRow) -> Cadence:
    """How often the subscription bills."""
    return Cadence(BillingPeriod(row.billing_period), row.billing_period_count)


def terms_from_rows(
    row: SubscriptionRow,
    lines: list[tuple[SubscriptionLineItemRow, PriceRow]],
    tax_rates: list[TaxRateRow],
) -> Terms:
    """What was agreed, lines in invoice order."""
    return Terms(
        id=row.id,
        currency=row.currency,
        zone=row.timezone,
        cadence=cadence_from_row(row),
        anchor=row.billing_anchor,
        start=row.start_date,
        lines=tuple(
            LineItem(item.id, price_from_row(price), item.quantity, item.start_date, item.end_date)
            for item, price in lines
        ),
        cycle=BillingCycle(row.billing_cycle),
        end_date=row.end_date,
        tax_rates=tuple(tax_rate_from_row(rate) for rate in tax_rates),
        proration_behavior=ProrationBehavior(row.proration_behavior),
        auto_invoice_threshold=row.auto_invoice_threshold,
    )


def state_from_row(row: SubscriptionRow) -> SubscriptionState:
    """Where the subscription stands."""
    return SubscriptionState(
        status=SubscriptionStatus(row.subscription_status),
        current_period=Period(row.current_period_start, row.current_period_end),
        cancel_at=row.cancel_at,
        cancel_proration=ProrationBehavior(row.cancel_proration) if row.cancel_proration else None,
        cancelled_at=row.cancelled_at,
    )


def alerts_from_row(row: WalletRow) -> AlertSettings | None:
    """Which balances of the wallet its owner wants to hear of."""
    return None if row.alert_settings is None else from_json(AlertSettings, row.alert_settings)


def wallet_from_rows(row: WalletRow, lots: Sequence[WalletLotRow]) -> Wallet:
    """The wallet with what is left of its lots."""
    return Wallet(
        id=row.id,
        wallet_type=WalletType(row.wallet_type),
        currency=row.currency,
        conversion_rate=row.conversion_rate,
        allowed_price_types=AllowedPriceTypes(row.allowed_price_types[0]),
        status=WalletStatus(row.wallet_status),
        topup_conversion_rate=row.topup_conversion_rate,
        lots=tuple(
            CreditLot(lot.id, lot.credits, lot.remaining, lot.granted_at, lot.expires_at, lot.priority) for lot in lots
        ),
    )
