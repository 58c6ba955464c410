"""Checks that compare a payment provider's books with ours: money that we do not know of, and the reverse.

Only charges that name a tenant of ours and an attempt are looked at: an account may serve other systems as well.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from activities.bookkeeping import scope_of
from activities.findings import CHARGE_MISSING, CHARGE_UNKNOWN, Check, Look, Means, Met
from activities.ports import Charged, PaymentProvider, ProviderError, ProviderEvent, TakenCharge
from activities.provider_events import store_provider_event
from billing.money import decimal_text
from models.queries.findings import Finding, oldest_open
from models.queries.reconciliation import attempts_by_id, known_tenants, list_paid_attempts
from models.scope import Scope
from models.tables import PaymentAttemptRow

LATELY: Final = timedelta(hours=2)
"""What a pass every ten minutes looks at: passes may fail, and so may providers."""
EVERYTHING: Final = timedelta(days=3)
"""What the nightly pass looks at: as long as a provider repeats a webhook that we did not take."""
LONGEST: Final = timedelta(days=90)
"""An open finding is looked at again for so long."""
SETTLED: Final = timedelta(minutes=10)
"""A younger charge may still be on its way into our books."""
ASKED_FOR: Final = timedelta(days=1)
"""Charges are asked for at most so long before they are booked; others are looked up one by one."""
PAGE: Final = 200
MOST: Final = 1000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Window:
    since: datetime
    until: datetime


Compare = Callable[[Means, PaymentProvider, _Window], Awaitable[list[Finding]]]


def charge_checks(providers: Mapping[str, PaymentProvider]) -> Mapping[str, Check]:
    """The checks, over the providers that are configured here. One that does not answer is left to the next pass."""

    def check_of(name: str, compare: Compare) -> Check:
        async def check(means: Means, look: Look) -> Met:
            window = await _window(means, look)
            found: list[Finding] = []
            complete = True
            for provider in providers.values():
                try:
                    found += await compare(means, provider, window)
                except ProviderError as problem:
                    complete = False  # what it would have shown is not gone
                    log.warning("finding.provider_silent", finding=name, provider=provider.name, error=str(problem))
            return Met(tuple(found[:MOST]), complete=complete and len(found) <= MOST)

        return check

    return {
        CHARGE_UNKNOWN: check_of(CHARGE_UNKNOWN, _unknown),
        CHARGE_MISSING: check_of(CHARGE_MISSING, _missing),
    }


async def _window(means: Means, look: Look) -> _Window:
    """What is new, and back to where the oldest open finding was found, so that none is closed unseen."""
    since = look.now - (EVERYTHING if look.everything else LATELY)
    async with means.database.system_transaction() as session:
        oldest = await oldest_open(session, look.name)
    if oldest is not None:
        since = min(since, max(oldest - EVERYTHING, look.now - LONGEST))
    return _Window(since, look.now - SETTLED)


async def _unknown(means: Means, provider: PaymentProvider, window: _Window) -> list[Finding]:
    """Money that the provider took and we have not booked: booked where we know what for, else a person's matter."""
    found: list[Finding] = []
    async for page in _pages(provider.taken_charges(window.since, window.until)):
        async with means.database.system_transaction() as session:
            attempts = await attempts_by_id(session, [charge.attempt_id or "" for charge in page])
            tenants = await known_tenants(session, [charge.tenant_id or "" for charge in page])
        for charge in page:
            attempt = attempts.get(charge.attempt_id or "")
            if attempt is not None and attempt.payment_status != "SUCCEEDED":
                found.append(await _book(means, provider, attempt, charge))
            elif attempt is not None and attempt.gateway_attempt_id != charge.provider_payment_id:
                found += _unasked(provider, charge, f"{attempt.id} was paid by {attempt.gateway_attempt_id} already")
            elif attempt is None and charge.attempt_id and charge.tenant_id in tenants:
                found += _unasked(provider, charge, f"we have no attempt {charge.attempt_id}")
    return found


