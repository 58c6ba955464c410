"""The HTTP API as the commands use it: one call at a time, errors as one clear sentence."""

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from starter.cli.shared import CREDENTIALS, CliError, read_settings

if TYPE_CHECKING:
    import httpx

PAGE = 200
TIMEOUT_SECONDS = 60
BUSY = frozenset({429, 503})
BUSY_TRIES = 5
LONGEST_PAUSE_SECONDS = 30
Json = dict[str, Any]


class ApiError(CliError):
    """The API refused: its message, and its status for those who decide by it."""

    def __init__(self, message: str, status: int, body: Any, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Api:
    """A connection to the API; use it as a context manager."""

    def __init__(self, url: str, api_key: str) -> None:
        import httpx

        self.url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx.Client(
            base_url=f"{self.url}/v1/",
            headers={"x-api-key": api_key},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            verify=not self.url.startswith("http://"),  # reading all certificates takes longer than most calls
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET; query parameters that are None are left out."""
        return self._json(self.send("GET", path, params={k: v for k, v in query.items() if v is not None}))

    def post(self, path: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Any:
        """POST of a JSON body; fields that are None are left out.

        With an `idempotency_key` the call is repeated while the API answers 503: it then acts once at most.
        """
        sent = {name: value for name, value in body.items() if value is not None}
        if idempotency_key is None:
            return self._json(self.send("POST", path, json=sent))
        headers = {"idempotency-key": idempotency_key}
        return self._json(self._patiently("POST", path, json=sent, headers=headers))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """PUT of a JSON body."""
        return self._json(self.send("PUT", path, json=body))

    def post_bytes(self, path: str, body: bytes) -> Any:
        """POST of JSON that is written already and may be repeated while the API is busy."""
        return self._json(self._patiently("POST", path, content=body, headers={"content-type": "application/json"}))

    def items(self, path: str, limit: int, **query: Any) -> list[Json]:
        """Up to `limit` items of a list, page by page."""
        found: list[Json] = []
        while len(found) < limit:
            page = self.get(path, limit=min(PAGE, limit - len(found)), offset=len(found), **query)
            found += page["items"]
            if not page["items"] or len(found) >= page["pagination"]["total"]:
                break
        return found

    def every(self, path: str, **query: Any) -> Iterator[Json]:
        """All items of a list, page by page."""
        offset = 0
        while True:
            page = self.get(path, limit=PAGE, offset=offset, **query)
            yield from page["items"]
            offset += len(page["items"])
            if not page["items"] or offset >= page["pagination"]["total"]:
                return

    def send(self, method: str, path: str, **arguments: Any) -> "httpx.Response":
        """One request; raises ApiError for every answer that is not 2xx, CliError when there is none."""
        import httpx

        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TimeoutException:
            raise CliError(f"The API at {self.url} did not answer within {TIMEOUT_SECONDS} seconds.") from None
        except httpx.HTTPError as problem:
            raise CliError(
                f"The API at {self.url} cannot be reached ({problem}). Start one with `durabill dev` or `durabill api`,"
                " or set DURABILL_URL."
            ) from None
        if not answer.is_success:
            raise _refusal(answer)
        return answer

    def _patiently(self, method: str, path: str, **arguments: Any) -> "httpx.Response":
        for _ in range(BUSY_TRIES):
            try:
                return self.send(method, path, **arguments)
            except ApiError as refusal:
                if refusal.status not in BUSY:
                    raise
                pause = 1 if refusal.retry_after is None else refusal.retry_after
                time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        return self.send(method, path, **arguments)

    def _json(self, answer: "httpx.Response") -> Any:
        try:
            return answer.json() if answer.content else {}
        except ValueError:
            raise CliError(f"{self.url} does not answer like durabill's API. Check DURABILL_URL.") from None


def connect(url: str | None = None) -> Api:
    """The API of the settings, else of the demo beside which the command runs; raises CliError without a key.

    `url` names another address for the key of the settings; the demo's key is for the demo alone.
    """
    settings = read_settings()
    if settings.api_key is not None:
        return Api(url or settings.url, settings.api_key.get_secret_value())
    remembered = _remembered()
    if remembered is None or url not in (None, remembered["url"]):
        raise CliError("DURABILL_API_KEY is not set. `durabill keys create` makes a key.")
    chosen = settings.url if url is None and "url" in settings.model_fields_set else remembered["url"]
    return Api(chosen, remembered["api_key"])


def segment(value: str) -> str:
    """A value as one part of a path."""
    return quote(value, safe="")


def _remembered() -> dict[str, str] | None:
    try:
        found = json.loads(CREDENTIALS.read_text(encoding="utf-8"))
        return {"url": str(found["url"]), "api_key": str(found["api_key"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise CliError(f"{CREDENTIALS} is damaged: delete it, or set DURABILL_API_KEY.") from None


def _refusal(answer: "httpx.Response") -> ApiError:
    try:
        body = answer.json()
    except ValueError:
        body = {"message": answer.text[:500]}
    message = str(body.get("message") or body.get("error") or "") if isinstance(body, dict) else str(body)
    if answer.status_code == 401:
        message = f"{message or 'Unauthorized'}: DURABILL_API_KEY is not a valid key of this API."
    seconds = answer.headers.get("retry-after", "")
    return ApiError(
        message or f"HTTP {answer.status_code}", answer.status_code, body, int(seconds) if seconds.isdigit() else None
    )
