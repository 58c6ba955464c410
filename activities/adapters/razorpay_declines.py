"""Razorpay's reasons for a failed payment, sorted into those that end a payment method and those that may pass.

Source: razorpay.com/docs/errors/error-reasons; `mandate_...`, `token_...` and `no_such_payment_method` are our words
for the states of a token. A reason that is not listed is soft: another attempt costs little, while a method given up by
mistake costs the invoice.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

HARD: Final[Mapping[str, str]] = {
    "bank_account_invalid": "the bank account does not exist or was closed",
    "bank_account_validation_failed": "the bank account is not the customer's",
    "card_expired": "the card has expired",
    "card_not_enrolled": "the card does not take part in recurring payments",
    "card_number_invalid": "the card number is wrong",
    "debit_instrument_blocked": "the bank or the customer has blocked the card or account",
    "debit_instrument_inactive": "the card or account is frozen",
    "invalid_vpa": "the UPI address does not exist",
    "international_transaction_not_allowed": "the card is not made for payments abroad",
    "mandate_cancelled": "the customer has cancelled the mandate",
    "mandate_expired": "the mandate has ended",
    "mandate_rejected": "the bank has rejected the mandate",
    "no_such_payment_method": "the customer has no such token",
    "payment_risk_check_failed": "the bank or Razorpay suspects fraud",
    "token_not_recurring": "the token was not saved for recurring payments",
    "upi_autopay_not_supported_on_psp": "the customer's UPI app knows no mandates",
}


def kind_of(reason: str) -> Literal["soft", "hard"]:
    """Whether a decline for `reason` ends the method."""
    return "hard" if reason in HARD else "soft"


def reason_of(payment: Mapping[str, Any]) -> str:
    """Why a failed payment failed, e.g. `insufficient_funds`."""
    return str(payment.get("error_reason") or payment.get("error_code") or "payment_failed").lower()


def mandate_refusal(token: Mapping[str, Any]) -> str | None:
    """Why this token cannot be charged, before anything is tried; None for one that can.

    Cards, UPI and bank mandates alike carry `recurring_details.status`; only a confirmed one is charged.
    """
    if not token.get("recurring"):
        return "token_not_recurring"
    status = (token.get("recurring_details") or {}).get("status") or "confirmed"
    return None if status == "confirmed" else f"mandate_{status}"
