"""A tenant's billing settings: seller, grace, due date, retries of payments."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from activities.settings import load_billing_settings, save_billing_settings
from billing.codec import to_json
from starter.api.context import CallerNow, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.wire import json_answer

router = APIRouter(prefix="/settings", tags=["settings"], route_class=TransactionRoute)


@router.get("/billing", summary="Get the billing settings")
async def get(session: Session) -> Response:
    """Those in force: what was set, and the defaults."""
    return json_answer({"key": "billing", "value": to_json(await load_billing_settings(session))})


@router.put("/billing", summary="Change the billing settings")
async def update(body: dict[str, Any], caller: CallerNow, session: Session) -> Response:
    """Keys that are left out stay as they are.

    `seller` {name, address, tax_id, email}, `finalization_delay_seconds`, `due_date_days`, `dunning_days`,
    `dunning_hour`, `on_exhausted_invoice`, `on_exhausted_subscription`, `late_usage` (next_invoice or ignore),
    `late_usage_periods`, `late_usage_days`.
    """
    await save_billing_settings(session, caller.scope, body)
    await session.flush()
    return json_answer({"key": "billing", "value": to_json(await load_billing_settings(session))})
