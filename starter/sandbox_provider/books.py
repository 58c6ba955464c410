"""The books of the fake payment company: one SQLite file that outlives `kill -9` of its process.

Owns what was charged, under which key, and the webhooks still to be sent. Decides nothing about HTTP. Calls are short,
synchronous and serial: one process, one connection.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from ulid import ULID

from starter.sandbox_provider.behaviour import REASONS, Step, step_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY, attempt_id TEXT NOT NULL UNIQUE, invoice_id TEXT NOT NULL, customer_id TEXT NOT NULL,
    payment_method TEXT NOT NULL, amount TEXT NOT NULL, currency TEXT NOT NULL, metadata TEXT NOT NULL,
    request TEXT NOT NULL, status TEXT NOT NULL, decline_kind TEXT, decline_reason TEXT, answer_lost INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS charges_invoice ON charges (invoice_id);
CREATE INDEX IF NOT EXISTS charges_token ON charges (customer_id, payment_method);
CREATE TABLE IF NOT EXISTS outages (
    attempt_id TEXT NOT NULL, customer_id TEXT NOT NULL, payment_method TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outages_token ON outages (customer_id, payment_method);
CREATE TABLE IF NOT EXISTS refunds (
    refund_id TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, charge_id TEXT NOT NULL, amount TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT, created_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS refunds_charge ON refunds (charge_id);
CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, last_error TEXT, delivered_at TEXT
) STRICT;
"""
OPEN = frozenset({"requires_action", "processing"})
COLUMNS = (
    "id, attempt_id, invoice_id, customer_id, payment_method, amount, currency, metadata, request, status,"
    " decline_kind, decline_reason, answer_lost, created_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for. `request` is its whole body in canonical form: a key belongs to one body."""

    attempt_id: str
    invoice_id: str
    customer_id: str
    payment_method: str
    amount: Decimal
    currency: str
    metadata: dict[str, str]
    request: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One row of the books. `status`: succeeded, declined, requires_action, processing; `amount` in major units."""

    id: str
    attempt_id: str
    invoice_id: str
    customer_id: str
    payment_method: str
    amount: Decimal
    currency: str
    metadata: dict[str, str]
    request: str
    status: str
    decline_kind: str | None
    decline_reason: str | None
    answer_lost: bool
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back, or not: `status` is refunded or declined. `refund_id` is the client's key."""

    refund_id: str
    id: str
    charge_id: str
    amount: Decimal
    status: str
    reason: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook still to be delivered; `next_try` in Unix seconds."""

    id: str
    url: str
    body: str
    created_at: str
    tries: int
    next_try: int


class KeyReused(Exception):
    """An idempotency key came again with another body."""


class OutOfService(Exception):
    """The script of this token says that the company is down for this request."""


class Books:
    """All reading and writing of the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def charge(self, order: Order, webhook_url: str | None = None) -> tuple[Charge, bool]:
        """The charge of that attempt and whether its answer gets lost; the first request decides, later ones repeat it.

        What has ended is told to `webhook_url`, if there is one. Raises `KeyReused`, `OutOfService`.
        """
        with self._transaction():
            known = self.by_attempt(order.attempt_id)
            if known is not None:
                if known.request != order.request:
                    raise KeyReused(order.attempt_id)
                return known, False
            step = step_of(order.payment_method, self._steps_used(order.customer_id, order.payment_method))
            if step is not Step.DOWN:
                charge = _new_charge(order, step)
                self._insert(charge)
                if webhook_url is not None and charge.status not in OPEN:
                    self._insert_webhook(charge, webhook_url)
                return charge, charge.answer_lost
            self._db.execute(
                "INSERT INTO outages VALUES (?, ?, ?, ?)",
                (order.attempt_id, order.customer_id, order.payment_method, _now()),
            )
        raise OutOfService(order.attempt_id)

    def refund(self, refund_id: str, charge_id: str, amount: Decimal) -> Refund | None:
        """The refund under that key; the first request decides, later ones repeat it. None without such a charge.

        Raises `KeyReused`.
        """
        with self._transaction():
            known = self._refunds("refund_id = ?", refund_id)
            if known:
                if (known[0].charge_id, known[0].amount) != (charge_id, amount):
                    raise KeyReused(refund_id)
                return known[0]
            charge = self.by_id(charge_id)
            if charge is None:
                return None
            fits = charge.status == "succeeded" and self.given_back(charge_id) + amount <= charge.amount
            status, reason = ("refunded", None) if fits else ("declined", "more_than_is_left")
            made = Refund(refund_id, f"re_{ULID()}", charge_id, amount, status, reason, _now())
            row = asdict(made) | {"amount": f"{amount:f}"}
            self._db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?)", tuple(row.values()))
            return made

    def by_id(self, charge_id: str) -> Charge | None:
        """The charge of that id."""
        return next(iter(self._select("id = ?", charge_id)), None)

    def by_attempt(self, attempt_id: str) -> Charge | None:
        """The charge made under that idempotency key."""
        return next(iter(self._select("attempt_id = ?", attempt_id)), None)

    def by_invoice(self, invoice_id: str) -> list[Charge]:
        """All charges for that invoice, oldest first."""
        return self._select("invoice_id = ?", invoice_id)

    def all(self) -> list[Charge]:
        """All charges, oldest first."""
        return self._select("1 = ?", 1)

    def made_between(self, since: str, until: str, after: str, most: int) -> list[Charge]:
        """A page of the charges made in [since, until), by id, behind `after`."""
        return self._select("created_at >= ? AND created_at < ? AND id > ?", since, until, after, order="id", most=most)

    def given_back(self, charge_id: str) -> Decimal:
        """What of a charge was refunded."""
        refunds = self._refunds("charge_id = ?", charge_id)
        return sum((each.amount for each in refunds if each.status == "refunded"), Decimal(0))

    def complete_action(self, charge_id: str, approved: bool, webhook_url: str | None) -> Charge | None:
        """Finish what waits for customer or bank, and note the webhook in the same transaction; what is finished stays.

        None for a charge that does not exist.
        """
        with self._transaction():
            charge = self.by_id(charge_id)
            if charge is None or charge.status not in OPEN:
                return charge
            charge = self._end(charge, None if approved else "authentication_failed")
            if webhook_url is not None:
                self._insert_webhook(charge, webhook_url)
            return charge

    def cancel(self, attempt_id: str) -> Charge | None:
        """Take back a charge that waits for the customer; any other stays as it is. None when there is none."""
        with self._transaction():
            charge = self.by_attempt(attempt_id)
            if charge is None or charge.status != "requires_action":
                return charge
            return self._end(charge, "canceled")

    def _end(self, charge: Charge, reason: str | None) -> Charge:
        """The charge as it ends: declined for `reason`, or paid."""
        charge = replace(
            charge,
            status="succeeded" if reason is None else "declined",
            decline_kind=None if reason is None else "soft",
            decline_reason=reason,
            updated_at=_now(),
        )
        self._db.execute(
            "UPDATE charges SET status = ?, decline_kind = ?, decline_reason = ?, updated_at = ? WHERE id = ?",
            (charge.status, charge.decline_kind, charge.decline_reason, charge.updated_at, charge.id),
        )
        return charge

    def webhooks_to_send(self) -> list[Webhook]:
        """Webhooks that nobody has accepted yet, the most urgent first."""
        rows = self._db.execute(
            "SELECT id, url, body, created_at, tries, next_try FROM webhooks WHERE delivered_at IS NULL"
            " ORDER BY next_try, id"
        )
        return [Webhook(*row) for row in rows]

    def webhook_delivered(self, webhook_id: str) -> None:
        """The receiver answered 2xx."""
        self._db.execute("UPDATE webhooks SET delivered_at = ?, tries = tries + 1 WHERE id = ?", (_now(), webhook_id))

    def webhook_failed(self, webhook_id: str, error: str, next_try: int) -> None:
        """The receiver did not accept it; try again at `next_try`, in Unix seconds."""
        self._db.execute(
            "UPDATE webhooks SET last_error = ?, next_try = ?, tries = tries + 1 WHERE id = ?",
            (error, next_try, webhook_id),
        )

    def _select(self, where: str, *values: object, order: str = "rowid", most: int = -1) -> list[Charge]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM charges WHERE {where} ORDER BY {order} LIMIT {most}", values)
        return [_charge(row) for row in rows]

    def _refunds(self, where: str, value: str) -> list[Refund]:
        columns = "refund_id, id, charge_id, amount, status, reason, created_at"
        rows = self._db.execute(f"SELECT {columns} FROM refunds WHERE {where} ORDER BY rowid", (value,))
        return [replace(Refund(*row), amount=Decimal(str(row[3]))) for row in rows]

    def _insert(self, charge: Charge) -> None:
        row = asdict(charge) | {"amount": f"{charge.amount:f}", "metadata": json.dumps(charge.metadata)}
        marks = ", ".join("?" for _ in row)
        self._db.execute(f"INSERT INTO charges ({COLUMNS}) VALUES ({marks})", tuple(row.values()))

    def _insert_webhook(self, charge: Charge, url: str) -> None:
        event_id = f"evt_{ULID()}"
        event = {
            "id": event_id,
            "type": f"charge.{charge.status}",
            "created_at": charge.updated_at,
            "data": charge_json(charge, None),
        }
        self._db.execute(
            "INSERT INTO webhooks (id, url, body, created_at) VALUES (?, ?, ?, ?)",
            (event_id, url, json.dumps(event, ensure_ascii=False), charge.updated_at),
        )

    def _steps_used(self, customer_id: str, payment_method: str) -> int:
        used = 0
        for table in ("charges", "outages"):
            query = f"SELECT count(*) FROM {table} WHERE customer_id = ? AND payment_method = ?"
            used += self._db.execute(query, (customer_id, payment_method)).fetchone()[0]
        return used

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def charge_json(charge: Charge, action_url: str | None) -> dict[str, object]:
    """The charge as clients see it."""
    return {
        "id": charge.id,
        "attempt_id": charge.attempt_id,
        "invoice_id": charge.invoice_id,
        "customer_id": charge.customer_id,
        "payment_method": charge.payment_method,
        "amount": f"{charge.amount:f}",
        "currency": charge.currency,
        "metadata": charge.metadata,
        "status": charge.status,
        "decline_kind": charge.decline_kind,
        "decline_reason": charge.decline_reason,
        "action_url": action_url,
        "created_at": charge.created_at,
        "updated_at": charge.updated_at,
    }