async def _book(means: Means, provider: PaymentProvider, attempt: PaymentAttemptRow, charge: TakenCharge) -> Finding:
    """Has the charge booked as if its webhook had come."""
    news = ProviderEvent(
        provider.name, f"found/{charge.provider_payment_id}", "found_by_reconciliation", charge.made_at,
        attempt.id, attempt.invoice_id, Charged(charge.provider_payment_id),
    )  # fmt: skip
    scope = scope_of(attempt)
    async with means.database.transaction(scope) as session:
        await store_provider_event(session, scope, news, "", charge.made_at)
    said = (
        f"{provider.name} took {_amount(charge)} ({charge.provider_payment_id}) for invoice {attempt.invoice_id}, and"
        f" its attempt was {attempt.payment_status} here. It is booked now; should it stay here, open"
        f" invoice/{attempt.tenant_id}/{attempt.invoice_id} in the Temporal UI and read what it waits for."
    )
    return Finding(scope, _reference(provider, charge), said, repaired=True)


def _unasked(provider: PaymentProvider, charge: TakenCharge, why: str) -> list[Finding]:
    """A person's matter, unless all of it has gone back."""
    if charge.refunded >= charge.amount:
        return []
    said = (
        f"{provider.name} took {_amount(charge)} ({charge.provider_payment_id}) for invoice {charge.invoice_id}, and"
        f" {why}. Was the database restored to an earlier time? Then restore it further. Else give the money back at"
        f" {provider.name}, which ends this finding."
    )
    scope = Scope(charge.tenant_id or "", charge.environment_id or "")
    return [Finding(scope, _reference(provider, charge), said)]


async def _missing(means: Means, provider: PaymentProvider, window: _Window) -> list[Finding]:
    """Payments in our books that the provider does not have, or has with another amount."""
    async with means.database.system_transaction() as session:
        booked = await list_paid_attempts(session, provider.name, window.since, window.until)
    if not booked:
        return []
    listed = provider.taken_charges(window.since - ASKED_FOR, window.until + SETTLED)
    taken = {charge.attempt_id: charge async for charge in listed}
    found: list[Finding] = []
    for attempt in booked:
        found += await _compare(provider, attempt, taken.get(attempt.id))
        if len(found) > MOST:
            break  # with the keys of another account nothing would be found there
    return found


async def _compare(provider: PaymentProvider, attempt: PaymentAttemptRow, charge: TakenCharge | None) -> list[Finding]:
    ours = f"{decimal_text(attempt.amount)} {attempt.currency.upper()} ({attempt.gateway_attempt_id})"
    said = f"Booked as paid: {ours} by {provider.name}, for attempt {attempt.id}. "
    if charge is not None:
        if (charge.amount, charge.currency) == (attempt.amount, attempt.currency):
            return []
        said += f"{provider.name} took {_amount(charge)}. Book the difference by hand, or give it back there."
    else:
        outcome = await provider.find_charge(attempt.id)
        if isinstance(outcome, Charged):
            return []  # asked for long before it was paid
        state = "does not know it" if outcome is None else f"says that it is {outcome.outcome}"
        said += (
            f"{provider.name} {state}. Do the keys here belong to the account that was charged? If they do, ask"
            f" {provider.name} what became of it, and refund or charge anew."
        )
    return [Finding(scope_of(attempt), attempt.invoice_id, said)]


async def _pages(charges: AsyncIterator[TakenCharge]) -> AsyncIterator[Sequence[TakenCharge]]:
    page: list[TakenCharge] = []
    async for charge in charges:
        page.append(charge)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _reference(provider: PaymentProvider, charge: TakenCharge) -> str:
    return f"{provider.name}/{charge.provider_payment_id}"


def _amount(charge: TakenCharge) -> str:
    return f"{decimal_text(charge.amount)} {charge.currency.upper()}"
