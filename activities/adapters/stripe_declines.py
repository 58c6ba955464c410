"""Stripe's reasons for a decline, sorted into those that end a payment method and those that may pass.

Source: docs.stripe.com/declines/codes and docs.stripe.com/error-codes. A reason that is not listed is soft: another
attempt costs little, while a method given up by mistake costs the invoice.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

HARD: Final[Mapping[str, str]] = {
    "account_closed": "the bank account does not exist any more",
    "bank_account_restricted": "the bank does not allow debits of this account",
    "card_not_supported": "the card is not made for this kind of purchase",
    "currency_not_supported": "the card does not take this currency",
    "debit_not_authorized": "the customer told the bank not to allow the debit",
    "do_not_try_again": "the bank asks not to be asked again",
    "expired_card": "the card has expired",
    "fraudulent": "the bank suspects fraud",
    "highest_risk_level": "Stripe's risk rules block this card",
    "incorrect_cvc": "the stored card has a wrong security code",
    "incorrect_number": "the card number is wrong",
    "invalid_account": "the card or its account is not valid",
    "invalid_cvc": "the stored card has a wrong security code",
    "invalid_expiry_month": "the stored card has a wrong expiry date",
    "invalid_expiry_year": "the stored card has a wrong expiry date",
    "invalid_number": "the card number is wrong",
    "lost_card": "the card was reported lost",
    "merchant_blacklist": "a block list of the Stripe account names this card",
    "new_account_information_available": "the card or its account has been replaced",
    "no_account": "the bank does not know the account",
    "not_permitted": "the bank does not permit the payment",
    "payment_intent_mandate_invalid": "the customer's mandate does not hold any more",
    "payment_method_currency_mismatch": "the payment method does not take this currency",
    "payment_method_unexpected_state": "the payment method was detached or used up",
    "payment_method_unsupported_type": "the payment method cannot be charged while the customer is away",
    "pickup_card": "the bank wants the card back: it may be lost or stolen",
    "restricted_card": "the bank wants the card back: it may be lost or stolen",
    "revocation_of_all_authorizations": "the customer revoked all recurring charges",
    "revocation_of_authorization": "the customer revoked this recurring charge",
    "security_violation": "the bank suspects an attack",
    "service_not_allowed": "the card is not made for this kind of service",
    "stolen_card": "the card was reported stolen",
    "stop_payment_order": "the customer stopped the recurring charge at the bank",
    "testmode_decline": "a test card was used with live keys",
    "transaction_not_allowed": "the bank never allows this kind of transaction",
}

AUTHENTICATION_REQUIRED: Final = "authentication_required"
"""The bank wants the customer to confirm: not a refusal, the customer is asked (3-D Secure)."""

UNUSABLE_METHOD: Final = frozenset(
    {"payment_method_currency_mismatch", "payment_method_unexpected_state", "payment_method_unsupported_type"}
)
"""Codes of refused requests (not of card errors) that mean the payment method, not the request, is wrong."""


def kind_of(reason: str) -> Literal["soft", "hard"]:
    """Whether a decline for `reason` ends the method."""
    return "hard" if reason in HARD else "soft"


def reason_of(error: Mapping[str, Any]) -> str:
    """The most precise reason of a card error, e.g. `insufficient_funds` rather than `card_declined`."""
    return str(error.get("decline_code") or error.get("code") or "card_declined")


def wants_customer(error: Mapping[str, Any]) -> bool:
    """Whether the bank would accept if the customer confirmed the payment."""
    return AUTHENTICATION_REQUIRED in (error.get("code"), error.get("decline_code"))