def _new_charge(order: Order, step: Step | None) -> Charge:
    status, kind, reason = _outcome(step)
    now = _now()
    return Charge(
        id=f"ch_{ULID()}",
        attempt_id=order.attempt_id,
        invoice_id=order.invoice_id,
        customer_id=order.customer_id,
        payment_method=order.payment_method,
        amount=order.amount,
        currency=order.currency,
        metadata=order.metadata,
        request=order.request,
        status=status,
        decline_kind=kind,
        decline_reason=reason,
        answer_lost=step is Step.LOST,
        created_at=now,
        updated_at=now,
    )


def _outcome(step: Step | None) -> tuple[str, str | None, str | None]:
    match step:
        case Step.OK | Step.LOST:
            return "succeeded", None, None
        case Step.ACTION:
            return "requires_action", None, None
        case Step.PENDING:
            return "processing", None, None
        case Step.SOFT | Step.HARD:
            return "declined", step.value, REASONS[step]
        case _:
            return "declined", "hard", "no_such_payment_method"


def _charge(row: tuple[object, ...]) -> Charge:
    charge = Charge(*row)  # type: ignore[arg-type]  # the columns are named once, in the order of the fields
    return replace(
        charge,
        amount=Decimal(str(charge.amount)),
        metadata=json.loads(str(charge.metadata)),
        answer_lost=bool(charge.answer_lost),
    )


def stamp(at: datetime) -> str:
    """An instant as the books write it: UTC to the millisecond, so that texts sort by time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _now() -> str:
    return stamp(datetime.now(UTC))
