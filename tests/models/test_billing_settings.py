"""A tenant's billing settings: what is refused at save, and that the page about them names all."""

from pathlib import Path
from typing import Any

import pytest

from billing.errors import Invalid
from billing.late_usage import LateUsagePolicy, LateUsageSettings
from models.billing_settings import BillingSettings, billing_settings, names

PAGE = Path(__file__).parents[2] / "docs" / "billing-settings.md"


def test_what_is_not_set_has_its_default() -> None:
    assert billing_settings({}) == BillingSettings()


def test_late_usage_is_looked_back_on_as_the_tenant_says() -> None:
    set_ = billing_settings({"late_usage": "ignore", "late_usage_periods": 3, "late_usage_days": 0})
    assert set_.late_usage == LateUsageSettings(LateUsagePolicy.ignore, 3, 0)


@pytest.mark.parametrize(
    ("value", "field", "why"),
    [
        ({"late_usage": "never"}, "late_usage", "next_invoice"),
        ({"late_usage_periods": 25}, "late_usage_periods", "24"),
        ({"late_usage_days": -1}, "late_usage_days", "0"),
        ({"late_usage_day": 1}, "late_usage_day", "not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(value: dict[str, Any], field: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as refused:
        billing_settings(value)
    assert refused.value.field == field


def test_the_page_names_every_setting() -> None:
    rows = [line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(names())
