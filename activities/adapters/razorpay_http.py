"""How Razorpay's library sends its requests: once, with one time limit, and with failures that say what they mean.

The library itself drops what Razorpay says about a failure (HTTP status, reason) and prints to the terminal; a session
of ours raises before it gets there. It blocks, so it runs in threads of its own.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import requests
from urllib3.exceptions import NewConnectionError

from activities.ports import ProviderError, ProviderRefused, ProviderUnavailable

Json = Mapping[str, Any]
MOST_AT_ONCE: Final = 32


class Refused(Exception):
    """Razorpay turned a request down (HTTP 4xx); what that means depends on the request."""

    def __init__(self, status: int, error: Json) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error

    @property
    def description(self) -> str:
        """What Razorpay says for people."""
        return str(self.error.get("description") or "no reason given")

    def as_port_error(self) -> ProviderRefused:
        """For a request that should have been right."""
        field = f" (field {self.error['field']})" if self.error.get("field") else ""
        return ProviderRefused(
            f"razorpay: HTTP {self.status}: {self.error.get('description', 'no reason given')}{field}"
        )


class _NotSent(Exception):
    """No connection: nothing has left."""


class _NoAnswer(Exception):
    """The request has left, and what came back says nothing about it."""


class _Once(requests.Session):
    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self.trust_env = False
        self._timeout = timeout_seconds

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The answer, if it is a JSON object with status 200."""
        kwargs |= {"timeout": self._timeout, "allow_redirects": False}
        try:
            answer = super().send(request, **kwargs)
            read = answer.json()
        except requests.exceptions.JSONDecodeError as broken:
            raise _NoAnswer(f"HTTP {answer.status_code} without JSON") from broken
        except requests.RequestException as failure:
            raise (_NotSent if _never_left(failure) else _NoAnswer)(repr(failure)) from failure
        if not isinstance(read, dict):
            raise _NoAnswer(f"HTTP {answer.status_code} without a JSON object")
        if not answer.ok:
            raise Refused(answer.status_code, read.get("error") or {})
        return answer


def _never_left(failure: requests.RequestException) -> bool:
    if isinstance(failure, requests.ConnectTimeout | requests.exceptions.SSLError | ValueError):
        return True
    cause = failure.args[0] if failure.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)


class Calls:
    """Calls the library's blocking methods in threads. `session` is what its client must be given."""

    def __init__(self, timeout_seconds: float) -> None:
        self.session: requests.Session = _Once(timeout_seconds)
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="razorpay")

    async def __call__(
        self, method: Callable[..., Any], *arguments: Any, lost: type[ProviderError] = ProviderUnavailable, **named: Any
    ) -> dict[str, Any]:
        """The object that Razorpay answers with.

        Raises `lost` when the request may have been acted upon, `ProviderUnavailable` and `ProviderRefused` as the port
        says, and `Refused` for what the caller has to judge.
        """
        loop = asyncio.get_running_loop()
        try:
            answer: dict[str, Any] = await loop.run_in_executor(self._threads, partial(method, *arguments, **named))
        except _NotSent as failure:
            raise ProviderUnavailable(f"razorpay: cannot be reached: {failure}") from failure
        except _NoAnswer as failure:
            raise lost(f"razorpay: no answer: {failure}") from failure
        except Refused as refused:
            if refused.status == 429:
                raise ProviderUnavailable(f"razorpay: HTTP 429: {refused.description}") from refused
            if refused.status >= 500 or refused.status == 409:
                # 409: a request with the same key is under way. 5xx: Razorpay or a bank does not know.
                raise lost(f"razorpay: HTTP {refused.status}: {refused.description}") from refused
            if refused.status in (401, 403):
                raise refused.as_port_error() from refused
            raise
        return answer

    async def aclose(self) -> None:
        """Close the connections; requests under way end by themselves, within the time limit."""
        self._threads.shutdown(wait=False)
        self.session.close()
