"""The breaker before each payment provider: one that does not answer is left alone for a while, then asked once.

Owns when a call may be made. Whoever is turned away waits in its workflow (`workflows.perseverance`), so nothing is
lost; a call that somebody asks for by hand always goes through. One breaker a provider and worker process.
"""

import time
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final, TypeVar

import structlog
from prometheus_client import Counter, Gauge
from temporalio.exceptions import ApplicationError

from activities.options import PROVIDER_PAUSED
from activities.ports import OutcomeUnknown, ProviderError, ProviderUnavailable

FAILURES_TO_OPEN = 5
FIRST_PAUSE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 300.0
PROBE_SECONDS: Final = 30.0
"""A call that lets us know whether the provider is back; longer than any call may take."""
LONGEST_PROBLEM: Final = 300

log = structlog.get_logger()
paused = Gauge("durabill_provider_paused", "1 while a payment provider is left alone", ["provider"])
failures = Counter("durabill_provider_failures_total", "Calls that a payment provider did not answer", ["provider"])
Result = TypeVar("Result")


class Breaker:
    """Opens after several failures in a row; each pause is twice as long as the last, until a call is answered."""

    def __init__(self, provider: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._clock = clock
        self._failures = 0
        self._opens_at: float | None = None
        self._pause = 0.0
        self._problem = ""

    async def call(self, make: Callable[[], Awaitable[Result]], *, by_hand: bool = False) -> Result:
        """What the provider answers. Raises what it raises, and an ApplicationError while it is left alone."""
        left = 0.0 if by_hand else self._left()
        if left > 0:
            raise ApplicationError(
                f"{self._provider} is left alone for {left:.0f} s: {self._failures} calls in a row were not answered;"
                f" the last: {self._problem}",
                ceil(left),
                type=PROVIDER_PAUSED,
                non_retryable=True,
            )
        try:
            answer = await make()
        except ProviderUnavailable as problem:
            self._failed(str(problem)[:LONGEST_PROBLEM])
            raise
        except OutcomeUnknown:
            # It was reached, only its answer is lost: the look-up that comes next tells whether it is there.
            if self._opens_at is not None:
                self._answered()
            raise
        except ProviderError:
            self._answered()
            raise
        self._answered()
        return answer

    def _left(self) -> float:
        """Seconds until the next call may be made; 0 lets this one through, alone when the breaker was open."""
        if self._opens_at is None:
            return 0.0
        now = self._clock()
        if now < self._opens_at:
            return self._opens_at - now
        self._opens_at = now + PROBE_SECONDS
        return 0.0

    def _failed(self, problem: str) -> None:
        failures.labels(self._provider).inc()
        self._failures += 1
        self._problem = problem
        if self._failures < FAILURES_TO_OPEN:
            return
        self._pause = min(self._pause * 2 or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._opens_at = self._clock() + self._pause
        paused.labels(self._provider).set(1)
        log.warning("provider.paused", provider=self._provider, seconds=self._pause, problem=problem)

    def _answered(self) -> None:
        if self._opens_at is not None:
            log.info("provider.back", provider=self._provider)
        self._failures, self._opens_at, self._pause = 0, None, 0.0
        paused.labels(self._provider).set(0)


class Breakers:
    """One for each provider, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Breaker] = {}

    def of(self, provider: str) -> Breaker:
        """The provider's breaker."""
        return self._by_name.setdefault(provider, Breaker(provider))
