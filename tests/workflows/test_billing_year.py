"""A customer's months on a test clock, from usage to paid invoices with their documents."""

from decimal import Decimal

from tests.world import World, utc


async def test_three_months_are_billed_documented_and_paid(world: World) -> None:
    await world.sell()
    await world.clock(utc("2025-01-31"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-31"))
    await world.use(customer, utc("2025-02-03T10:00"), "1500.5")
    await world.use(customer, utc("2025-03-30T10:00"), "100")
    await world.advance(utc("2025-04-30T03:00"))

    invoices = await world.invoices(subscription.id)

    # 1000 x 0.02 + 500.5 x 0.01 = 25.005 -> 25.01, and the next month's seat at 10
    assert [(i.invoice_number, i.total, i.payment_status) for i in invoices] == [
        ("INV-202501-00001", Decimal(10), "SUCCEEDED"),
        ("INV-202502-00001", Decimal("35.01"), "SUCCEEDED"),
        ("INV-202503-00001", Decimal(12), "SUCCEEDED"),
        ("INV-202504-00001", Decimal(10), "SUCCEEDED"),
    ]
    store = world.clients.object_store
    assert store is not None
    for invoice in invoices:
        assert invoice.document_key is not None
        assert (await store.get(invoice.document_key)).startswith(b"%PDF")
