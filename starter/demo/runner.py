"""Plays the story through the public HTTP API, and goes on from wherever an earlier run stood.

Owns the order of things. Everything is looked up by its name before it is made, so a second run makes nothing twice.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from starter.demo import story
from starter.demo.api import Api, DemoError, Json, poll
from starter.demo.clock import Clock
from starter.demo.compare import Difference, compare
from starter.demo.invoices import golden_invoices, read_invoices, save_pdfs
from starter.demo.usage import Usage
from starter.demo.webhooks import Receiver

WEBHOOK_SECONDS = 30
"""How long the last webhooks may take to arrive; whatever is later is being retried and is not waited for."""


class Watcher(Protocol):
    """Who shows the progress."""

    def step(self, text: str) -> None:
        """A new thing begins."""

    def clock(self, now: datetime) -> None:
        """The test clock stands at `now`."""

    def events(self, posted: int, total: int) -> None:
        """So many events are posted."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What exists before the first month: the plan's id, price lookup key -> id, customer external id -> id, clock."""

    plan_id: str
    prices: dict[str, str]
    customers: dict[str, str]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the story came to. No webhook is expected by an endpoint that was made when all was over."""

    invoices: list[Json]
    differences: list[Difference]
    pdfs: list[Path]
    webhooks: dict[str, int]
    webhooks_refused: int
    webhooks_expected: bool
    events: int


def play(api: Api, state_folder: Path, watcher: Watcher) -> Outcome:
    """The whole story, from the first tax rate to the comparison with the golden file."""
    with Receiver(state_folder) as receiver:
        setting = set_up(api, watcher)
        over = setting.clock.now >= story.CLOCK_END
        webhooks_expected = receiver.subscribe(api) or not over
        usage = Usage.from_file()
        live(api, setting, usage, watcher)
        watcher.step("Reading the invoices back")
        external_ids = {customer_id: external_id for external_id, customer_id in setting.customers.items()}
        lookup_keys = {price_id: lookup_key for lookup_key, price_id in setting.prices.items()}
        invoices = read_invoices(api, external_ids, lookup_keys)
        differences = compare(golden_invoices(), invoices)
        pdfs = []
        if not differences:
            watcher.step("Fetching the PDFs")
            pdfs = save_pdfs(api, invoices, state_folder / "invoices")
        if webhooks_expected and not differences:
            watcher.step("Waiting for the last webhooks")
            wait_for_webhooks(receiver, len(invoices))
        webhooks = dict(receiver.counts())
        return Outcome(invoices, differences, pdfs, webhooks, receiver.refused, webhooks_expected, len(usage))


def set_up(api: Api, watcher: Watcher) -> Setting:
    """Seller, tax rate, meters, plan, prices, clock and customers, each only if it is not there yet."""
    watcher.step("Catalogue: tax rate, meters, plan, prices")
    api.put("/settings/billing", story.SETTINGS)
    api.ensure("/taxes/rates", "code", story.TAX_RATE)
    seconds = api.ensure("/features", "lookup_key", story.CALL_SECONDS)
    calls = api.ensure("/features", "lookup_key", story.PREMIUM_CALLS)
    plan = api.ensure("/plans", "lookup_key", story.PLAN)
    bodies = story.prices(plan["id"], seconds["meter_id"], calls["meter_id"])
    prices = {body["lookup_key"]: api.ensure("/prices", "lookup_key", body)["id"] for body in bodies}
    watcher.step("Test clock and customers")
    clock = Clock(api)
    customers = [api.ensure("/customers", "external_id", customer.body(clock.id)) for customer in story.CUSTOMERS]
    check_clock(clock, customers)
    return Setting(plan["id"], prices, {customer["external_id"]: customer["id"] for customer in customers}, clock)


def check_clock(clock: Clock, customers: list[Json]) -> None:
    """Refuses customers that live by another clock: no advance of ours would ever reach them."""
    for customer in customers:
        if customer.get("test_clock_id") != clock.id:
            raise DemoError(
                f"customer {customer['external_id']} has test_clock_id {customer.get('test_clock_id')}, "
                f"expected {clock.id}; play the demo in a tenant without a customer of that name"
            )


def live(api: Api, setting: Setting, usage: Usage, watcher: Watcher) -> None:
    """Subscribes, posts usage and advances the clock, stop by stop, to the end of the story."""
    watcher.step("Twelve months")
    clock = setting.clock
    usage.resume_at(clock.now)
    watcher.clock(clock.now)
    while clock.now < story.CLOCK_END:
        subscribe_who_starts(api, setting)
        usage.post_until(api, clock.now + story.UPLOAD_AHEAD, lambda posted: watcher.events(posted, len(usage)))
        clock.advance(story.next_stop(clock.now, period_ends(api, setting)))
        watcher.clock(clock.now)
    watcher.events(len(usage), len(usage))


def subscriptions(api: Api, setting: Setting) -> list[Json]:
    """The subscriptions of the story's customers."""
    ids = set(setting.customers.values())
    return [subscription for subscription in api.items("/subscriptions") if subscription["customer_id"] in ids]


def subscribe_who_starts(api: Api, setting: Setting) -> None:
    """Creates the subscription of each customer whose start has come, in the order of their starts."""
    due = [customer for customer in story.CUSTOMERS if customer.start <= setting.clock.now]
    subscribed = {subscription["customer_id"] for subscription in subscriptions(api, setting)}
    for customer in sorted(due, key=lambda customer: customer.start):
        if setting.customers[customer.external_id] not in subscribed:
            api.post("/subscriptions", customer.subscription(setting.plan_id, setting.prices["seat"]))


def period_ends(api: Api, setting: Setting) -> list[datetime]:
    """When the current periods end; a period that has ended must not be current once the clock is ready."""
    ends = []
    now = setting.clock.now
    for subscription in subscriptions(api, setting):
        end = datetime.fromisoformat(subscription["current_period_end"])
        if end <= now:
            raise DemoError(
                f"subscription {subscription['id']} still shows the period that ended at "
                f"{end.isoformat()}, though its test clock is ready at {now.isoformat()}"
            )
        ends.append(end)
    return ends


def wait_for_webhooks(receiver: Receiver, finalized: int) -> None:
    """Waits until each finalized invoice is announced, but not longer than a while: deliveries are retried for days."""
    poll(lambda: receiver.counts()["invoice.update.finalized"] >= finalized or None, WEBHOOK_SECONDS)
