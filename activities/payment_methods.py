"""Which payment provider a customer's token belongs to, and telling invoices that it has changed."""

from collections.abc import Collection

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.outbox import TELL_INVOICE, enqueue
from billing.errors import Invalid
from models.queries.invoices import list_awaiting_money


def gateway_of(method: str | None, gateway: str | None, configured: Collection[str]) -> str | None:
    """The provider of payment method `method`: the one named, else the only one that is configured.

    Raises Invalid for a provider that is not configured, a method whose provider cannot be told, and a provider without
    a method.
    """
    names = ", ".join(sorted(configured)) or "none"
    if gateway is not None and gateway not in configured:
        raise Invalid(
            f"payment_gateway {gateway!r} is not configured here; configured: {names}", field="payment_gateway"
        )
    if method is None or gateway is not None:
        return gateway
    if len(configured) != 1:
        raise Invalid(
            f"payment_gateway must name the provider of gateway_payment_method_id; configured: {names}",
            field="payment_gateway",
        )
    return next(iter(configured))


async def tell_awaiting_invoices(session: AsyncSession, customer_id: str, subscription_id: str | None = None) -> None:
    """The invoices that await money from the customer (of one subscription, if named) look for a new method, at once.

    They do so by themselves once this transaction is in: whoever changes a method holds no lock on an invoice.
    """
    for row in await list_awaiting_money(session, customer_id, subscription_id):
        await enqueue(session, scope_of(row), TELL_INVOICE, row.id)
