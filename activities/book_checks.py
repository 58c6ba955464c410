"""Checks of the books themselves: sums, numbers, and what is still to be told to others.

The database refuses most of this when it is written; a finding means a hand in the database, a restored backup, or a
defect. Nothing of it is repaired by itself, except that a delivery which has fallen silent is set going again.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import RowMapping, TextClause

from activities.findings import (
    NUMBER_GAP,
    OUTBOX_STUCK,
    UNBALANCED_LEDGER,
    WALLET_LOT_UNEVEN,
    WEBHOOK_UNDELIVERED,
    Check,
    Look,
    Means,
    Met,
)
from activities.outbox_relay import Delivery, dispatch
from billing.money import decimal_text
from models.queries import audit
from models.queries.findings import Finding
from models.scope import Scope

MOST: Final = 1000
STUCK: Final = timedelta(minutes=10)
"""The relay carries a row on within seconds, and tries a failing one again every five minutes."""
SILENT: Final = timedelta(hours=6)
"""Tries of a delivery are four hours apart at most."""
SHOWN_FAILED: Final = timedelta(days=7)


def _scope(row: RowMapping) -> Scope:
    return Scope(row["tenant_id"], row["environment_id"])


def _check_of(*asked: tuple[TextClause, Callable[[RowMapping], str]]) -> Check:
    """A check that reports each row of these statements by its sentence, and repairs nothing."""

    async def check(means: Means, look: Look) -> Met:
        found: list[Finding] = []
        complete = True
        for statement, sentence in asked:
            async with means.database.system_transaction() as session:
                rows = await audit.rows_of(session, statement, MOST)
            found += [Finding(_scope(row), row["reference"], sentence(row)) for row in rows]
            complete = complete and len(rows) < MOST
        return Met(tuple(found), complete=complete)

    return check


def _unbalanced(row: RowMapping) -> str:
    debit, credit = decimal_text(row["debit"]), decimal_text(row["credit"])
    return (
        f"The ledger transaction has debits of {debit} and credits of {credit} {row['currency'].upper()}. The database"
        " refuses that, so somebody has changed it by hand: compare with a backup and put its entries back."
    )


def _gap(row: RowMapping) -> str:
    return (
        f"In {row['reference']} the numbers up to {row['value']} were given; invoices that have one: {row['invoices']}."
        " Look for the missing ones (`durabill invoices list`), and restore them from a backup: invoices that"
        " were finalized are never deleted."
    )


def _note_gap(row: RowMapping) -> str:
    return (
        f"In {row['reference']} the numbers of credit notes up to {row['value']} were given; credit notes that have"
        f" one: {row['notes']}. Look for the missing ones (`durabill credit-notes list`), and restore them from a"
        " backup: credit notes are never deleted."
    )


def _uneven(row: RowMapping) -> str:
    left, moved = decimal_text(row["remaining"]), decimal_text(row["moved"])
    return (
        f"The lot of wallet {row['wallet_id']} says that {left} credits are left, and its transactions come to {moved}."
        " The transactions are the record: find out who changed the lot, and set it to their sum."
    )


async def outbox_stuck(means: Means, look: Look) -> Met:
    """Outbox rows that no relay has carried on."""
    async with means.database.system_transaction() as session:
        rows = await audit.rows_of(session, audit.STUCK_OUTBOX, MOST, before=look.now - STUCK)
    found = tuple(
        Finding(
            _scope(row),
            row["reference"],
            f"`{row['kind']}` of {row['about']} has waited since {row['created_at']:%Y-%m-%d %H:%M} UTC"
            + (
                f"; {row['attempts']} tries, the last: {row['last_error']}. It is tried again every five minutes: mend"
                " what that names."
                if row["attempts"]
                else ". No relay has tried it: is there a worker that serves the queue `webhooks`?"
            ),
        )
        for row in rows
    )
    return Met(found, complete=len(rows) < MOST)


async def webhooks_undelivered(means: Means, look: Look) -> Met:
    """Sets deliveries going that have fallen silent (one that runs is left as it is); reports those given up."""
    since = {"silent_since": look.now - SILENT, "failed_since": look.now - SHOWN_FAILED}
    async with means.database.system_transaction() as session:
        rows = await audit.rows_of(session, audit.UNDELIVERED, MOST, **since)
    found: list[Finding] = []
    for row in rows:
        silent = row["delivery_status"] == "pending"
        if silent:
            way = Delivery(
                row["reference"], row["event_id"], row["endpoint_id"], row["event_type"], row["url"], row["ordered"]
            )
            await dispatch(means.gate, _scope(row), way)
        found.append(Finding(_scope(row), row["reference"], _undelivered(row), repaired=silent))
    return Met(tuple(found), complete=len(rows) < MOST)


def _undelivered(row: RowMapping) -> str:
    what = f"{row['event_type']} has not reached {row['url']}"
    if row["delivery_status"] == "pending":
        return f"{what} and was not tried for six hours. Its workflow has been started, unless it runs."
    return (
        f"{what}, and was given up: {row['last_error']}. Once the receiver is mended:"
        f" `durabill webhooks replay {row['reference']}`."
    )


BOOK_CHECKS: Final[Mapping[str, Check]] = {
    UNBALANCED_LEDGER: _check_of((audit.UNBALANCED_TRANSACTIONS, _unbalanced)),
    NUMBER_GAP: _check_of((audit.NUMBER_GAPS, _gap), (audit.NOTE_NUMBER_GAPS, _note_gap)),
    WALLET_LOT_UNEVEN: _check_of((audit.UNEVEN_LOTS, _uneven)),
    OUTBOX_STUCK: outbox_stuck,
    WEBHOOK_UNDELIVERED: webhooks_undelivered,
}
