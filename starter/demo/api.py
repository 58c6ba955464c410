"""The demo's view of the public HTTP API: JSON in, JSON out, patient with a server that is busy.

Owns requests, retries and paging. Knows nothing of billing.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from uuid import uuid4

import httpx

PATIENCE_SECONDS = 60
"""How long one call is repeated while the server is unreachable or asks to come back (429, 503)."""

POLL_SECONDS = 0.1
"""Between two looks at something that is awaited."""

PAGE = 500

Json = dict[str, Any]
T = TypeVar("T")


class DemoError(Exception):
    """The story cannot go on; the message says what happened and what to do."""


class ApiError(DemoError):
    """The API refused; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One tenant's API. A repeated POST carries the same Idempotency-Key, so nothing is made twice."""

    def __init__(self, base_url: str, api_key: str, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=base_url.rstrip("/").removesuffix("/v1") + "/v1",
            headers={"x-api-key": api_key},
            timeout=30,
            transport=transport,
        )
        self._without_key = httpx.Client(timeout=30, transport=transport)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._without_key.close()

    def get(self, path: str, **params: str | int) -> Json:
        """The resource at `path`."""
        return self._json(self._patiently("GET", path, params=params))

    def post(self, path: str, body: Json) -> Json:
        """Creates or commands."""
        return self._json(self._patiently("POST", path, json=body))

    def put(self, path: str, body: Json) -> Json:
        """Sets the resource at `path`."""
        return self._json(self._patiently("PUT", path, json=body))

    def post_text(self, path: str, body: str) -> None:
        """Posts JSON that is text already."""
        self._patiently("POST", path, content=body.encode(), headers={"content-type": "application/json"})

    def delete(self, path: str) -> None:
        """Deletes the resource at `path`."""
        self._patiently("DELETE", path)

    def items(self, path: str, **params: str | int) -> Iterator[Json]:
        """All items of a list, page by page, oldest first."""
        offset = 0
        while True:
            page = self.get(path, **{"limit": PAGE, "offset": offset, "order": "asc", **params})
            items = page["items"]
            yield from items
            offset += len(items)
            if not items or offset >= page["pagination"]["total"]:
                return

    def find(self, path: str, field: str, value: str) -> Json | None:
        """The item of a list whose `field` is `value`, or None."""
        return next((item for item in self.items(path) if item.get(field) == value), None)

    def ensure(self, path: str, field: str, body: Json) -> Json:
        """What exists under the name `body[field]`, else what is created from `body`."""
        return self.find(path, field, body[field]) or self.post(path, body)

    def download(self, url: str) -> bytes:
        """What a signed URL leads to; the API key stays at home."""
        response = self._without_key.get(self._client.base_url.join(url))
        if response.status_code != 200:
            raise DemoError(f"GET {url} answered {response.status_code}, expected 200")
        return response.content

    def _patiently(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if method == "POST":
            headers["idempotency-key"] = str(uuid4())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self._client.request(method, path, headers=headers, **options)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"{method} {path}: the API at {self._client.base_url} is out of reach "
                        f"({error or type(error).__name__}); is it running?"
                    ) from error
                time.sleep(0.5)
                continue
            if response.status_code not in (429, 503) or time.monotonic() > deadline:
                return _checked(method, path, response)
            time.sleep(_seconds_to_wait(response))

    @staticmethod
    def _json(response: httpx.Response) -> Json:
        content: Json = response.json()
        return content


def _seconds_to_wait(response: httpx.Response) -> int:
    asked = response.headers.get("retry-after", "1")
    return max(1, min(5, int(asked))) if asked.isdigit() else 1


def _checked(method: str, path: str, response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        body = response.json()
        said = f"{body.get('message') or body.get('error')} {body.get('details') or ''}".strip()
    except (ValueError, AttributeError):
        said = response.text[:300]
    raise ApiError(f"{method} {path} answered {response.status_code}: {said}", response.status_code)


def poll(probe: Callable[[], T | None], seconds: int) -> T | None:
    """The first answer of `probe` that is not None, or None after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer is not None or time.monotonic() > deadline:
            return answer
        time.sleep(POLL_SECONDS)


def wait_for(what: str, probe: Callable[[], T | None], seconds: int) -> T:
    """The first answer of `probe` that is not None.

    Raises DemoError, naming `what`, after so many seconds.
    """
    answer = poll(probe, seconds)
    if answer is None:
        raise DemoError(f"{what}: still waiting after {seconds} seconds")
    return answer
