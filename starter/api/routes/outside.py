"""Resources of the reference that are outside what durabill does: 501 with the envelope, never a wrong 200."""

import re
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from starter.api.errors import error_response

router = APIRouter()

RESOURCES: Final = frozenset(
    (
        "addons", "alert", "alerts", "analytics", "auth", "checkout", "connections", "cost", "costs", "costsheets",
        "coupons", "coupon-associations", "creditgrants", "cron", "customer-portal", "entitlements",
        "fx-rates", "groups", "integrations", "marketplace", "oauth", "portal", "rbac", "reports",
        "scheduled-tasks", "settings", "tasks", "usage-records", "users", "workflows",
    )
)  # fmt: skip
"""First segments of their paths."""

OPERATIONS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"environments(/[^/]+/clone)?",
        r"tenants/update|tenant/billing",
        r"customers/usage|customers/portal/.+",
        r"customers/(external/)?[^/]+/(entitlements|usage|payment-methods|grants/upcoming|invoices/summary)",
        r"(features|plans)/[^/]+/clone|plans/[^/]+/(sync/subscriptions|entitlements|creditgrants)",
        r"prices/units(/.*)?",
        r"events/(analytics/.+|lookup|raw|benchmark|reprocess|huggingface).*",
        r"subscriptions/(addon|lineitems|schedules|temporal)(/.*)?",
        r"subscriptions/[^/]+(/(activate|addons|change|entitlements|grants|lineitems|modify|pause|pauses|phases"
        r"|resume|schedules)(/.*)?)?",
        r"invoices(/[^/]+(/(recalculate|recalculate-v2|modify/.+|comms/trigger))?)?|invoices/preview",
        r"payments/[^/]+(/process)?",
        r"webhooks/(dashboard|retry)",
    )
)
"""Paths of single operations."""


@router.api_route(
    "/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False, name="outside"
)
async def outside(path: str, request: Request) -> Response:
    """Comes last: whatever no other route has answered."""
    if path.split("/", 1)[0] in RESOURCES or any(pattern.fullmatch(path) for pattern in OPERATIONS):
        message = f"{request.method} /v1/{path} is outside what durabill does; /docs lists what it does"
        return error_response(501, "not_implemented", message)
    return error_response(404, "not_found", "there is no such route; see /docs")
