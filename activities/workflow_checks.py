"""Checks that compare Postgres with Temporal: what ought to be on its way by itself, and is not.

A row that has something to do has a workflow, which has been told of it; what a crash left undone in between is set
going here. A workflow is never ended by a check: that is for a person.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from activities.bookkeeping import scope_of
from activities.business_time import clock_now
from activities.collection import collection_state
from activities.findings import (
    INVOICE_WITHOUT_DOCUMENT,
    OVERDUE_ACTION,
    SUBSCRIPTION_WITHOUT_WORKFLOW,
    WORKFLOW_WITHOUT_SUBSCRIPTION,
    Check,
    Look,
    Means,
    Met,
)
from activities.invoice_documents import RenderInvoice
from activities.subscriptions import subscription_state
from models.queries.findings import Finding
from models.queries.invoices import get_invoice
from models.queries.reconciliation import (
    known_ids,
    list_invoices_without_document,
    list_overdue_invoices,
    list_overdue_subscriptions,
    list_subscriptions_to_look_up,
)
from models.scope import Scope
from models.tables import InvoiceRow, SubscriptionRow

PAGE: Final = 500
MOST: Final = 1000
"""Of one kind in one pass: a flood of findings has one cause, and the first thousand show it."""
ASKED_AT_ONCE: Final = 10

ON_ITS_WAY: Final = timedelta(minutes=2)
"""Within it the relay starts what has been committed."""
LATELY: Final = timedelta(days=1)
OVERDUE: Final = timedelta(minutes=15)
"""Beyond it, and the spread of wake-ups, something stands still: closing and collecting take seconds."""
DRAWN_WITHIN: Final = timedelta(minutes=10)
MOST_TO_DRAW: Final = 50


async def subscriptions_without_workflow(means: Means, look: Look) -> Met:
    """Starts the workflow of a subscription that has none; one whose workflow was ended is a person's to decide."""
    found: list[Finding] = []
    behind = ""
    while len(found) < MOST:
        rows = await _page_to_look_up(means, look, behind)
        for start in range(0, len(rows), ASKED_AT_ONCE):
            some = rows[start : start + ASKED_AT_ONCE]
            found += [each for each in await asyncio.gather(*(_look_up(means, row) for row in some)) if each]
        if len(rows) < PAGE:
            return Met(tuple(found))
        behind = rows[-1].id
    return Met(tuple(found), complete=False)


async def _page_to_look_up(means: Means, look: Look, behind: str) -> Sequence[SubscriptionRow]:
    async with means.database.system_transaction() as session:
        return await list_subscriptions_to_look_up(
            session,
            made_before=look.now - ON_ITS_WAY,
            made_after=None if look.everything else look.now - LATELY,
            due_before=look.now - ON_ITS_WAY,
            again=means.known,
            behind=behind,
            most=PAGE,
        )


async def _look_up(means: Means, row: SubscriptionRow) -> Finding | None:
    standing = await means.gate.standing_of_subscription(scope_of(row), row.id)
    if standing is not None and standing.ended is None:
        return None
    async with means.database.system_transaction() as session:
        current = await session.get_one(SubscriptionRow, row.id)
        clock = await clock_now(session, row.test_clock_id)
    if current.next_action_at is None:
        return None  # it has ended since it was listed
    if standing is None:
        await means.gate.start_subscription(subscription_state(current), clock)
        said = "It had no workflow, which has been started. Nothing to do; it catches up by itself."
        return Finding(scope_of(row), row.id, said, repaired=True)
    said = (
        f"Its workflow {standing.workflow_id} ended ({standing.ended}) although it has something to do at"
        f" {current.next_action_at:%Y-%m-%d %H:%M} UTC. Reset that workflow in the Temporal UI, to its last workflow"
        " task, or cancel the subscription."
    )
    return Finding(scope_of(row), row.id, said)


