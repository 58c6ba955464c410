"""A client of the public API as a good SDK is one: it repeats what was not answered, under the same Idempotency-Key."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

Json = dict[str, Any]
PATIENCE_SECONDS = 90
PAUSE_SECONDS = 0.1


class Refused(Exception):
    """The API refused for good."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass
class Client:
    """One tenant's API. Counts how often it had to repeat, and how often the server knew the answer already."""

    url: str
    api_key: str
    repeated: int = 0
    replayed: int = 0
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(base_url=f"{self.url}/v1", headers={"x-api-key": self.api_key}, timeout=30)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def get(self, path: str) -> Json:
        """The resource at `path`."""
        return await self._until_answered("GET", path, {})

    async def post(self, path: str, body: Json, key: str | None = None) -> Json:
        """Creates or commands; `key` is the Idempotency-Key of all tries."""
        headers = {"idempotency-key": key or str(uuid4())}
        return await self._until_answered("POST", path, {"json": body, "headers": headers})

    async def send_once(self, path: str, body: Json, key: str) -> None:
        """One try; whether and what the server answered is left open."""
        try:
            await self._http.post(path, json=body, headers={"idempotency-key": key})
        except httpx.TransportError:
            self.repeated += 1

    async def _until_answered(self, method: str, path: str, options: Json) -> Json:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await self._http.request(method, path, **options)
                except httpx.TransportError:
                    answer = None
                if answer is not None and answer.is_success:
                    self.replayed += "idempotent-replayed" in answer.headers
                    body: Json = answer.json()
                    return body
                if answer is not None and answer.status_code not in (429, 503) and "retry-after" not in answer.headers:
                    raise Refused(answer.status_code, f"{method} {path}: {answer.text}")
                self.repeated += 1
                await asyncio.sleep(PAUSE_SECONDS)
