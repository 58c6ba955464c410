"""Steps that are repeated because a worker died after its transaction and before its answer: smallest cases."""

from datetime import timedelta

import pytest

from activities.adapters.clickhouse import connect_clickhouse
from activities.balance_alerts import BalanceAlerts
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.late_usage import LateUsage
from activities.states import InvoiceState
from activities.subscriptions import ClosePeriod, SubscriptionActivities
from activities.test_clocks import BeginAdvance, ClockActivities, StepClock
from activities.thresholds import Thresholds
from activities.usage_reader import UsageReader
from billing.errors import Conflict
from models.queries.invoices import list_drafts_of
from tests.faults.month import START
from tests.faults.story import DAILY
from tests.faults.tenant import DAY, Tenant, on_clock
from workflows.gate import TemporalGate


class DyingGate(TemporalGate):
    """A gate at which the first start of an invoice's workflow dies; later ones are noted."""

    def __init__(self) -> None:
        self.died = False
        self.started: list[str] = []

    async def start_invoice(self, state: InvoiceState, clock: object) -> None:
        """Dies once."""
        if not self.died:
            self.died = True
            raise ConnectionError("killed between the transaction and the start")
        self.started.append(state.invoice_id)


async def test_a_close_that_is_repeated_starts_the_invoice_it_drafted(tenant: Tenant) -> None:
    """Also when the next boundary has passed as well: the first invoice must not be left behind as a draft."""
    await tenant.start_clock(START)
    subscriber = on_clock("harbour", "UTC", START, "pm_card_succeeds", DAILY)
    await tenant.sign_up(subscriber)
    gate = DyingGate()
    clickhouse = await connect_clickhouse(tenant.stack.clickhouse.running.url)
    late = LateUsage(tenant.database, UsageReader(clickhouse), StoredBeforeAnswered())
    activities = SubscriptionActivities(tenant.database, gate, late)
    first_end = START + DAY
    command = ClosePeriod(tenant.scope, subscriber.subscription_id, boundary=first_end, clock=START + 3 * DAY)

    with pytest.raises(ConnectionError):
        await activities.close_period(command)
    state = await activities.close_period(command)
    await clickhouse.close()

    async with tenant.database.transaction(tenant.scope) as session:
        drafts = await list_drafts_of(session, subscriber.subscription_id)
    closed = [row.id for row in drafts if row.billing_reason == "SUBSCRIPTION_CYCLE"]
    assert len(closed) == 1
    assert closed[0] in gate.started
    assert state.next_action_at == first_end + timedelta(days=1)


async def test_an_advance_that_is_repeated_has_begun(tenant: Tenant) -> None:
    """Its first try was committed, and nobody heard of it: the clock is on its way, and must not stand for ever."""
    await tenant.start_clock(START)
    clickhouse = await connect_clickhouse(tenant.stack.clickhouse.running.url)
    usage = UsageReader(clickhouse)
    looks = (Thresholds(tenant.database, usage), BalanceAlerts(tenant.database, usage), usage)
    activities = ClockActivities(tenant.database, DyingGate(), StoredBeforeAnswered(), *looks)
    command = BeginAdvance(tenant.scope, tenant.clock_id, START + DAY)

    begun = await activities.begin(command)
    assert await activities.begin(command) == begun
    with pytest.raises(Conflict):
        await activities.begin(BeginAdvance(tenant.scope, tenant.clock_id, START + 2 * DAY))

    arrived = await activities.step(StepClock(tenant.scope, tenant.clock_id, START))
    await clickhouse.close()
    assert (arrived.status, arrived.frozen_time) == ("ready", START + DAY)


async def test_an_advance_whose_answer_was_lost_can_be_sent_again(tenant: Tenant) -> None:
    """On the way and after the arrival, whatever key it is sent under: it asks for where the clock is or goes."""
    await tenant.start_clock(START)
    path, body = f"/test_clocks/{tenant.clock_id}/advance", {"frozen_time": (START + DAY).isoformat()}
    await tenant.client.post(path, body)
    await tenant.client.post(path, body)
    await tenant.advance(START + DAY)
    await tenant.client.post(path, body)
    await tenant.advance(START + DAY)
