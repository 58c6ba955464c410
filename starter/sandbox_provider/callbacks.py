"""Sends the fake payment company's webhooks, signed, until somebody accepts them."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import structlog
from standardwebhooks import Webhook as Signer

from starter.sandbox_provider.books import Books, Webhook

LONGEST_WAIT = 60
"""Seconds between two tries, at most."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Where webhooks go: a URL in which `{tenant}` and `{environment}` are filled in from the charge's metadata."""

    url: str
    secret: str
    """`whsec_` and base64, shared with the receiver."""
    report_all: bool = False
    """Whether charges that were answered at once are reported as well."""


class Callbacks:
    """One loop; `wake()` after writing a webhook to the books, otherwise it sleeps until the next try is due."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._url = target.url
        self._signer = Signer(target.secret)
        self.report_all = target.report_all
        self._news = asyncio.Event()

    def url_for(self, metadata: dict[str, str]) -> str:
        """Where webhooks about a charge with that metadata go."""
        tenant, environment = metadata.get("tenant_id", "-"), metadata.get("environment_id", "-")
        return self._url.replace("{tenant}", tenant).replace("{environment}", environment)

    def wake(self) -> None:
        """There is something new to send."""
        self._news.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while True:
                self._news.clear()
                waiting = self._books.webhooks_to_send()
                for webhook in waiting:
                    if webhook.next_try <= time.time():
                        await self._send(client, webhook)
                await self._sleep()

    async def _sleep(self) -> None:
        waiting = self._books.webhooks_to_send()
        seconds = max(waiting[0].next_try - time.time(), 0) if waiting else None
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send(self, client: httpx.AsyncClient, webhook: Webhook) -> None:
        try:
            answer = await client.post(webhook.url, content=webhook.body.encode(), headers=self._headers(webhook))
            error = None if answer.is_success else f"HTTP {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = repr(failure)
        if error is None:
            self._books.webhook_delivered(webhook.id)
            return
        wait = min(2**webhook.tries, LONGEST_WAIT)
        log.warning("webhook_refused", webhook=webhook.id, url=webhook.url, error=error, next_try_in_seconds=wait)
        self._books.webhook_failed(webhook.id, error, int(time.time()) + wait)

    def _headers(self, webhook: Webhook) -> dict[str, str]:
        now = datetime.now(UTC).replace(microsecond=0)
        return {
            "content-type": "application/json",
            "webhook-id": webhook.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(webhook.id, now, webhook.body),
        }
