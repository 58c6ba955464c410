"""Changes of the subscription in a story: plan, quantity, add-ons, pause and resume.

Owns which lines leave and come, and their ids; when a change acts and what it costs is billing.subscription_changes'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing import subscription_changes as changes
from billing.errors import Conflict, Invalid, NotFound
from billing.line_trials import line_trial_end
from billing.periods import BillingPeriod, Cadence
from billing.prices import Price, PriceType
from billing.scenario import document as doc
from billing.scenario.agreement import entitlements_of, own_tax_rates
from billing.scenario.catalog import prices_of_plan
from billing.scenario.credits import build_addon_grants, build_grants
from billing.simulation.story import PLAN, SUBSCRIPTION, Story
from billing.subscriptions import SubscriptionState, Transition
from billing.terms import LineItem, ProrationBehavior, Terms, line_quantity


def change_plan(story: Story, action: doc.ChangePlan, path: str) -> None:
    """Another plan, now or at the period's end; another billing period now unless asked otherwise."""
    state, cadence = _changeable(story), _cadence(story.terms, action)
    same = cadence.same_length(story.terms.cadence)
    if same and action.plan == story.plan:
        raise Conflict(f"change_plan is not possible: the plan is {story.plan} already", state=state.status)
    part = replace(story.scenario.subscription, billing_period=cadence.period, billing_period_count=cadence.count)
    prices = prices_of_plan(replace(story.scenario, subscription=part), action.plan)
    if not same:
        story.forget_pending()
        if action.when == "end_of_period":
            story.closing = lambda at: _change_period(story, action, cadence, prices, at)
            story.tell(action.at, "subscription.updated", SUBSCRIPTION)
        else:
            _change_period(story, action, cadence, prices, action.at)
        return
    plan_lines = _plan_lines(story, action.at)
    before = [line for line in story.terms.lines if line.id in plan_lines and line.start <= action.at]
    after = [LineItem(price.id, price, line_quantity(price, action.quantities), action.at) for price in prices]
    upgrade = changes.is_upgrade(before, after)
    story.forget_pending()
    if (action.when or ("immediate" if upgrade else "end_of_period")) == "immediate":
        _exchange_plan(story, action, prices, action.at, now=True)
    else:
        story.pending = [lambda at: _exchange_plan(story, action, prices, at, now=False)]
        story.tell(action.at, "subscription.updated", SUBSCRIPTION)


def change_quantity(story: Story, action: doc.ChangeQuantity, path: str) -> None:
    """Another quantity of a fixed line: more of it now, less at the period's end, unless asked otherwise."""
    _changeable(story)
    line = _line_of(story, action.price, action.at)
    if line.price.type is PriceType.USAGE:
        raise Invalid(f"price {action.price} is metered: it has no quantity to change", field="price")
    now = (action.when or ("immediate" if action.quantity >= line.quantity else "end_of_period")) == "immediate"
    if action.quantity < 0:
        raise Invalid(f"quantity must be 0 or more; got {action.quantity}", field="quantity")

    def exchange(at: datetime) -> None:
        old = [_line_of(story, action.price, at), *_followers(story, action.price, at)]
        new = [
            changes.with_quantity(each, story.new_line_id(action.price), action.quantity, max(each.start, at))
            for each in old
        ]
        _exchange(story, story.terms, [each.id for each in old], new, at, now)

    if now:
        exchange(action.at)
    else:
        story.pending.append(exchange)
    story.tell(action.at, "subscription.updated", SUBSCRIPTION)


def add_addon(story: Story, action: doc.AddAddon, path: str) -> None:
    """An add-on from now on."""
    _changeable(story)
    if action.addon in story.addons:
        raise Conflict(f"add_addon is not possible: the subscription has {action.addon} already", state="attached")
    added = _lines(story, story.catalog.addons[action.addon], action.quantities, action.at)
    terms = _with_entitlements(story, story.plan, [*story.addons, action.addon])
    _exchange(story, terms, [], added, action.at, now=True)
    story.addons.append(action.addon)
    story.give(action.addon, build_addon_grants(story.scenario, action.addon, story.terms, action.at), action.at)
    story.tell(action.at, "subscription.updated", SUBSCRIPTION)


def remove_addon(story: Story, action: doc.RemoveAddon, path: str) -> None:
    """Without an add-on from now on."""
    _changeable(story)
    if action.addon not in story.addons:
        raise NotFound(f"the subscription has no add-on {action.addon!r}", field="addon")
    keys = {price.id for price in story.catalog.addons[action.addon]}
    removed = [line.id for line in _in_force(story, action.at) if line.price.id in keys]
    rest = [addon for addon in story.addons if addon != action.addon]
    _exchange(story, _with_entitlements(story, story.plan, rest), removed, [], action.at, now=True)
    story.addons = rest
    story.give(action.addon, (), action.at)
    story.tell(action.at, "subscription.updated", SUBSCRIPTION)


def pause(story: Story, action: doc.Pause, path: str) -> None:
    """Nothing accrues from now on."""
    billed = story.billed(action.at)
    done = changes.pause(story.terms, running(story), action.at, billed)
    story.forget_pending()
    _adopt(story, done, action.at)
    story.wallets.stop_grants()


