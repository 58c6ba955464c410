"""Standard Webhooks signatures: what we put on the webhooks we send, and how we check those of the sandbox provider.

Source of the rules: the Standard Webhooks specification (headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`; HMAC-SHA256 over `id.timestamp.body`; several signatures, separated by spaces, while a secret is
being rotated).
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook

TOLERANCE = timedelta(minutes=5)
"""How far the timestamp of a webhook may be from our clock, either way: the specification's advice."""
PREFIX = "whsec_"
_SECRET_BYTES = 32


class BadSignature(Exception):
    """The webhook is not from whom it says, was altered, or is too old; the message says which."""


def new_secret() -> str:
    """A fresh signing secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(signing_secrets: Sequence[str], message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a webhook, one signature for each secret: two while one is being rotated, the newer first.

    `sent_at` is an aware time, rounded down to the second. Raises ValueError without a secret.
    """
    if not signing_secrets:
        raise ValueError("signing_secrets is empty: a webhook endpoint has at least one secret")
    moment = sent_at.astimezone(UTC).replace(microsecond=0)
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, moment, text) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def verify(signing_secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> datetime:
    """When the webhook was sent, if one of the secrets signed exactly this body within the tolerance around `now`.

    Raises `BadSignature`.
    """
    if not signing_secrets:
        raise BadSignature("no signing secret is configured on our side")
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, given = lower["webhook-id"], lower["webhook-signature"]
        sent_at = datetime.fromtimestamp(int(lower["webhook-timestamp"]), UTC)
        expected = sign(signing_secrets, message_id, sent_at, body)["webhook-signature"].split(" ")
    except KeyError as missing:
        raise BadSignature(f"the header {missing.args[0]} is missing") from missing
    except (ValueError, OverflowError, OSError) as wrong:
        raise BadSignature("webhook-timestamp must be whole Unix seconds, and the body UTF-8 text") from wrong
    if abs(now - sent_at) > TOLERANCE:
        raise BadSignature(f"webhook-timestamp is {sent_at.isoformat()}: more than {TOLERANCE} away from now")
    pairs = [(ours.encode(), theirs.encode()) for ours in expected for theirs in given.split(" ")]
    if not any([hmac.compare_digest(ours, theirs) for ours, theirs in pairs]):
        raise BadSignature("webhook-signature does not match the body and any secret of ours")
    return sent_at
