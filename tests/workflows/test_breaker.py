"""A provider that does not answer is left alone, which operators see; nothing is lost, nobody has to do anything."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from temporalio.exceptions import ApplicationError

from activities import breaker
from activities.breaker import Breaker
from activities.ports import OutcomeUnknown, ProviderRefused, ProviderUnavailable
from tests.world import World, until


class Company:
    """A payment company that answers, or not."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.calls = 0

    async def answer(self) -> str:
        self.calls += 1
        if self.problem is not None:
            raise self.problem
        return "charged"


async def fails(call: Callable[[], Awaitable[str]], error: type[Exception]) -> None:
    with pytest.raises(error):
        await call()


async def test_a_company_that_does_not_answer_is_asked_less_and_less() -> None:
    now, company = [0.0], Company()
    guard = Breaker("acme", lambda: now[0])

    async def ask() -> str:
        return await guard.call(company.answer)

    company.problem = ProviderUnavailable("acme: cannot be reached")
    for _ in range(5):
        await fails(ask, ProviderUnavailable)
    with pytest.raises(ApplicationError, match=r"acme is left alone for 15 s: 5 calls .* the last: acme: cannot be"):
        await ask()
    assert company.calls == 5
    assert REGISTRY.get_sample_value("durabill_provider_paused", {"provider": "acme"}) == 1

    now[0] = 15.0
    await fails(ask, ProviderUnavailable)  # asked once to see whether it is back
    with pytest.raises(ApplicationError, match="left alone for 30 s"):  # twice as long as before
        await ask()
    assert company.calls == 6

    company.problem = None
    assert await guard.call(company.answer, by_hand=True) == "charged"
    assert await ask() == "charged"
    assert REGISTRY.get_sample_value("durabill_provider_paused", {"provider": "acme"}) == 0


async def test_only_one_call_finds_out_whether_it_is_back() -> None:
    now, company = [0.0], Company()
    guard = Breaker("other", lambda: now[0])
    company.problem = ProviderUnavailable("other: cannot be reached")
    for _ in range(5):
        await fails(lambda: guard.call(company.answer), ProviderUnavailable)
    now[0] = 15.0

    async def slow() -> str:
        with pytest.raises(ApplicationError, match="left alone for 30 s"):  # while this one is at work
            await guard.call(company.answer)
        return "charged"

    assert await guard.call(slow) == "charged"


async def test_a_lost_answer_does_not_close_the_door() -> None:
    now, company = [0.0], Company()
    guard = Breaker("fourth", lambda: now[0])
    company.problem = OutcomeUnknown("fourth: no answer")
    for _ in range(20):
        await fails(lambda: guard.call(company.answer), OutcomeUnknown)
    company.problem = ProviderUnavailable("fourth: cannot be reached")
    for _ in range(5):
        await fails(lambda: guard.call(company.answer), ProviderUnavailable)
    now[0], company.problem = 15.0, OutcomeUnknown("fourth: no answer")
    await fails(lambda: guard.call(company.answer), OutcomeUnknown)  # it is there again, though its answer is lost
    company.problem = None
    assert await guard.call(company.answer) == "charged"


async def test_a_refusal_is_an_answer() -> None:
    company = Company()
    guard = Breaker("third")
    company.problem = ProviderRefused("third: a key used again")
    for _ in range(20):
        await fails(lambda: guard.call(company.answer), ProviderRefused)


async def test_an_invoice_waits_out_an_outage_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FAILURES_TO_OPEN", 2)
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 6.0)  # the next try is 2 s after that opens it
    world.provider.kill()
    try:
        await world.sell()
        subscription = await world.subscribe(await world.customer("acme"), datetime.now(UTC))
        (invoice,) = await world.invoices(subscription.id)
        await world.until_started(subscription.id)

        async def says_so() -> bool:
            if not await world.is_running(world.invoice_workflow(invoice.id)):
                return False
            details = await world.invoice_workflow(invoice.id).query("__temporal_workflow_metadata")
            return "sandbox is left alone for" in str(details)

        await until(says_so)
        described = await world.invoice_workflow(invoice.id).describe()
        assert described.search_attributes["NeedsAttention"] == [False]
    finally:
        world.provider.start()
        await world.provider.ready()

    assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
    assert len(await world.charges(invoice.id)) == 1
