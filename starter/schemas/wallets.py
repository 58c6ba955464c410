"""Wallets and their transactions on the wire."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from activities.wallets import NewWallet, TopUp
from billing.balance_alerts import AlertCondition, AlertSettings, AlertThreshold
from billing.codec import to_json
from billing.errors import Invalid
from billing.money import ZERO
from billing.wallets import AllowedPriceTypes, WalletType
from models.queries.wallets import TransactionFilter, WalletFilter
from starter.schemas.wire import (
    Changes,
    Currency,
    DecimalIn,
    Ids,
    Instant,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    Text,
)

Credits = Annotated[DecimalIn, Field(ge=0, decimal_places=15)]
Priority = Annotated[int, Field(ge=0, le=2**31 - 1)]
Kind = Literal["PRE_PAID", "POST_PAID"]


class AlertThresholdRequest(Request):
    """A balance that raises an alert when it is there or beyond: at or below it, unless it says `above`."""

    threshold: DecimalIn
    condition: AlertCondition = AlertCondition.below


class AlertSettingsRequest(Request):
    """Which balances are worth a webhook: `info` first, `critical` last; looked at when an hour is full."""

    critical: AlertThresholdRequest | None = None
    warning: AlertThresholdRequest | None = None
    info: AlertThresholdRequest | None = None
    alert_enabled: bool = True

    def settings(self) -> AlertSettings:
        """The settings for the rules. Raises Invalid where a graver alert would come before a lesser one."""
        given = {"critical": self.critical, "warning": self.warning, "info": self.info}
        thresholds = {
            name: AlertThreshold(each.threshold, each.condition) for name, each in given.items() if each is not None
        }
        try:
            return AlertSettings(**thresholds, alert_enabled=self.alert_enabled)
        except Invalid as error:
            raise Invalid(f"alert_settings.{error.message}", field=f"alert_settings.{error.field}") from None


class CreateWalletRequest(Request):
    """A new wallet of a customer, found by `customer_id` or `external_customer_id`."""

    absent: ClassVar[dict[str, str]] = {
        "auto_topup": "wallets are topped up by calls",
        "price_unit": "give conversion_rate instead",
    }

    currency: Currency
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    name: ShortText = ""
    description: Text = ""
    wallet_type: Kind = "PRE_PAID"
    conversion_rate: Annotated[DecimalIn, Field(gt=0)] | None = None
    topup_conversion_rate: Annotated[DecimalIn, Field(gt=0)] | None = None
    initial_credits_to_load: Credits | None = None
    initial_credits_to_load_expiry_date: int | None = None
    initial_credits_expiry_date_utc: Instant | None = None
    alert_settings: AlertSettingsRequest | None = None
    metadata: Metadata = Field(default={})

    def new_wallet(self, customer_id: str) -> NewWallet:
        """The wallet for the command. Raises Invalid."""
        expires_at = _expiry(
            self.initial_credits_expiry_date_utc,
            self.initial_credits_to_load_expiry_date,
            "initial_credits_to_load_expiry_date",
        )
        return NewWallet(
            customer_id=customer_id,
            currency=self.currency,
            name=self.name,
            description=self.description,
            wallet_type=WalletType(self.wallet_type),
            **({} if self.conversion_rate is None else {"conversion_rate": self.conversion_rate}),
            topup_conversion_rate=self.topup_conversion_rate,
            initial_credits=self.initial_credits_to_load or ZERO,
            initial_expires_at=expires_at,
            alerts=None if self.alert_settings is None else self.alert_settings.settings(),
            metadata=self.metadata,
        )


class WalletConfig(Request):
    """Which lines the wallet pays: one of ALL, USAGE, FIXED."""

    allowed_price_types: Annotated[list[AllowedPriceTypes], Field(min_length=1, max_length=1)]


class UpdateWalletRequest(Changes):
    """Fields to change."""

    absent: ClassVar[dict[str, str]] = {"auto_topup": "wallets are topped up by calls"}

    name: Name | None = None
    description: Text | None = None
    metadata: Metadata | None = None
    config: WalletConfig | None = None
    alert_settings: AlertSettingsRequest | None = None

    def changes(self) -> dict[str, object]:
        """Columns and their new values."""
        given: dict[str, object] = self.given(skip=("config", "alert_settings"))
        if self.alert_settings is not None:
            given["alert_settings"] = to_json(self.alert_settings.settings())
        if self.config is not None:
            given["allowed_price_types"] = [kind.value for kind in self.config.allowed_price_types]
        return given


class TopUpWalletRequest(Request):
    """Credits to add: `credits_to_add`, or `amount` in the wallet's currency."""

    absent: ClassVar[dict[str, str]] = {
        "checkout": "there are no checkout sessions",
        "coupons": "top-ups take no coupons",
        "effective_date": "credits come when the call comes",
    }

    transaction_reason: ShortText
    credits_to_add: Annotated[DecimalIn, Field(gt=0, decimal_places=15)] | None = None
    amount: Annotated[DecimalIn, Field(gt=0)] | None = None
    expiry_date: int | None = None
    expiry_date_utc: Instant | None = None
    priority: Priority | None = None
    bonus_credits_to_add: Credits | None = None
    bonus_credits_expiry_date_utc: Instant | None = None
    idempotency_key: ShortText | None = None
    description: Text = ""
    metadata: Metadata = Field(default={})

    def top_up(self) -> TopUp:
        """The top-up for the command. Raises Invalid."""
        if (self.credits_to_add is None) == (self.amount is None):
            raise Invalid("exactly one of credits_to_add and amount must be given", field="credits_to_add")
        return TopUp(
            credits=self.credits_to_add,
            amount=self.amount,
            reason=self.transaction_reason,
            expires_at=_expiry(self.expiry_date_utc, self.expiry_date, "expiry_date"),
            priority=self.priority,
            bonus_credits=self.bonus_credits_to_add or ZERO,
            bonus_expires_at=self.bonus_credits_expiry_date_utc,
            idempotency_key=self.idempotency_key,
            description=self.description,
            metadata=self.metadata,
        )


