"""Billing without its workflows: one tenant's subscriptions and invoices, moved by the commands themselves.

What happens when is the test's own choice: an invoice may be finalized late, out of order, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlmodel import col, select

from activities.catalog import NewPlan, create_plan
from activities.customers import NewCustomer, TaxRateOverride, create_customer
from activities.drafting import inputs_from_row
from activities.invoice_usage import Frozen
from activities.invoices import finalize_invoice, verify_invoice
from activities.new_subscriptions import NewSubscription, create_subscription
from activities.payloads import amount_remaining
from activities.prices import NewPrice, create_price
from activities.receipts import NewPayment, record_payment
from activities.revenue import release_due
from activities.subscriptions import CancelSubscription, cancel_subscription, cross_boundary
from activities.tax_rates import NewTaxRate, create_tax_rate
from activities.voids import void_invoice
from billing.ledger import CUSTOMER_CREDIT, DEFERRED_REVENUE
from billing.money import ZERO, total
from billing.periods import BillingPeriod
from billing.prices import BillingModel, InvoiceCadence, PriceType
from models.database import Database
from models.ids import new_id
from models.queries.invoices import get_invoice
from models.queries.subscriptions import get_subscription
from models.scope import Scope
from models.tables import DeferredRevenueRow, InvoiceRow, LedgerEntryRow, SubscriptionRow, WalletLotRow

START = datetime(2025, 1, 31, tzinfo=UTC)
NO_USAGE = Frozen((), ())


@dataclass
class Books:
    """One tenant with a plan: a seat in advance and a service in arrears, both monthly."""

    database: Database
    scope: Scope
    currency: str
    customer_id: str = ""
    plan_id: str = ""

    async def open(self, seat: str = "10.01", service: str = "4", tax: str | None = None) -> "Books":
        """Makes plan and customer; `tax` is None, inclusive or exclusive (18 %)."""
        async with self.database.transaction(self.scope) as session:
            plan = await create_plan(session, self.scope, NewPlan("Pro", lookup_key="pro"))
            for amount, cadence in ((seat, InvoiceCadence.ADVANCE), (service, InvoiceCadence.ARREAR)):
                price = NewPrice(
                    PriceType.FIXED, plan.id, self.currency, BillingModel.FLAT_FEE, BillingPeriod.MONTHLY, cadence,
                    amount=Decimal(amount), lookup_key=cadence.value,
                )  # fmt: skip
                await create_price(session, self.scope, price)
            if tax is not None:
                rate = NewTaxRate("vat", "VAT", percentage_value=Decimal(18), inclusive=tax == "inclusive")
                await create_tax_rate(session, self.scope, rate, START)
            overrides = () if tax is None else (TaxRateOverride("vat", self.currency),)
            new = NewCustomer("acme", "Acme", tax_rate_overrides=overrides)
            self.plan_id = plan.id
            self.customer_id = (await create_customer(session, self.scope, new, START)).id
        return self

    async def subscribe(self, start: datetime = START) -> str:
        """A monthly subscription that has been opened. Returns its id."""
        new = NewSubscription(self.customer_id, self.plan_id, self.currency, "MONTHLY", start_date=start)
        async with self.database.transaction(self.scope) as session:
            return (await create_subscription(session, self.scope, new, start)).id

    async def subscription(self, subscription_id: str) -> SubscriptionRow:
        """The subscription as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await get_subscription(session, subscription_id)

    async def close(self, subscription_id: str) -> str:
        """Closes the running period. Returns the draft's id."""
        async with self.database.transaction(self.scope) as session:
            row = await get_subscription(session, subscription_id, lock=True)
            return (await cross_boundary(session, row))[0].id

    async def cancel(self, subscription_id: str, at: datetime, *, credit: bool) -> str:
        """Cancels at `at`. Returns the final invoice's id."""
        command = CancelSubscription(
            self.scope, subscription_id, new_id("event"), "immediate", at,
            proration_behavior="create_prorations" if credit else "none",
        )  # fmt: skip
        async with self.database.transaction(self.scope) as session:
            row = await get_subscription(session, subscription_id, lock=True)
            return (await cancel_subscription(session, row, command))[0].id

    async def finalize(self, invoice_id: str, now: datetime) -> InvoiceRow:
        """Finalizes a draft at `now`, and finds that it follows from its inputs."""
        async with self.database.transaction(self.scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            await finalize_invoice(session, row, inputs_from_row(row), NO_USAGE, now)
        async with self.database.transaction(self.scope) as session:
            assert await verify_invoice(session, invoice_id) == ()
        return row

    async def void(self, invoice_id: str, now: datetime) -> None:
        """Voids an invoice. Raises Conflict."""
        async with self.database.transaction(self.scope) as session:
            await void_invoice(session, await get_invoice(session, invoice_id, lock=True), now, "a mistake")

    async def pay(self, invoice_id: str, now: datetime, beyond: Decimal = ZERO) -> None:
        """The customer pays what is owed, and `beyond` it, by bank transfer. Raises Conflict."""
        async with self.database.transaction(self.scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            await record_payment(session, row, NewPayment(amount_remaining(row) + beyond), now)

    async def credit(self) -> Decimal:
        """What the wallets hold, a credit being worth 1; the ledger must say the same."""
        async with self.database.transaction(self.scope) as session:
            held = total(lot.remaining for lot in (await session.exec(select(WalletLotRow))).all())
        assert (await self.balances()).get(CUSTOMER_CREDIT, ZERO) == held
        return held

    async def release(self, now: datetime) -> int:
        """Releases all of the tenant's deferred revenue that is due."""
        async with self.database.transaction(self.scope) as session:
            return await release_due(session, now)

    async def invoices(self, *statuses: str) -> Sequence[InvoiceRow]:
        """Invoices in these statuses, oldest first."""
        query = select(InvoiceRow).where(col(InvoiceRow.invoice_status).in_(statuses)).order_by(col(InvoiceRow.id))
        async with self.database.transaction(self.scope) as session:
            return (await session.exec(query)).all()

    async def balances(self) -> dict[str, Decimal]:
        """Credits minus debits of every account that is not even, and checks that debits equal credits."""
        async with self.database.transaction(self.scope) as session:
            entries = (await session.exec(select(LedgerEntryRow))).all()
        assert {entry.currency for entry in entries} <= {self.currency}
        assert total(entry.debit for entry in entries) == total(entry.credit for entry in entries)
        accounts = {entry.account for entry in entries}
        sums = {
            name: total(entry.credit - entry.debit for entry in entries if entry.account == name) for name in accounts
        }
        return {account: amount for account, amount in sums.items() if amount}

    async def deferred(self) -> Decimal:
        """What the table of deferred revenue still holds; the ledger must say the same."""
        async with self.database.transaction(self.scope) as session:
            rows = (await session.exec(select(DeferredRevenueRow))).all()
        held = total(row.amount - row.released - row.reversed for row in rows)
        assert (await self.balances()).get(DEFERRED_REVENUE, Decimal(0)) == held
        return held


def days(count: float) -> timedelta:
    """A span of days of 24 hours."""
    return timedelta(days=count)
