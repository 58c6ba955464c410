"""Creating, changing and deleting customers. Reading them is `models/queries/customers`.

Each function works inside the caller's transaction in the customer's scope and commits nothing.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.master_data_payloads import customer_payload
from activities.outbox import emit
from activities.payment_methods import tell_awaiting_invoices
from activities.tax_rates import NewTaxAssociation, attach_tax_rate, check_behavior
from activities.test_clocks import clock_for_new_customer
from billing.errors import AlreadyExists, Conflict, Invalid
from billing.periods import zone_info
from models.ids import new_id
from models.queries.customers import (
    count_live_subscriptions,
    find_customer_by_external_id,
    get_customer,
)
from models.queries.paging import violated_index
from models.queries.tax_rates import find_tax_rate_by_code
from models.scope import Scope
from models.tables import CustomerRow


@dataclass(frozen=True, slots=True)
class TaxRateOverride:
    """A tax rate, by its code, that a new customer is charged with in one currency."""

    tax_rate_code: str
    currency: str
    priority: int = 0
    auto_apply: bool = True
    tax_behavior: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """What a customer is created from. `timezone` is an IANA name."""

    external_id: str
    name: str
    email: str = ""
    contact: str | None = None
    address_line1: str = ""
    address_line2: str = ""
    address_city: str = ""
    address_state: str = ""
    address_postal_code: str = ""
    address_country: str = ""
    tax_id: str = ""
    timezone: str = "UTC"
    metadata: dict[str, str] = field(default_factory=dict)
    gateway_payment_method_id: str | None = None
    payment_gateway: str | None = None
    test_clock_id: str | None = None
    tax_rate_overrides: tuple[TaxRateOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """New values; None leaves a field as it is."""

    external_id: str | None = None
    name: str | None = None
    email: str | None = None
    contact: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    address_city: str | None = None
    address_state: str | None = None
    address_postal_code: str | None = None
    address_country: str | None = None
    tax_id: str | None = None
    timezone: str | None = None
    metadata: dict[str, str] | None = None
    gateway_payment_method_id: str | None = None
    payment_gateway: str | None = None


async def create_customer(
    session: AsyncSession, scope: Scope, new: NewCustomer, now: datetime, actor: str = ""
) -> CustomerRow:
    """Inserts a customer and attaches its tax rates.

    Raises AlreadyExists for a taken `external_id`, Invalid for an unknown zone or tax rate, NotFound for an unknown
    test clock, Conflict while that is advancing.
    """
    zone_info(new.timezone)
    if new.test_clock_id is not None:
        await clock_for_new_customer(session, new.test_clock_id)
    if await find_customer_by_external_id(session, scope, new.external_id):
        raise _taken(new.external_id)
    row = CustomerRow(
        id=new_id("cust"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        created_by=actor,
        updated_by=actor,
        customer_metadata=new.metadata,
        **{name: getattr(new, name) for name in _SAME_NAME},
        test_clock_id=new.test_clock_id,
    )
    session.add(row)
    await _flush(session, new.external_id)
    for index, override in enumerate(new.tax_rate_overrides):
        await _attach(session, scope, row, override, f"tax_rate_overrides[{index}]", now, actor)
    await _tell(session, row, "customer.created", now)
    return row


async def update_customer(
    session: AsyncSession, scope: Scope, customer_id: str, change: CustomerChange, now: datetime, actor: str = ""
) -> CustomerRow:
    """Changes the given fields. While subscriptions run, zone and external id stay: periods and usage hang on them.

    Raises NotFound, Invalid, Conflict, AlreadyExists.
    """
    row = await get_customer(session, scope, customer_id, lock=True)
    given = {
        entry.name: getattr(change, entry.name) for entry in fields(change) if getattr(change, entry.name) is not None
    }
    if "timezone" in given:
        zone_info(given["timezone"])
    for name in ("timezone", "external_id"):
        if name in given and given[name] != getattr(row, name):
            await _refuse_while_subscribed(session, scope, row, f"{name} cannot change", name)
    if "metadata" in given:
        row.customer_metadata = given.pop("metadata")
    for name, value in given.items():
        setattr(row, name, value)
    row.updated_at, row.updated_by = now, actor
    await _flush(session, row.external_id)
    if "gateway_payment_method_id" in given:
        await tell_awaiting_invoices(session, row.id)
    await _tell(session, row, "customer.updated", now)
    return row


async def delete_customer(
    session: AsyncSession, scope: Scope, customer_id: str, now: datetime, actor: str = ""
) -> None:
    """Marks the customer as deleted; its invoices stay. Raises NotFound, and Conflict while a subscription is live."""
    row = await get_customer(session, scope, customer_id, lock=True)
    await _refuse_while_subscribed(session, scope, row, "the customer cannot be deleted", None)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()
    await _tell(session, row, "customer.deleted", now)


async def _tell(session: AsyncSession, row: CustomerRow, event: str, at: datetime) -> None:
    await emit(session, scope_of(row), event, row.id, {"customer": customer_payload(row)}, at)


async def _refuse_while_subscribed(
    session: AsyncSession, scope: Scope, row: CustomerRow, what: str, field_name: str | None
) -> None:
    live = await count_live_subscriptions(session, scope, row.id)
    if live:
        raise Conflict(
            f"{what} while the customer has {live} live subscription(s); cancel them first",
            state="subscribed",
            possible=("cancel the subscriptions",),
            field=field_name,
            details={"live_subscriptions": live},
        )


async def _attach(
    session: AsyncSession, scope: Scope, row: CustomerRow, override: TaxRateOverride, path: str, now: datetime,
    actor: str,
) -> None:  # fmt: skip
    rate = await find_tax_rate_by_code(session, scope, override.tax_rate_code)
    if rate is None:
        raise Invalid(
            f"{path}.tax_rate_code must be the code of an existing tax rate; got {override.tax_rate_code!r}",
            field=f"{path}.tax_rate_code",
        )
    check_behavior(rate, override.tax_behavior, f"{path}.tax_behavior")
    new = NewTaxAssociation(
        rate, "customer", row.id, override.currency, override.priority, override.auto_apply, override.metadata
    )
    await attach_tax_rate(session, scope, new, now, actor)


async def _flush(session: AsyncSession, external_id: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "customers_external_id":
            raise _taken(external_id) from error
        raise


def _taken(external_id: str) -> AlreadyExists:
    return AlreadyExists(f"a customer with the external_id {external_id!r} already exists", field="external_id")


_SAME_NAME = (
    "external_id", "name", "email", "contact", "address_line1", "address_line2", "address_city", "address_state",
    "address_postal_code", "address_country", "tax_id", "timezone", "gateway_payment_method_id", "payment_gateway",
)  # fmt: skip
