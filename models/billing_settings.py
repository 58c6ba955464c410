"""A tenant's billing settings: the defaults, and what the `settings` table overrides."""

from dataclasses import dataclass, field, fields
from typing import Any

from billing.dunning import DunningSettings, ExhaustedInvoice, ExhaustedSubscription
from billing.errors import Invalid

KEY = "billing"


@dataclass(frozen=True, slots=True)
class Seller:
    """Who the invoices are from."""

    name: str = ""
    address: tuple[str, ...] = ()
    tax_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """How one tenant's environment bills. Seconds are real seconds, days are days of 24 hours unless said otherwise."""

    finalization_delay_seconds: int = 7200
    due_date_days: int = 1
    seller: Seller = field(default_factory=Seller)
    dunning: DunningSettings = field(default_factory=DunningSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.finalization_delay_seconds <= 31 * 86400:
            raise Invalid(
                f"finalization_delay_seconds must be between 0 and {31 * 86400} (31 days);"
                f" got {self.finalization_delay_seconds}",
                field="finalization_delay_seconds",
            )
        if not 0 <= self.due_date_days <= 365:
            raise Invalid(f"due_date_days must be between 0 and 365; got {self.due_date_days}", field="due_date_days")


def billing_settings(value: dict[str, Any]) -> BillingSettings:
    """Settings from their stored form. Raises Invalid for a key that means nothing or a value that does not fit."""
    known = {"finalization_delay_seconds", "due_date_days", "seller", "timezone"} | {
        "dunning_days",
        "dunning_hour",
        "on_exhausted_invoice",
        "on_exhausted_subscription",
    }
    for key in value:
        if key not in known:
            raise Invalid(f"{key} is not a billing setting; known: {', '.join(sorted(known))}", field=key)
    seller = value.get("seller") or {}
    for key in seller:
        if key not in {f.name for f in fields(Seller)}:
            raise Invalid(f"seller.{key} is not known; it has name, address, tax_id, email", field=f"seller.{key}")
    if value.get("on_exhausted_subscription") == ExhaustedSubscription.cancel:
        raise Invalid(
            "on_exhausted_subscription must be 'keep': cancelling by exhausted dunning is not offered yet",
            field="on_exhausted_subscription",
        )
    defaults = DunningSettings()
    return BillingSettings(
        finalization_delay_seconds=value.get("finalization_delay_seconds", 7200),
        due_date_days=value.get("due_date_days", 1),
        seller=Seller(**{**seller, "address": tuple(seller.get("address", ()))}),
        dunning=DunningSettings(
            schedule_days=tuple(value.get("dunning_days", defaults.schedule_days)),
            zone=value.get("timezone", defaults.zone),
            hour=value.get("dunning_hour"),
            on_exhausted_invoice=ExhaustedInvoice(value.get("on_exhausted_invoice", defaults.on_exhausted_invoice)),
            on_exhausted_subscription=ExhaustedSubscription(
                value.get("on_exhausted_subscription", defaults.on_exhausted_subscription)
            ),
        ),
    )
