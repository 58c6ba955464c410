"""Reads back what came of a story on a stack, as the result document that the simulator writes.

Owns which field of the API is which field of the result.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from billing.money import decimal_text, total
from starter.cli.api_client import Api
from starter.simulate.player import Played

Json = dict[str, Any]
SAME: Final = (
    "subtotal",
    "total_discount",
    "total_tax",
    "total_prepaid_credits_applied",
    "total",
    "amount_due",
    "amount_paid",
    "amount_remaining",
)
OUTCOMES: Final = {"SUCCEEDED": "succeeded", "FAILED": "declined"}
"""Other states of an attempt wait for the customer."""


def read_result(api: Api, name: str, played: Played) -> Json:
    """Invoices in order of drafting, the subscription, and wallets, and what was refused."""
    setting = played.setting
    attempts = _attempts(api, setting.customer_id)
    listed = api.every("invoices", customer_id=setting.customer_id, order="asc")
    invoices = [api.get(f"invoices/{each['id']}") if each["invoice_status"] == "DRAFT" else each for each in listed]
    places = {invoice["id"]: f"invoices[{place}]" for place, invoice in enumerate(invoices)}
    prices = {price_id: key for key, price_id in setting.prices.items()}
    wallets = sorted(api.get(f"customers/{setting.customer_id}/wallets"), key=lambda wallet: str(wallet["created_at"]))
    subscription = api.get(f"subscriptions/{played.subscription_id}")
    return {
        "name": name,
        "invoices": [_invoice(invoice, prices, attempts.get(invoice["id"], [])) for invoice in invoices],
        "credit_notes": _credit_notes(api, setting.customer_id, places),
        "refused": [{"action": each.action, "code": each.code, "message": each.message} for each in played.refused],
        "rejected_events": [],
        "wallets": [_wallet(api, wallet, played.wallets, places) for wallet in wallets],
        "subscription": {
            "status": subscription["subscription_status"],
            "current_period_start": subscription["current_period_start"],
            "current_period_end": subscription["current_period_end"],
        },
        "timeline": [],
    }


def _attempts(api: Api, customer_id: str) -> dict[str, list[Json]]:
    """Attempts at the provider by invoice, in order of time."""
    found: dict[str, list[Json]] = {}
    for payment in api.every("payments", customer_id=customer_id, order="asc"):
        for attempt in sorted(payment["attempts"], key=lambda each: int(each["attempt_number"])):
            shown = {
                "at": attempt["attempted_at"],
                "amount": attempt["amount"],
                "outcome": OUTCOMES.get(attempt["payment_status"], "requires_action"),
            }
            found.setdefault(payment["destination_id"], []).append(shown)
    return found


def _credit_notes(api: Api, customer_id: str, places: Mapping[str, str]) -> list[Json]:
    """Those that have an effect, in the order of their numbers."""
    notes = api.every("creditnotes", customer_id=customer_id, credit_note_status="FINALIZED")
    return [
        {
            "invoice": places[note["invoice_id"]],
            "type": note["credit_note_type"],
            "amount": note["total_amount"],
            "at": note["finalized_at"],
        }
        for note in sorted(notes, key=lambda each: (str(each["finalized_at"]), str(each["credit_note_number"])))
    ]


def _invoice(invoice: Json, prices: Mapping[str, str], attempts: list[Json]) -> Json:
    return {
        "number": invoice.get("invoice_number"),
        "billing_reason": invoice["billing_reason"],
        "period_start": invoice["period_start"],
        "period_end": invoice["period_end"],
        "finalized_at": invoice.get("finalized_at"),
        "invoice_status": invoice["invoice_status"],
        "payment_status": invoice["payment_status"],
        "paid_at": invoice.get("paid_at"),
        "lines": [_line(line, prices) for line in invoice.get("line_items", ())],
        **{name: invoice[name] for name in SAME},
        "attempts": attempts,
    }


def _line(line: Json, prices: Mapping[str, str]) -> Json:
    discounts = (Decimal(line["line_item_discount"]), Decimal(line["invoice_level_discount"]))
    return {
        "kind": line["kind"],
        "price": prices.get(line.get("price_id", "")),
        "description": line["display_name"],
        "quantity": line["quantity"],
        "amount": line["amount"],
        "period_start": line["period_start"],
        "period_end": line["period_end"],
        "discount": decimal_text(total(discounts)),
        "prepaid_credits": line["prepaid_credits_applied"],
    }


def _wallet(api: Api, wallet: Json, keys: Mapping[str, str], places: Mapping[str, str]) -> Json:
    path = f"wallets/{wallet['id']}"
    now = api.get(f"{path}/balance/real-time")
    transactions = sorted(api.every(f"{path}/transactions", order="asc"), key=lambda each: str(each["occurred_at"]))
    return {
        "key": keys.get(wallet["id"]),
        "wallet_type": wallet["wallet_type"],
        "balance": wallet["balance"],
        "credit_balance": wallet["credit_balance"],
        "real_time_balance": now["real_time_balance"],
        "transactions": [
            {
                "at": each["occurred_at"],
                "type": each["type"],
                "credit_amount": each["credit_amount"],
                "amount": each["amount"],
                "transaction_reason": each["transaction_reason"],
                "reference_id": places.get(each.get("reference_id", "")),
            }
            for each in transactions
        ],
    }
