"""How Stripe's library sends its requests: over httpx, once, with one time limit; proxies of the machine are not used.

The library's own httpx client passes bodies in a way that httpx has deprecated, and follows proxy settings.
"""

from collections.abc import Mapping
from typing import Any, Final

import httpx
import stripe

NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""Causes that come before the first byte of the request has left: nothing can have been charged."""


class OnceOverHttp(stripe.HTTPClient):
    """`stripe.HTTPClient` for asynchronous requests. A failure is an APIConnectionError with httpx's error as cause."""

    name = "httpx"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(timeout=timeout_seconds, trust_env=False)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Part of the library's protocol: body, status and headers of the answer."""
        try:
            answer = await self._client.request(method, url, headers=headers, content=post_data)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise stripe.APIConnectionError(f"{failure!r}") from failure  # type: ignore[no-untyped-call]
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Close the connections."""
        await self._client.aclose()
