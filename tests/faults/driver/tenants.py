"""The tenants of a run: each with its own way of billing, and a receiver that is told of everything by webhooks."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from standardwebhooks import Webhook

from activities.api_keys import bootstrap, create_api_key
from activities.settings import save_billing_settings
from models.database import Database
from models.scope import Scope
from starter.cli.api_client import Api
from tests.adapters.servers import Receiver
from tests.faults.driver.proxies import LOOPBACK, Proxy
from tests.faults.driver.stack import FaultStack
from tests.faults.driver.stories import Settings, settings_of_tenant


@dataclass
class Tenant:
    """One tenant. Its webhooks come by `proxy`."""

    scope: Scope
    api_key: str
    settings: Settings
    receiver: Receiver
    proxy: Proxy
    secret: str = ""
    _received: Counter[str] = field(default_factory=Counter)

    def received(self) -> Counter[str]:
        """Webhook id -> how often it came whole; raises for a signature that is not good, or is minutes old.

        To be asked every now and then, as a receiver looks at once.
        """
        while not self.receiver.received.empty():
            request = self.receiver.received.get()
            if len(request.body) == int(request.headers["content-length"]):  # else its sender was killed in the middle
                Webhook(self.secret).verify(request.body, request.headers)
                self._received[request.headers["webhook-id"]] += 1
        return self._received

    async def close(self) -> None:
        """Ends its receiver."""
        await self.proxy.close()
        self.receiver.close()


async def open_tenants(stack: FaultStack, database: Database, seed: str, count: int) -> list[Tenant]:
    """`count` tenants, their settings by the seed."""
    tenants = []
    for number in range(count):
        now = datetime.now(UTC)
        settings = settings_of_tenant(random.Random(f"{seed}/tenant/{number}"))
        async with database.system_transaction() as session:
            made = await bootstrap(session, f"Tenant {number}", "production", now)
            key = await create_api_key(session, made.scope, "faults", now, ("super_admin",))
        async with database.transaction(made.scope) as session:
            await save_billing_settings(session, made.scope, settings.part())
        receiver = Receiver()
        proxy = Proxy(receiver.port)
        tenant = Tenant(made.scope, key.api_key, settings, receiver, proxy)
        api_url = f"http://{LOOPBACK}:{stack.proxies['api'].port}"
        address = f"http://{LOOPBACK}:{await proxy.start()}"
        tenant.secret = await asyncio.to_thread(_endpoint, api_url, tenant.api_key, address)
        tenants.append(tenant)
    return tenants


def _endpoint(api_url: str, api_key: str, address: str) -> str:
    """Has everything told to `address`; the secret that signs it."""
    with Api(api_url, api_key) as api:
        return str(api.post("webhooks/endpoints", {"url": address})["secret"])
