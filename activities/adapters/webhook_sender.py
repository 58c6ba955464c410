"""Posts webhooks to customers' URLs: once, to a public address, without following redirects.

Owns the connection. Signatures are made by `webhook_signature`, addresses judged by `webhook_address`, retries are
Temporal's.
"""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic

import httpx

from activities.adapters.webhook_address import NameUnknown, Target, resolve_url
from activities.ports import DeliveryResult, UrlRefused

TIMEOUT_SECONDS = 30
"""For the whole delivery, name lookup and answer included."""
LONGEST_TEXT = 2048
"""Bytes of the answer that are kept; the rest is not even read."""

DEFAULT_HEADERS = {"content-type": "application/json", "user-agent": "durabill-webhooks", "accept-encoding": "identity"}


class HttpWebhookSender:
    """`WebhookSender` over HTTP/1.1. `allow_private` opens `http` and private addresses: for development only."""

    def __init__(
        self,
        allow_private: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._timeout = timeout_seconds
        self._client = httpx.AsyncClient(
            verify=ssl_context or True,
            timeout=timeout_seconds,
            follow_redirects=False,
            # A proxy from the environment would connect in our place, to an address that nobody has judged.
            trust_env=False,
            # Connections are kept by address, and one address may serve many hosts: never reuse one.
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        """See `WebhookSender.send`."""
        started = monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                answer, text = await self._post(await resolve_url(url, self._allow_private), headers, body)
        except (UrlRefused, NameUnknown) as refused:
            return DeliveryResult(None, str(refused), _since(started))
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryResult(None, f"no answer within {self._timeout:g} s", _since(started))
        except httpx.HTTPError as failure:
            return DeliveryResult(None, f"{type(failure).__name__}: {failure}", _since(started))
        error = None if answer.is_success else f"HTTP {answer.status_code}"
        return DeliveryResult(answer.status_code, error, _since(started), text, _retry_after(answer))

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> tuple[httpx.Response, str]:
        """Try the addresses in their order until one accepts the connection."""
        failure: httpx.TransportError | None = None
        for address in target.addresses:
            try:
                return await self._post_to(address, target, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as refused:
                failure = refused
        raise failure or httpx.ConnectError(f"{target.host} has no address")

    async def _post_to(
        self, address: str, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[httpx.Response, str]:
        # The URL names the address that was judged; Host and SNI (and with it the certificate) still name the host.
        request = self._client.build_request(
            "POST",
            target.url.copy_with(host=address),
            content=body,
            headers={**DEFAULT_HEADERS, **headers, "host": target.url.netloc.decode()},
            extensions={"sni_hostname": target.host.strip("[]")},
        )
        answer = await self._client.send(request, stream=True)
        try:
            return answer, await _beginning(answer)
        finally:
            await answer.aclose()


async def _beginning(answer: httpx.Response) -> str:
    """The first bytes of the answer, as they came."""
    kept = b""
    async for part in answer.aiter_raw():
        kept += part
        if len(kept) >= LONGEST_TEXT:
            break
    # PostgreSQL cannot store a NUL in text.
    return kept[:LONGEST_TEXT].decode(errors="replace").replace("\x00", "\ufffd")


def _retry_after(answer: httpx.Response) -> int | None:
    """`Retry-After` in seconds; it may be a number or a date. What cannot be read is as good as absent."""
    value = answer.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return int(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(int((moment - datetime.now(UTC)).total_seconds()), 0)


def _since(started: float) -> int:
    """Whole milliseconds."""
    return int((monotonic() - started) * 1000)
