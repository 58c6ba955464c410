"""The receiver believes nobody without a signature, and remembers its secret."""

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
from standardwebhooks import Webhook

from starter.demo.webhooks import Receiver
from tests.demo.fake_api import SECRET


def deliver(receiver: Receiver, secret: str = SECRET, message_id: str = "msg_1") -> int:
    body = json.dumps({"event_type": "payment.success", "payment": {}})
    at = datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }
    return httpx.post(receiver.url, content=body, headers=headers).status_code


def test_a_genuine_delivery_counts_once(tmp_path: Path) -> None:
    with Receiver(tmp_path) as receiver:
        receiver.received.secret = SECRET
        assert [deliver(receiver), deliver(receiver), deliver(receiver, message_id="msg_2")] == [204, 204, 204]
        assert receiver.counts() == {"payment.success": 2}


def test_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    with Receiver(tmp_path) as receiver:
        receiver.received.secret = SECRET
        assert deliver(receiver, secret="whsec_bm90IHRoZSBzZWNyZXQ=") == 401
        assert httpx.post(receiver.url, content=b"{}").status_code == 401
        assert receiver.refused == 2
        assert receiver.counts() == {}


def test_port_secret_and_counts_outlive_the_process(tmp_path: Path) -> None:
    with Receiver(tmp_path) as receiver:
        receiver.received.secret = SECRET
        deliver(receiver)
        url = receiver.url
    with Receiver(tmp_path) as receiver:
        assert receiver.url == url
        assert deliver(receiver, message_id="msg_2") == 204
        assert receiver.counts() == {"payment.success": 2}
    assert (tmp_path / "webhooks.json").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_no_obstacle(tmp_path: Path) -> None:
    with Receiver(tmp_path) as first:
        first.received.secret = SECRET
        first._save()
        with Receiver(tmp_path) as second:
            assert second.url != first.url
            assert deliver(second) == 204
