"""A tenant under fire: everything it does goes through the public API, and what it posted is remembered."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import text

from activities.api_keys import bootstrap, create_api_key
from activities.settings import save_billing_settings
from models.database import Database
from models.scope import Scope
from tests.adapters.servers import Receiver
from tests.faults.client import Client, Json, Refused
from tests.faults.stack import Stack
from tests.faults.story import CALLS, DAILY, GRACE_SECONDS, OFFERS, TAX, Event, Offer, Subscriber, calls

DAY = timedelta(days=1)
DUPLICATES = 3
CLOCK_SECONDS = 900
"""One advance may live through all the kills of a long run."""

_PROGRESS = text(
    "SELECT (SELECT count(finalized_at) + count(document_key) FROM invoices)"
    " + (SELECT count(settled_at) FROM payment_attempts) + (SELECT count(delivered_at) FROM webhook_deliveries)"
)


@dataclass
class Tenant:
    """One tenant, its catalogue, its webhook receiver and its subscribers."""

    stack: Stack
    client: Client
    scope: Scope
    database: Database
    receiver: Receiver
    endpoint_secret: str = ""
    clock_id: str = ""
    plans: dict[str, str] = field(default_factory=dict)
    seat_prices: dict[str, str] = field(default_factory=dict)
    subscribers: list[Subscriber] = field(default_factory=list)
    posted: int = 0

    async def close(self) -> None:
        """Ends what the tenant has open."""
        self.receiver.close()
        await self.client.close()
        await self.database.close()

    async def sell(self) -> None:
        """An endpoint that is told of everything, a tax rate, a meter, a monthly and a daily plan."""
        endpoint = await self.client.post("/webhooks/endpoints", {"url": self.receiver.url})
        self.endpoint_secret = endpoint["secret"]
        await self.client.post("/taxes/rates", TAX)
        meter_id = (await self.client.post("/features", CALLS))["meter_id"]
        for offer in OFFERS:
            plan = await self.client.post("/plans", {"name": offer.name, "lookup_key": offer.name})
            self.plans[offer.name] = plan["id"]
            seat, talk = offer.price_bodies(plan["id"], meter_id)
            self.seat_prices[offer.name] = (await self.client.post("/prices", seat))["id"]
            await self.client.post("/prices", talk)

    async def start_clock(self, at: datetime) -> None:
        """A test clock that stands at `at`."""
        clock = await self.client.post("/test_clocks", {"name": f"clock {uuid4()}", "frozen_time": at.isoformat()})
        self.clock_id = clock["id"]

    async def sign_up(self, subscriber: Subscriber, events: list[Event] | None = None) -> None:
        """The customer with its usage so far, then its subscription."""
        await self.enroll(subscriber)
        await self.post(subscriber, events or [])
        created = await self.client.post("/subscriptions", self.subscription_body(subscriber))
        subscriber.subscription_id = created["id"]

    async def enroll(self, subscriber: Subscriber) -> None:
        """The customer, without a subscription."""
        await self.client.post("/customers", self._customer_body(subscriber))
        self.subscribers.append(subscriber)

    async def sign_up_now(self, chance: random.Random, name: str, seconds: int, card: str) -> None:
        """A customer on real time: two days behind, and with a boundary of its daily plan so many seconds ahead."""
        boundary = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        subscriber = Subscriber(name, "Asia/Kolkata", boundary - 3 * DAY, chance.randint(1, 9), card, DAILY, False)
        await self.sign_up(subscriber, calls(chance, name, subscriber.start, boundary, 30))

    async def post(self, subscriber: Subscriber, events: list[Event]) -> None:
        """Posts events until they are accepted; some come a second time with other figures, which must not count."""
        if not events:
            return
        again = [Event(event.id, event.at, event.seconds + 1) for event in events[:DUPLICATES]]
        for batch in (events, again):
            await self.client.post("/events/bulk", {"events": [event.body(subscriber.external_id) for event in batch]})
            self.posted += len(batch)
        subscriber.accepted |= {event.id: event for event in events}

    async def advance(self, to: datetime) -> None:
        """Moves the clock and waits until everybody has caught up."""
        async with asyncio.timeout(CLOCK_SECONDS):
            while True:
                clock = await self.clock()
                assert clock["status"] in ("ready", "advancing"), clock
                if clock["status"] == "ready":
                    if datetime.fromisoformat(clock["frozen_time"]) >= to:
                        return
                    await self._set_going(to)
                await asyncio.sleep(0.1)

    async def clock(self) -> Json:
        """The test clock as the API shows it."""
        return await self.client.get(f"/test_clocks/{self.clock_id}")

    async def now(self) -> datetime:
        """Where the test clock stands."""
        return datetime.fromisoformat((await self.clock())["frozen_time"])

    async def progress(self) -> int:
        """Invoices finalized, documents made, attempts settled, webhooks delivered: work that only workers do."""
        async with self.database.transaction(self.scope) as session:
            return int((await session.execute(_PROGRESS)).scalar_one())

    def subscription_body(self, subscriber: Subscriber) -> Json:
        """What POST /v1/subscriptions takes."""
        offer = subscriber.offer
        return {
            "external_customer_id": subscriber.external_id,
            "plan_id": self.plans[offer.name],
            "currency": offer.currency,
            "billing_period": offer.period.value,
            "billing_period_count": 1,
            "billing_cycle": "anniversary",
            "start_date": subscriber.start.isoformat(),
            "override_line_items": [{"price_id": self.seat_prices[offer.name], "quantity": str(subscriber.seats)}],
            "gateway_payment_method_id": subscriber.card,
        }

    def _customer_body(self, subscriber: Subscriber) -> Json:
        rate = {"tax_rate_code": "gst18", "currency": subscriber.offer.currency, "auto_apply": True}
        clock = {"test_clock_id": self.clock_id} if subscriber.on_clock else {}
        return {
            "external_id": subscriber.external_id,
            "name": subscriber.external_id,
            "timezone": subscriber.zone,
            "tax_rate_overrides": [rate],
            **clock,
        }

    async def _set_going(self, to: datetime) -> None:
        try:
            await self.client.post(f"/test_clocks/{self.clock_id}/advance", {"frozen_time": to.isoformat()})
        except Refused as refused:
            # Its answer was lost, and it is on its way, or has arrived: the clock itself says so next.
            if refused.status not in (400, 409):
                raise


async def open_tenant(stack: Stack) -> Tenant:
    """A new tenant with a key for everything and its catalogue."""
    database = Database(stack.postgres.running.url, pool_size=3)
    now = datetime.now(UTC)
    async with database.system_transaction() as session:
        made = await bootstrap(session, f"Tenant {uuid4()}", "production", now)
        key = await create_api_key(session, made.scope, "faults", now, ("super_admin",))
    async with database.transaction(made.scope) as session:
        await save_billing_settings(session, made.scope, {"finalization_delay_seconds": GRACE_SECONDS})
    tenant = Tenant(stack, Client(stack.api_url, key.api_key), made.scope, database, Receiver())
    await tenant.sell()
    return tenant


def on_clock(name: str, zone: str, start: datetime, card: str, offer: Offer, seats: int = 3) -> Subscriber:
    """A customer whose time is the test clock's."""
    return Subscriber(name, zone, start, seats, card, offer, True)