class DebitWalletRequest(Request):
    """Credits to take out; `idempotency_key` makes a repeated call take them once."""

    credits: Annotated[DecimalIn, Field(gt=0, decimal_places=15)]
    transaction_reason: Literal["MANUAL_BALANCE_DEBIT"] = "MANUAL_BALANCE_DEBIT"
    idempotency_key: Name
    description: Text = ""
    metadata: Metadata = Field(default={})


class WalletSearch(SearchParams):
    """Filters of POST /wallets/search; `status` is the wallet's."""

    status: Literal["active", "frozen", "closed"] | None = None
    wallet_ids: Ids | None = None
    customer_ids: Ids | None = None
    currency: Currency | None = None
    wallet_type: Kind | None = None

    def wanted(self) -> WalletFilter:
        """The filter for the query."""
        return WalletFilter(self.customer_ids, self.wallet_ids, self.status, self.currency, self.wallet_type)


class TransactionListParams(ListParams):
    """Filters of GET /wallets/{id}/transactions."""

    type: Literal["credit", "debit"] | None = None
    transaction_status: Literal["pending", "completed", "failed"] | None = None
    transaction_reason: ShortText | None = None
    reference_type: ShortText | None = None
    reference_id: ShortText | None = None
    expiry_date_after: Instant | None = None
    expiry_date_before: Instant | None = None
    credits_available_gt: DecimalIn | None = None
    priority: Priority | None = None

    def wanted(self, wallet_ids: list[str] | None) -> TransactionFilter:
        """The filter for the query."""
        return TransactionFilter(wallet_ids, **transaction_filter(self))


class TransactionSearch(SearchParams):
    """Filters of POST /wallets/transactions/search."""

    wallet_ids: Ids | None = None
    type: Literal["credit", "debit"] | None = None
    transaction_status: Literal["pending", "completed", "failed"] | None = None
    transaction_reason: ShortText | None = None
    reference_type: ShortText | None = None
    reference_id: ShortText | None = None
    expiry_date_after: Instant | None = None
    expiry_date_before: Instant | None = None
    credits_available_gt: DecimalIn | None = None
    priority: Priority | None = None

    def wanted(self) -> TransactionFilter:
        """The filter for the query."""
        return TransactionFilter(self.wallet_ids, **transaction_filter(self))


def transaction_filter(params: TransactionListParams | TransactionSearch) -> dict[str, Any]:
    """What both lists filter by; every transaction is completed, so that another status matches none."""
    return {
        "type": params.type,
        "none": params.transaction_status not in (None, "completed"),
        "transaction_reason": params.transaction_reason,
        "reference_type": params.reference_type,
        "reference_id": params.reference_id,
        "expiry_after": params.expiry_date_after,
        "expiry_before": params.expiry_date_before,
        "credits_available_gt": params.credits_available_gt,
        "priority": params.priority,
    }


def _expiry(instant: datetime | None, day: int | None, field: str) -> datetime | None:
    """`instant`, or the end of `day` (YYYYMMDD, UTC)."""
    if day is None or instant is not None:
        return instant
    try:
        return datetime.strptime(str(day), "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{field} must be a day as YYYYMMDD, such as 20260131; got {day}", field=field) from error
