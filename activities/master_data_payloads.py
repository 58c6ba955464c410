"""Customers and features in the shape of the wire, as webhooks carry them; routes answer with the same.

A feature's meter is left out: it has a life of its own. Keys that the wire omits when empty are left out.
"""

from typing import Any

from activities.payloads import bookkeeping, without_none
from models.tables import CustomerRow, FeatureRow

_CUSTOMER = (
    "external_id", "name", "email", "contact", "address_line1", "address_line2", "address_city", "address_state",
    "address_postal_code", "address_country", "timezone", "gateway_payment_method_id", "payment_gateway",
    "test_clock_id",
)  # fmt: skip
_FEATURE = (
    "name", "lookup_key", "type", "description", "meter_id", "unit_singular", "unit_plural", "reporting_unit",
)  # fmt: skip


def customer_payload(row: CustomerRow) -> dict[str, Any]:
    """CustomerResponse."""
    own = {name: getattr(row, name) for name in _CUSTOMER}
    more = {"tax_id": row.tax_id or None, "metadata": row.customer_metadata}
    return without_none({"id": row.id, **own, **more, **bookkeeping(row)})


def feature_payload(row: FeatureRow) -> dict[str, Any]:
    """FeatureResponse, without its meter."""
    own = {name: getattr(row, name) for name in _FEATURE}
    return without_none({"id": row.id, **own, "metadata": row.feature_metadata, **bookkeeping(row)})
