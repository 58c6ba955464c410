"""Deliveries and endpoints in stored state: who signs during a rotation, what an answer does to an endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.bookkeeping import new_columns
from activities.outbox import emit
from activities.ports import DeliveryResult, UrlRefused
from activities.webhook_endpoints import (
    NewWebhookEndpoint,
    WebhookEndpointChange,
    create_webhook_endpoint,
    rotate_webhook_secret,
    update_webhook_endpoint,
)
from activities.webhooks import DeliverWebhook, WebhookActivities
from billing.errors import Conflict
from models.database import Database, Scope
from models.ids import new_id
from models.tables import WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow

HOUR = timedelta(hours=1)


@dataclass
class Receiver:
    """The other end of the line: answers as told, keeps what it was sent."""

    answers: list[DeliveryResult | UrlRefused]
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        self.got.append((headers, body))
        answer = self.answers.pop(0)
        if isinstance(answer, UrlRefused):
            raise answer
        return answer


def answer(status: int, retry_after: int | None = None) -> DeliveryResult:
    """As the HTTP client reports it."""
    error = None if status < 300 else f"HTTP {status}"
    return DeliveryResult(status, error, 5, "", retry_after)


@dataclass
class Post:
    """One endpoint and one event on its way to it."""

    database: Database
    scope: Scope
    endpoint_id: str
    delivery_id: str

    async def deliver(self, receiver: Receiver) -> str:
        """One attempt."""
        deliver = WebhookActivities(self.database, receiver).deliver
        return await ActivityEnvironment().run(deliver, DeliverWebhook(self.scope, self.delivery_id))

    async def endpoint(self) -> WebhookEndpointRow:
        """The endpoint as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await session.get_one(WebhookEndpointRow, self.endpoint_id)

    async def delivery(self) -> WebhookDeliveryRow:
        """The delivery as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await session.get_one(WebhookDeliveryRow, self.delivery_id)

    async def rotate(self, now: datetime, overlap: timedelta = HOUR) -> WebhookEndpointRow:
        """A new secret."""
        async with self.database.transaction(self.scope) as session:
            return await rotate_webhook_secret(session, self.scope, self.endpoint_id, overlap, now)


@pytest.fixture
async def post(database: Database, scope: Scope) -> Post:
    """An event that waits to be delivered to the tenant's endpoint."""
    async with database.transaction(scope) as session:
        endpoint = await create_webhook_endpoint(session, scope, NewWebhookEndpoint("https://example.com/hook"))
        event = await emit(session, scope, "payment.success", "pay_1", {"payment": {"id": "pay_1"}}, datetime.now(UTC))
        delivery = WebhookDeliveryRow(
            id=new_id("wd"), **new_columns(scope), event_id=event, event_type="payment.success", endpoint_id=endpoint.id
        )
        session.add(delivery)
    return Post(database, scope, endpoint.id, delivery.id)


def _verifies(secret: str, sent: tuple[Mapping[str, str], bytes]) -> bool:
    headers, body = sent
    try:
        standardwebhooks.Webhook(secret).verify(body.decode(), dict(headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


async def test_both_secrets_sign_while_a_rotation_lasts(post: Post) -> None:
    receiver = Receiver([answer(500), answer(500), answer(500)])
    old = (await post.endpoint()).secret
    await _fails(post, receiver)
    new = (await post.rotate(datetime.now(UTC))).secret
    assert new != old
    await _fails(post, receiver)
    async with post.database.transaction(post.scope) as session:
        endpoint = await session.get_one(WebhookEndpointRow, post.endpoint_id)
        endpoint.previous_secret_expires_at = datetime.now(UTC)
    await _fails(post, receiver)
    verified = [(_verifies(old, sent), _verifies(new, sent)) for sent in receiver.got]
    assert verified == [(True, False), (True, True), (False, True)]
    assert [len(headers["webhook-signature"].split()) for headers, _ in receiver.got] == [1, 2, 1]


async def _fails(post: Post, receiver: Receiver) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await post.deliver(receiver)
    assert not raised.value.non_retryable
    return raised.value


async def test_a_rotation_does_not_cut_another_short(post: Post) -> None:
    now = datetime.now(UTC)
    first = await post.rotate(now)
    with pytest.raises(Conflict, match="the secret is being rotated until"):
        await post.rotate(now + HOUR / 2)
    assert (await post.endpoint()).secret == first.secret
    second = await post.rotate(now + HOUR)
    assert second.previous_secret == first.secret


async def test_a_delivery_is_the_payload_of_its_event_and_is_noted(post: Post) -> None:
    receiver = Receiver([answer(204)])
    assert await post.deliver(receiver) == "delivered"
    row = await post.delivery()
    async with post.database.transaction(post.scope) as session:
        event = await session.get_one(WebhookEventRow, row.event_id)
    ((headers, body),) = receiver.got
    assert (headers["webhook-id"], body) == (event.id, event.payload.encode())
    assert (row.delivery_status, row.attempts, row.last_status_code, row.last_error) == ("delivered", 1, 204, None)
    assert row.delivered_at is not None


async def test_a_failure_is_noted_and_tried_again_when_the_receiver_asks(post: Post) -> None:
    receiver = Receiver([answer(503, retry_after=120), UrlRefused("10.0.0.1 is not public"), answer(200)])
    assert (await _fails(post, receiver)).next_retry_delay == timedelta(seconds=120)
    row = await post.delivery()
    assert (row.delivery_status, row.attempts, row.last_status_code, row.last_error) == ("pending", 1, 503, "HTTP 503")
    await _fails(post, receiver)
    assert (await post.delivery()).last_error == "10.0.0.1 is not public"
    assert await post.deliver(receiver) == "delivered"
    assert (await post.delivery()).attempts == 3


async def test_gone_disables_the_endpoint_until_somebody_enables_it(post: Post) -> None:
    receiver = Receiver([answer(410), answer(200)])
    assert await post.deliver(receiver) == "failed"
    endpoint = await post.endpoint()
    assert (endpoint.endpoint_status, endpoint.disabled_reason) == ("disabled", "the receiver answered 410 Gone")
    assert (await post.delivery()).delivery_status == "failed"

    assert await post.deliver(receiver) == "failed"
    assert (len(receiver.got), (await post.delivery()).last_error) == (1, "the endpoint is disabled")

    async with post.database.transaction(post.scope) as session:
        change = WebhookEndpointChange(enabled=True)
        await update_webhook_endpoint(session, post.scope, post.endpoint_id, change, datetime.now(UTC))
    assert await post.deliver(receiver) == "delivered"
    assert (await post.endpoint()).disabled_reason is None
