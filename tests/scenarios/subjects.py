"""What a story is about, told from its document: a new story finds its place among the worked examples by itself."""

from collections.abc import Callable, Iterator
from typing import Any, Final

Json = dict[str, Any]
Fits = Callable[[Json], bool]


def subject_of(name: str, document: Json) -> str:
    """The subject under which the story is listed."""
    return EXCEPTIONS.get(name) or next(title for title, fits in reversed(SUBJECTS) if fits(document))


def _has(*wanted: str) -> Fits:
    """The document gives one of these fields a value."""
    return lambda document: not set(wanted).isdisjoint(_names(document))


def _does(*wanted: str) -> Fits:
    """One of these actions happens."""
    return lambda document: not {action["do"] for action in document.get("actions", ())}.isdisjoint(wanted)


def _either(*tests: Fits) -> Fits:
    return lambda document: any(test(document) for test in tests)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if item not in (None, [], {}, 0):
                yield name
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _measures_in_special_ways(document: Json) -> bool:
    return any(meter["aggregation"]["type"] not in ("SUM", "COUNT") for meter in document.get("meters", ()))


def _is_about_dates(document: Json) -> bool:
    zone = document["customer"].get("timezone", "UTC")
    periods = {price.get("billing_period") for plan in document["plans"] for price in plan.get("prices", ())}
    start = document["subscription"]
    return zone != "UTC" or start["start_date"][8:10] > "28" or "billing_cycle" in start or len(periods) > 1


SUBJECTS: Final[tuple[tuple[str, Fits], ...]] = (
    ("Prices", lambda document: True),
    ("Meters", _either(_measures_in_special_ways, _has("bucket_size", "group_by", "expression", "multiplier"))),
    ("Periods, time zones and month ends", _is_about_dates),
    ("Allowances", _has("entitlements", "override_entitlements")),
    ("Commitments and thresholds", _has("commitment", "line_commitments", "auto_invoice_threshold")),
    ("Discounts and tax", _has("coupons", "tax_rates")),
    (
        "Trials, pauses, cancellations and phases",
        _either(_does("pause", "resume", "cancel"), _has("trial_period_days", "end_date", "phases")),
    ),
    (
        "Changes of plan, quantity and add-ons",
        _does("change_plan", "change_quantity", "add_addon", "remove_addon"),
    ),
    ("Wallets and credits", _has("wallets", "credit_grants")),
    ("Payments and dunning", _has("payments")),
    ("Late usage and corrections", _either(_does("void_event", "amend_event"), _has("received_at"))),
    ("Credit notes and voids", _does("credit_note", "void_invoice")),
)
"""In the order of reading; a story belongs to the last one that fits."""

EXCEPTIONS: Final = {
    "a-commitment-in-units-cut-short": "Commitments and thresholds",
    "the-allowance-after-a-change-of-plan": "Allowances",
    "the-clocks-go-back": "Periods, time zones and month ends",
    "three-discounts-tax-and-credits": "Discounts and tax",
}
"""Stories whose document says more than they are about."""
