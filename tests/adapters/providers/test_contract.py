"""What every payment provider promises, each against the company at its other end."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    ProviderEvent,
    ProviderRefused,
    ProviderUnavailable,
    RefundDeclined,
    Refunded,
    RefundRequest,
    TakenCharge,
)

from .company import Webhook
from .counterparts import SIGNATURES, Counterpart

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_charge_is_made_once_however_often_it_is_asked_for(counterpart: Counterpart) -> None:
    asked = counterpart.request("ok")
    assert await counterpart.provider.find_charge(asked.attempt_id) is None
    first = await counterpart.provider.charge(asked)
    assert isinstance(first, Charged)
    assert [await counterpart.provider.charge(asked) for _ in range(3)] == [first] * 3
    assert await counterpart.provider.find_charge(asked.attempt_id) == first
    assert await counterpart.successes("inv_1") == 1


async def test_the_same_attempt_at_once_takes_the_money_once(counterpart: Counterpart) -> None:
    """A company may answer that the other request is under way; whoever asks again learns what became of it."""
    asked = counterpart.request("ok")
    answers = await asyncio.gather(*(counterpart.provider.charge(asked) for _ in range(5)), return_exceptions=True)
    final = await counterpart.provider.charge(asked)
    assert isinstance(final, Charged)
    assert [answer for answer in answers if answer != final and not isinstance(answer, OutcomeUnknown)] == []
    assert await counterpart.successes("inv_1") == 1


@pytest.mark.parametrize("behaviour", ["soft", "hard"])
async def test_a_decline_is_a_value_and_the_next_attempt_is_a_new_charge(
    counterpart: Counterpart, behaviour: str
) -> None:
    asked = counterpart.request(behaviour)
    outcome = await counterpart.provider.charge(asked)
    assert isinstance(outcome, Declined)
    assert outcome.kind == behaviour
    assert outcome.reason not in ("", "card_declined", "payment_failed")
    assert await counterpart.provider.charge(asked) == outcome
    assert await counterpart.provider.find_charge(asked.attempt_id) == outcome
    assert await counterpart.successes("inv_1") == 0
    assert isinstance(await counterpart.provider.charge(counterpart.request("ok", number=2)), Charged)
    assert await counterpart.successes("inv_1") == 1


async def test_a_method_that_does_not_exist_is_declined_for_good(counterpart: Counterpart) -> None:
    asked = counterpart.request("unknown_method")
    outcome = await counterpart.provider.charge(asked)
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.kind) == ("no_such_payment_method", "hard")
    assert await counterpart.provider.charge(asked) == outcome


async def test_a_lost_answer_is_found_by_lookup_and_by_the_same_key(counterpart: Counterpart) -> None:
    asked = counterpart.request("lost")
    with pytest.raises(OutcomeUnknown):
        await counterpart.provider.charge(asked)
    assert await counterpart.successes("inv_1") <= 1
    found = await counterpart.provider.find_charge(asked.attempt_id)
    assert found is None or isinstance(found, Charged)
    final = await counterpart.provider.charge(asked)
    assert isinstance(final, Charged)
    assert found in (None, final)
    assert await counterpart.successes("inv_1") == 1


async def test_a_company_that_turns_the_request_away_has_charged_nothing(counterpart: Counterpart) -> None:
    asked = counterpart.request("down")
    with pytest.raises(ProviderUnavailable):
        await counterpart.provider.charge(asked)
    assert await counterpart.provider.find_charge(asked.attempt_id) is None
    assert isinstance(await counterpart.provider.charge(asked), Charged)


async def test_a_company_that_is_gone_has_charged_nothing(counterpart: Counterpart) -> None:
    counterpart.stop()
    asked = counterpart.request("ok")
    with pytest.raises(ProviderUnavailable):
        await counterpart.provider.charge(asked)
    with pytest.raises(ProviderUnavailable):
        await counterpart.provider.find_charge(asked.attempt_id)
    with pytest.raises(ProviderUnavailable):
        await counterpart.provider.refund(refund_of("pay_1"))


async def test_an_attempt_belongs_to_one_amount(counterpart: Counterpart) -> None:
    asked = counterpart.request("ok")
    await counterpart.provider.charge(asked)
    assert isinstance(await counterpart.provider.charge(replace(asked, amount=Decimal("12.500"))), Charged)
    with pytest.raises(ProviderRefused):
        await counterpart.provider.charge(replace(asked, amount=Decimal("12.51")))
    assert await counterpart.successes("inv_1") == 1


async def decided(counterpart: Counterpart, approved: bool) -> tuple[ChargeRequest, ActionRequired, Sequence[Webhook]]:
    asked = counterpart.request("action")
    outcome = await counterpart.provider.charge(asked)
    assert isinstance(outcome, ActionRequired)
    assert outcome.url.startswith("http")
    assert await counterpart.provider.charge(asked) == outcome
    assert await counterpart.provider.find_charge(asked.attempt_id) == outcome
    assert await counterpart.successes("inv_1") == 0
    await counterpart.decide(outcome, approved)
    return asked, outcome, await counterpart.webhooks_of_decision()


def read(counterpart: Counterpart, webhooks: Sequence[Webhook]) -> list[ProviderEvent]:
    return [counterpart.provider.parse_webhook(each.headers, each.body, now()) for each in webhooks]


async def test_what_the_customer_confirms_is_heard_by_webhook(counterpart: Counterpart) -> None:
    asked, _, webhooks = await decided(counterpart, approved=True)
    final = await counterpart.provider.find_charge(asked.attempt_id)
    assert isinstance(final, Charged)
    assert await counterpart.provider.charge(asked) == final
    events = read(counterpart, webhooks)
    telling = [event for event in events if event.outcome is not None]
    assert telling
    for event in telling:
        assert (event.outcome, event.attempt_id, event.invoice_id) == (final, asked.attempt_id, "inv_1")
        assert event.provider == counterpart.provider.name
        assert abs(event.occurred_at - now()) < timedelta(minutes=1)
    assert await counterpart.successes("inv_1") == 1


async def test_what_the_customer_refuses_is_a_soft_decline(counterpart: Counterpart) -> None:
    asked, _, webhooks = await decided(counterpart, approved=False)
    final = await counterpart.provider.find_charge(asked.attempt_id)
    assert isinstance(final, Declined)
    assert final.kind == "soft"
    assert await counterpart.provider.charge(asked) == final
    assert {event.outcome for event in read(counterpart, webhooks)} - {None} == {final}


async def test_what_waits_for_the_customer_can_be_taken_back(counterpart: Counterpart) -> None:
    asked = counterpart.request("action")
    assert await counterpart.provider.withdraw(asked.attempt_id) is None
    assert isinstance(await counterpart.provider.charge(asked), ActionRequired)
    taken_back = await counterpart.provider.withdraw(asked.attempt_id)
    assert isinstance(taken_back, Declined)
    assert await counterpart.provider.withdraw(asked.attempt_id) == taken_back
    assert await counterpart.provider.find_charge(asked.attempt_id) == taken_back
    assert await counterpart.successes("inv_1") == 0


async def test_what_was_paid_is_not_taken_back(counterpart: Counterpart) -> None:
    asked, _, _ = await decided(counterpart, approved=True)
    assert isinstance(await counterpart.provider.withdraw(asked.attempt_id), Charged)
    assert await counterpart.successes("inv_1") == 1


async def test_webhooks_twice_or_out_of_order_say_the_same(counterpart: Counterpart) -> None:
    """Their ids tell a repetition from news; no earlier event contradicts the last."""
    _, _, webhooks = await decided(counterpart, approved=True)
    in_order = read(counterpart, webhooks)
    again = read(counterpart, list(reversed(webhooks)))
    assert again == list(reversed(in_order))
    assert len({event.event_id for event in in_order}) == len(in_order)
    assert all(isinstance(event.outcome, Charged | None) for event in in_order)


async def test_a_webhook_that_is_altered_old_or_unsigned_is_refused(counterpart: Counterpart) -> None:
    _, _, webhooks = await decided(counterpart, approved=True)
    webhook = webhooks[-1]
    parse = counterpart.provider.parse_webhook
    with pytest.raises(BadWebhook):
        parse(webhook.headers, webhook.body.replace(b"inv_1", b"inv_2"), now())
    for moment in (now() + timedelta(days=2), now() - timedelta(minutes=6)):
        with pytest.raises(BadWebhook):
            parse(webhook.headers, webhook.body, moment)
    unsigned = {name: value for name, value in webhook.headers.items() if name.lower() not in SIGNATURES}
    with pytest.raises(BadWebhook):
        parse(unsigned, webhook.body, now())
    for nonsense in ("", "t=soon,v1=x", "v1,é", "t=99999999999999999,v1=0"):
        forged = {name: nonsense for name in webhook.headers if name.lower() in SIGNATURES}
        with pytest.raises(BadWebhook):
            parse({**webhook.headers, **forged}, webhook.body, now())
    with pytest.raises(BadWebhook):
        parse(webhook.headers, b"\xff" + webhook.body, now())
    assert json.loads(webhook.body)


def refund_of(charge: str, refund_id: str = "refund_0001", amount: str = "5", currency: str = "usd") -> RefundRequest:
    return RefundRequest(refund_id, charge, Decimal(amount), currency, {"reason": "goodwill"})


async def test_a_refund_is_made_once_and_never_beyond_the_charge(counterpart: Counterpart) -> None:
    charged = await counterpart.provider.charge(counterpart.request("ok", amount="12.5"))
    assert isinstance(charged, Charged)
    part = refund_of(charged.provider_payment_id, currency=counterpart.currency)
    first = await counterpart.provider.refund(part)
    assert isinstance(first, Refunded)
    assert await counterpart.provider.refund(part) == first
    with pytest.raises(ProviderRefused):
        await counterpart.provider.refund(replace(part, amount=Decimal("4.99")))
    too_much = await counterpart.provider.refund(replace(part, refund_id="refund_0002", amount=Decimal("7.51")))
    rest = await counterpart.provider.refund(replace(part, refund_id="refund_0003", amount=Decimal("7.5")))
    nothing_left = await counterpart.provider.refund(replace(part, refund_id="refund_0004", amount=Decimal("0.01")))
    assert isinstance(too_much, RefundDeclined)
    assert isinstance(rest, Refunded)
    assert isinstance(nothing_left, RefundDeclined)
    assert "" not in (too_much.reason, nothing_left.reason)


async def test_a_refund_of_no_charge_is_refused(counterpart: Counterpart) -> None:
    with pytest.raises(ProviderRefused):
        await counterpart.provider.refund(refund_of("pay_of_nobody", currency=counterpart.currency))


async def taken(counterpart: Counterpart, since: datetime, until: datetime) -> list[TakenCharge]:
    return [charge async for charge in counterpart.provider.taken_charges(since, until)]


async def test_what_was_taken_in_a_time_is_listed_with_what_names_it_and_what_went_back(
    counterpart: Counterpart,
) -> None:
    since = now() - timedelta(minutes=1)
    paid, given_back, declined = (counterpart.request(kind, n) for n, kind in enumerate(("ok", "ok", "soft"), 1))
    outcomes = [await counterpart.provider.charge(each) for each in (paid, given_back, declined)]
    first, second = outcomes[0], outcomes[1]
    assert isinstance(first, Charged)
    assert isinstance(second, Charged)
    await counterpart.provider.refund(
        RefundRequest("refund_1", second.provider_payment_id, Decimal("2.5"), counterpart.currency)
    )

    found = {charge.provider_payment_id: charge for charge in await taken(counterpart, since, now() + HOUR)}

    assert set(found) == {first.provider_payment_id, second.provider_payment_id}
    charge = found[first.provider_payment_id]
    assert (charge.amount, charge.refunded, charge.currency) == (Decimal("12.5"), Decimal(0), counterpart.currency)
    assert (charge.attempt_id, charge.invoice_id) == (paid.attempt_id, "inv_1")
    assert (charge.tenant_id, charge.environment_id) == ("tenant_1", "env_1")
    assert since < charge.made_at < now() + timedelta(minutes=1)
    assert found[second.provider_payment_id].refunded == Decimal("2.5")
    assert await taken(counterpart, since - HOUR, since) == []


async def test_more_than_a_page_of_charges_is_listed_each_once(counterpart: Counterpart) -> None:
    attempts = [counterpart.request("ok", number, invoice=f"inv_{number}") for number in range(1, 103)]
    for asked in attempts:
        await counterpart.provider.charge(asked)

    found = await taken(counterpart, now() - HOUR, now() + HOUR)

    assert sorted(charge.attempt_id or "" for charge in found) == sorted(asked.attempt_id for asked in attempts)


async def test_a_company_that_cannot_be_reached_is_no_empty_list(counterpart: Counterpart) -> None:
    counterpart.stop()

    with pytest.raises(ProviderUnavailable):
        await taken(counterpart, now() - HOUR, now())
