"""What a customer's story comes to: `POST /v1/simulations`. Nothing is stored."""

from typing import Any, Final

from anyio import CapacityLimiter, fail_after, to_process
from fastapi import APIRouter, Request
from starlette.responses import Response

from starter.api.errors import error_response
from starter.api.transactions import CommandRoute
from starter.simulate.outcomes import outcome_bytes

SECONDS: Final = 10
"""Longer than any honest story takes: a year of months is milliseconds."""
AT_ONCE: Final = 2
"""Stories computed at one time; others wait."""
EXAMPLE: Final[dict[str, Any]] = {
    "name": "two seats",
    "customer": {"external_id": "acme", "timezone": "Asia/Kolkata"},
    "plans": [
        {
            "key": "pro",
            "prices": [
                {
                    "key": "seat",
                    "type": "FIXED",
                    "billing_model": "FLAT_FEE",
                    "amount": "10",
                    "invoice_cadence": "ADVANCE",
                }
            ],
        }
    ],
    "subscription": {"plan": "pro", "start_date": "2026-01-31T00:00:00Z", "quantities": {"seat": "2"}},
    "actions": [{"at": "2026-02-10T00:00:00Z", "do": "change_quantity", "price": "seat", "quantity": "3"}],
    "until": "2026-03-15T00:00:00Z",
}
DOCUMENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A scenario: see docs/scenarios.md. Every part but these may be left out.",
    "required": ["customer", "plans", "subscription", "until"],
    "examples": [EXAMPLE],
}
RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Invoices with lines and attempts, wallets, the subscription, what was refused, and the timeline.",
    "required": [
        "name", "invoices", "credit_notes", "refused", "rejected_events", "wallets", "subscription", "timeline",
    ],
}  # fmt: skip
router = APIRouter(prefix="/simulations", tags=["simulations"], route_class=CommandRoute)


@router.post(
    "",
    summary="Simulate a customer's story",
    responses={200: {"description": "What it comes to", "content": {"application/json": {"schema": RESULT}}}},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": DOCUMENT}}}},
)
async def simulate(request: Request) -> Response:
    """Takes a scenario document, computes every invoice with the functions that bill for real, and stores nothing.

    A document that makes no sense answers 400; `details.field` is the path of what is wrong.
    """
    body = await request.body()
    try:
        async with _slots(request):
            with fail_after(SECONDS):
                problem, result = await to_process.run_sync(outcome_bytes, body, cancellable=True)
    except TimeoutError:
        message = f"the story takes more than {SECONDS} seconds to compute: shorten it, or use durabill simulate"
        return error_response(400, "story_too_long", message)
    if problem is not None:
        details = {"field": problem["path"]} if problem["path"] else {}
        return error_response(400, problem["code"], problem["message"], details)
    return Response(result, media_type="application/json")


def _slots(request: Request) -> CapacityLimiter:
    """One limit for the whole process; stories are computed in processes of their own, off the event loop."""
    state = request.app.state
    if not hasattr(state, "simulation_slots"):
        state.simulation_slots = CapacityLimiter(AT_ONCE)
    slots: CapacityLimiter = state.simulation_slots
    return slots
