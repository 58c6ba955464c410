"""What the raw ingest routes ask of the API: who sends, and what time it is for a customer."""

import asyncio
import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from activities.ingestion.ports import IngestUnavailable
from models.database import Database
from models.queries.customer_clocks import frozen_times
from models.scope import Scope
from starter.api.authentication import Authenticator, BadKey, may
from starter.api.context import utc_now
from starter.api.errors import OUTAGE_RETRY_SECONDS, outage_of, unauthorized_body
from starter.ingest.ports import Refusal

PATH: Final = "/events"
CUSTOMER_SECONDS: Final = 10.0
"""A customer joins a test clock at creation only: what changes is one that is deleted and created anew."""

UNKNOWN_SECONDS: Final = 1.0
REMEMBERED_MAX: Final = 500_000
RENEWED: Final = 1000
"""Customers that a question takes along although it is not yet their turn, so that few are asked for alone."""


class IngestAuthentication:
    """The `Authenticate` port over API keys."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, headers: Mapping[str, str]) -> Scope | Refusal:
        """The environment of a key that may ingest."""
        try:
            caller = await self._authenticator.caller(headers)
        except BadKey as problem:
            return Refusal(401, "unauthorized", str(problem), body=unauthorized_body(str(problem)))
        except Exception as error:
            outage = outage_of(error)
            if outage is None:
                raise
            return Refusal(503, "service_unavailable", outage, None, OUTAGE_RETRY_SECONDS)
        if not may(caller.roles, "POST", PATH):
            roles = ", ".join(caller.roles)
            return Refusal(403, "permission_denied", f"an API key with the roles {roles} may not ingest events")
        return caller.scope


@dataclass(slots=True)
class _Question:
    """Customers of one environment whose clocks are asked for together."""

    names: set[str]
    answer: asyncio.Future[dict[str, datetime | None]]


@dataclass(slots=True)
class _Environment:
    """What is remembered of the customers of one environment."""

    scope: Scope
    real: dict[str, float] = field(default_factory=dict)
    """Customers that live in real time, and until when (monotonic seconds) that is taken for granted; by it."""
    unknown: dict[str, float] = field(default_factory=dict)
    """The same of names that are no customer's yet."""
    used: set[str] = field(default_factory=set)
    """Names that sent something since they were last looked up."""
    next: _Question | None = None
    asking: asyncio.Task[None] | None = None


class CustomerClocks:
    """The `ClocksOf` port. That a customer is on no test clock is remembered briefly; where a clock stands never is.

    Requests that ask at the same time share a query: while one is running, the next one gathers. Each query renews what
    is to be asked next, so that their number depends little on that of customers and requests.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._environments: dict[tuple[str, str], _Environment] = {}

    async def __call__(
        self, tenant_id: str, environment_id: str, external_customer_ids: Collection[str]
    ) -> Mapping[str, datetime]:
        """Each customer's now; the real time for customers without a test clock, and for unknown ones.

        Raises IngestUnavailable when Postgres does not answer.
        """
        environment = self._environments.get((tenant_id, environment_id))
        if environment is None:
            environment = self._environments[tenant_id, environment_id] = _Environment(Scope(tenant_id, environment_id))
        real, unknown, asked_at = environment.real, environment.unknown, time.monotonic()
        environment.used.update(external_customer_ids)
        asked = [
            name
            for name in external_customer_ids
            if real.get(name, 0.0) < asked_at and unknown.get(name, 0.0) < asked_at
        ]
        if not asked:
            return dict.fromkeys(external_customer_ids, utc_now())
        found = await self._ask(environment, asked)
        clocks = dict.fromkeys(external_customer_ids, utc_now())
        clocks |= {name: at for name in asked if (at := found.get(name)) is not None}
        return clocks

    async def _ask(self, environment: _Environment, names: Sequence[str]) -> dict[str, datetime | None]:
        question = environment.next
        if question is None:
            question = environment.next = _Question(set(), asyncio.get_running_loop().create_future())
        question.names.update(names)
        if environment.asking is None:
            environment.asking = asyncio.create_task(self._answer(environment), name="customers' clocks")
        await asyncio.wait([question.answer])  # a request that is given up must not take the answer from the others
        return question.answer.result()

    async def _answer(self, environment: _Environment) -> None:
        while question := environment.next:
            environment.next = None
            try:
                found = await self._look_up(environment, list(question.names))
            except Exception as error:
                problem = error
                if outage_of(error) is not None:
                    problem = IngestUnavailable("the customers' clocks cannot be read: Postgres does not answer")
                question.answer.set_exception(problem)
            else:
                question.answer.set_result(found)
        environment.asking = None

    async def _look_up(self, environment: _Environment, asked: Sequence[str]) -> dict[str, datetime | None]:
        real, unknown, used = environment.real, environment.unknown, environment.used
        names = list(dict.fromkeys([*asked, *_soon_to_ask(environment)]))
        used.difference_update(names)
        async with self._database.transaction(environment.scope) as session:
            found = await frozen_times(session, environment.scope, names)
        now = time.monotonic()
        for kept in (real, unknown, used):
            if len(kept) + len(names) > REMEMBERED_MAX:
                kept.clear()
        for name in names:
            real.pop(name, None)  # what comes back goes to the end: the order is that of the times
            unknown.pop(name, None)
            if name not in found:
                unknown[name] = now + UNKNOWN_SECONDS
            elif found[name] is None:
                real[name] = now + CUSTOMER_SECONDS
        return found


def _soon_to_ask(environment: _Environment) -> list[str]:
    """Customers whose time is nearly over and who still send; the others are forgotten."""
    real, used, now = environment.real, environment.used, time.monotonic()
    soon = now + CUSTOMER_SECONDS / 2
    first = itertools.takewhile(lambda one: one[1] < soon, itertools.islice(real.items(), RENEWED))
    renewed = []
    for name, until in list(first):
        if name in used and now < until + CUSTOMER_SECONDS:
            renewed.append(name)
        else:
            del real[name]
    return renewed