async def workflows_without_subscription(means: Means, look: Look) -> Met:
    """Workflows of subscriptions and invoices of which Postgres knows nothing."""
    found: list[Finding] = []
    async for page in means.gate.running_workflows():
        async with means.database.system_transaction() as session:
            known = await known_ids(session, [each.row_id for each in page])
        for each in page:
            if each.row_id not in known:
                said = (
                    f"The workflow {each.workflow_id} runs, and Postgres has no {each.workflow_id.partition('/')[0]}"
                    " of that id. Was the database restored to an earlier time? Then restore it further, or terminate"
                    " the workflow in the Temporal UI."
                )
                found.append(Finding(Scope(each.tenant_id, ""), each.workflow_id, said))
        if len(found) >= MOST:
            return Met(tuple(found[:MOST]), complete=False)
    return Met(tuple(found))


async def overdue_actions(means: Means, look: Look) -> Met:
    """Tells the workflow of what is overdue to look at Postgres, once; what stays overdue is a person's to look at."""
    before = look.now - OVERDUE - means.gate.wake_spread
    async with means.database.system_transaction() as session:
        subscriptions = await list_overdue_subscriptions(session, before, MOST)
        invoices = await list_overdue_invoices(session, before, MOST)
    found: list[Finding] = []
    rows: list[SubscriptionRow | InvoiceRow] = [*subscriptions, *invoices]
    for row in rows:
        if row.id not in means.known:
            await _wake(means, row)
        found.append(_overdue(row, told=row.id not in means.known))
    return Met(tuple(found), complete=max(len(subscriptions), len(invoices)) < MOST)


async def _wake(means: Means, row: SubscriptionRow | InvoiceRow) -> None:
    if isinstance(row, SubscriptionRow):
        await means.gate.tell_subscription(scope_of(row), row.id)
    elif not await means.gate.tell_invoice(scope_of(row), row.id):
        async with means.database.system_transaction() as session:
            state = await collection_state(session, await get_invoice(session, row.id))
        await means.gate.start_invoice(state, None)


def _overdue(row: SubscriptionRow | InvoiceRow, *, told: bool) -> Finding:
    kind = "subscription" if isinstance(row, SubscriptionRow) else "invoice"
    said = f"The {kind} should have acted at {row.next_action_at:%Y-%m-%d %H:%M} UTC and has not. "
    if told:
        said += "Its workflow has been told to look at it again."
    else:
        said += (
            f"Telling its workflow did not help: open {kind}/{row.tenant_id}/{row.id} in the Temporal UI and read what"
            " it waits for; is a worker running, and does it serve the queue named there?"
        )
    return Finding(scope_of(row), row.id, said, repaired=told)


async def invoices_without_document(means: Means, look: Look) -> Met:
    """Has the PDF of an invoice that lacks one drawn again."""
    async with means.database.system_transaction() as session:
        rows = await list_invoices_without_document(session, look.now - DRAWN_WITHIN, MOST)
    drawn = {row.id for row in rows[:MOST_TO_DRAW]}
    found = tuple(
        Finding(
            scope_of(row),
            row.id,
            f"Invoice {row.invoice_number} has no PDF. It is drawn again with each pass; should it stay here, look at"
            " the object store's settings and whether a worker serves the queue `documents`.",
            repaired=row.id in drawn,
        )
        for row in rows
    )
    to_draw = tuple(RenderInvoice(each.scope, each.reference) for each in found if each.repaired)
    return Met(found, complete=len(rows) < MOST, to_draw=to_draw)


WORKFLOW_CHECKS: Final[Mapping[str, Check]] = {
    SUBSCRIPTION_WITHOUT_WORKFLOW: subscriptions_without_workflow,
    WORKFLOW_WITHOUT_SUBSCRIPTION: workflows_without_subscription,
    OVERDUE_ACTION: overdue_actions,
    INVOICE_WITHOUT_DOCUMENT: invoices_without_document,
}