def resume(story: Story, action: doc.Resume, path: str) -> None:
    """A new period from now on, with the lines that the pause ended."""
    state = running(story)
    paused_at = state.current_period.end
    resumed = changes.lines_to_resume(story.terms, paused_at, action.at)
    ids = {line.id: story.new_line_id(line.price.id) for line in resumed}
    done = changes.resume(story.terms, state, action.at, ids)
    commitments = tuple(
        replace(one, line_item_id=ids.get(one.line_item_id or "", one.line_item_id)) for one in done.terms.commitments
    )
    _adopt(story, replace(done, terms=replace(done.terms, commitments=commitments)), action.at)


def running(story: Story) -> SubscriptionState:
    """The state of a subscription that has started."""
    if story.state is None:
        raise Conflict("the subscription has not started", state="not_started")
    return story.state


def _changeable(story: Story) -> SubscriptionState:
    """The state of a subscription that can be changed; the rule says which cannot, by a change of nothing."""
    return changes.change_lines_at_period_end(story.terms, running(story), (), ()).state


def _exchange_plan(story: Story, action: doc.ChangePlan, prices: Sequence[Price], at: datetime, now: bool) -> None:
    terms = _with_entitlements(story, action.plan, story.addons)
    added = _lines(story, prices, action.quantities, at)
    _exchange(story, terms, _plan_lines(story, at), added, at, now, action.proration_behavior)
    _switch_plan(story, action.plan, at)


def _exchange(
    story: Story,
    terms: Terms,
    removed: Sequence[str],
    added: Sequence[LineItem],
    at: datetime,
    now: bool,
    proration: ProrationBehavior | None = None,
) -> None:
    state = running(story)
    if now:
        billed = story.billed(at)
        _adopt(story, changes.change_lines(terms, state, at, removed, added, billed, proration), at)
    else:
        _adopt(story, changes.change_lines_at_period_end(terms, state, removed, added), at)


def _change_period(
    story: Story, action: doc.ChangePlan, cadence: Cadence, prices: Sequence[Price], at: datetime
) -> None:
    plan_lines = set(_plan_lines(story, at))
    kept = [line for line in _in_force(story, at) if line.id not in plan_lines]
    added = _lines(story, prices, action.quantities, at)
    added += [
        replace(line, id=story.new_line_id(line.price.id), start=max(line.start, at))
        for line in kept
        if line.price.cadence.period is not BillingPeriod.ONETIME
    ]
    terms = _with_entitlements(story, action.plan, story.addons)
    billed = story.billed(at)
    done = changes.change_billing_period(terms, running(story), at, cadence, added, billed, action.proration_behavior)
    _adopt(story, done, at)
    _switch_plan(story, action.plan, at)


def _adopt(story: Story, done: changes.Changed, at: datetime) -> None:
    story.adopt(done.terms, at)
    story.apply(Transition(done.state, done.invoice), at)


def _switch_plan(story: Story, plan: str, at: datetime) -> None:
    """The old plan's grants end; the new one's begin. Grants of the subscription itself go on."""
    story.plan = plan
    if not story.scenario.subscription.credit_grants:
        story.give(PLAN, build_grants(story.scenario, plan, at), at)
    story.tell(at, "subscription.plan_changed", SUBSCRIPTION)


def _cadence(terms: Terms, action: doc.ChangePlan) -> Cadence:
    if action.billing_period is None and action.billing_period_count is None:
        return terms.cadence
    return Cadence(action.billing_period or terms.cadence.period, action.billing_period_count or 1)


def _with_entitlements(story: Story, plan: str, addons: Sequence[str]) -> Terms:
    part = story.scenario.subscription
    return replace(story.terms, entitlements=entitlements_of(part, story.catalog, plan, addons))


def _in_force(story: Story, at: datetime) -> list[LineItem]:
    """The lines that `at` does not see ended, those that are to begin later among them."""
    return [line for line in story.terms.lines if line.end is None or line.end > at]


def _plan_lines(story: Story, at: datetime) -> list[str]:
    others = {price.id for addon in story.addons for price in story.catalog.addons[addon]}
    others |= {item.price.id for phase in story.phases for item in phase.items}
    return [line.id for line in _in_force(story, at) if line.price.id not in others]


def _line_of(story: Story, price: str, at: datetime) -> LineItem:
    found = [line for line in _in_force(story, at) if line.price.id == price and line.start <= at]
    if not found:
        raise NotFound(f"the subscription does not pay price {price!r} at that time", field="price")
    return found[-1]


def _followers(story: Story, price: str, at: datetime) -> list[LineItem]:
    """The lines of a price that are to begin later, but for phases that say their quantity themselves."""

    def says(when: datetime) -> bool:
        return any(phase.contains(when) and phase.gives_quantity(price) for phase in story.phases)

    later = [line for line in story.terms.lines if line.price.id == price and line.start > at]
    return [] if says(at) else [line for line in later if line.end != line.start and not says(line.start)]


def _lines(story: Story, prices: Sequence[Price], quantities: Mapping[str, Decimal], at: datetime) -> list[LineItem]:
    found = []
    for price in prices:
        rates = own_tax_rates(story.scenario.subscription, story.catalog, price)
        quantity = line_quantity(price, quantities)
        trial_end = line_trial_end(price, at, story.terms.zone, story.terms.lines)
        line = LineItem(story.new_line_id(price.id), price, quantity, at, tax_rates=rates, trial_end=trial_end)
        found.append(line)
    return found
