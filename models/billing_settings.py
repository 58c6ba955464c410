"""A tenant's billing settings: what may be stored, its checks, and the defaults."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing.dunning import DEFAULT_SCHEDULE_DAYS, DunningSettings, ExhaustedInvoice, ExhaustedSubscription
from billing.errors import Invalid
from billing.invoice_timing import DUE_DAYS_MAX, GRACE_SECONDS_MAX
from billing.late_usage import DAYS_MAX, PERIODS_MAX, LateUsagePolicy, LateUsageSettings

KEY = "billing"

Line = Annotated[str, Field(max_length=200)]


@dataclass(frozen=True, slots=True)
class Seller:
    """Who the invoices are from."""

    name: str = ""
    address: tuple[str, ...] = ()
    tax_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """How one tenant's environment bills. The grace is in seconds, terms of payment in days of 24 hours."""

    finalization_delay_seconds: int = 7200
    due_date_days: int = 1
    seller: Seller = field(default_factory=Seller)
    dunning: DunningSettings = field(default_factory=DunningSettings)
    late_usage: LateUsageSettings = field(default_factory=LateUsageSettings)


class _Stored(BaseModel):
    """The stored form, as the API takes it; whatever is absent has its default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    finalization_delay_seconds: Annotated[int, Field(ge=0, le=GRACE_SECONDS_MAX)] = 7200
    due_date_days: Annotated[int, Field(ge=0, le=DUE_DAYS_MAX)] = 1
    timezone: str = "UTC"
    dunning_days: list[int] = Field(default_factory=lambda: list(DEFAULT_SCHEDULE_DAYS))
    dunning_hour: int | None = None
    on_exhausted_invoice: Annotated[str, Field(pattern="^(uncollectible|open)$")] = "uncollectible"
    on_exhausted_subscription: Annotated[str, Field(pattern="^(cancel|keep)$")] = "keep"
    late_usage: Annotated[str, Field(pattern="^(next_invoice|credit_note|ignore)$")] = "next_invoice"
    late_usage_periods: Annotated[int, Field(ge=0, le=PERIODS_MAX)] = 2
    late_usage_days: Annotated[int, Field(ge=0, le=DAYS_MAX)] = 62
    seller: "_StoredSeller" = Field(default_factory=lambda: _StoredSeller())


class _StoredSeller(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Line = ""
    address: Annotated[list[Line], Field(max_length=8)] = Field(default_factory=list)
    tax_id: Line = ""
    email: Line = ""


def names() -> list[str]:
    """What can be set."""
    return list(_Stored.model_fields)


def billing_settings(value: dict[str, Any]) -> BillingSettings:
    """Settings from their stored form. Raises Invalid for a name that means nothing or a value that does not fit."""
    try:
        stored = _Stored.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{path}: {first['msg'].lower()}; got {first['input']!r}", field=path) from error
    seller = stored.seller
    return BillingSettings(
        finalization_delay_seconds=stored.finalization_delay_seconds,
        due_date_days=stored.due_date_days,
        seller=Seller(seller.name, tuple(seller.address), seller.tax_id, seller.email),
        dunning=DunningSettings(
            schedule_days=tuple(stored.dunning_days),
            zone=stored.timezone,
            hour=stored.dunning_hour,
            on_exhausted_invoice=ExhaustedInvoice(stored.on_exhausted_invoice),
            on_exhausted_subscription=ExhaustedSubscription(stored.on_exhausted_subscription),
        ),
        late_usage=_late_usage(stored),
    )


def _late_usage(stored: _Stored) -> LateUsageSettings:
    policy = LateUsagePolicy(stored.late_usage)
    return LateUsageSettings(policy, stored.late_usage_periods, stored.late_usage_days)
