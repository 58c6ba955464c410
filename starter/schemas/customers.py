"""Customers on the wire."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from activities.customers import CustomerChange, NewCustomer, TaxRateOverride
from activities.payment_methods import gateway_of
from models.queries.customers import CustomerFilter
from models.tables import CustomerRow
from starter.schemas.wire import (
    Changes,
    Currency,
    EntityAnswer,
    Ids,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    entity_columns,
    one_or_many,
)

Country = Annotated[str, Field(pattern="^([A-Za-z]{2})?$", examples=["IN"])]
Email = Annotated[str, Field(max_length=320, pattern=r"^([^@\s]+@[^@\s]+)?$")]


class TaxRateOverrideRequest(Request):
    """A tax rate that the customer is charged with, in one currency."""

    tax_rate_code: Name
    currency: Currency
    priority: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    auto_apply: bool = True
    tax_behavior: Literal["inclusive", "exclusive"] | None = None
    metadata: Metadata = Field(default={})

    def override(self) -> TaxRateOverride:
        """The override for the command."""
        return TaxRateOverride(
            self.tax_rate_code, self.currency, self.priority, self.auto_apply, self.tax_behavior, self.metadata
        )


class CreateCustomerRequest(Request):
    """A new customer; `test_clock_id`, `gateway_payment_method_id`, `payment_gateway`, `tax_id` are ours.

    `timezone` is an IANA name; the customer's periods are cut in it.
    """

    absent: ClassVar[dict[str, str]] = {
        "integration_entity_mapping": "customers are not mapped to other systems",
        "onboarding_workflow_name": "there are no onboarding workflows",
    }

    external_id: Name
    name: Name
    email: Email = ""
    contact: ShortText | None = None
    address_line1: ShortText = ""
    address_line2: ShortText = ""
    address_city: ShortText = ""
    address_state: ShortText = ""
    address_postal_code: ShortText = ""
    address_country: Country = ""
    tax_id: ShortText = ""
    timezone: ShortText = "UTC"
    metadata: Metadata = Field(default={})
    tax_rate_overrides: Annotated[list[TaxRateOverrideRequest], Field(max_length=100)] = Field(default=[])
    gateway_payment_method_id: ShortText | None = None
    payment_gateway: ShortText | None = None
    test_clock_id: ShortText | None = None

    def new_customer(self, providers: Collection[str]) -> NewCustomer:
        """The customer for the command. Raises Invalid for a payment provider that is not configured."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "tax_rate_overrides"}
        values["payment_gateway"] = gateway_of(self.gateway_payment_method_id, self.payment_gateway, providers)
        return NewCustomer(**values, tax_rate_overrides=tuple(entry.override() for entry in self.tax_rate_overrides))


class UpdateCustomerRequest(Changes):
    """Fields to change; those that are left out stay. The test clock of a customer never changes."""

    absent: ClassVar[dict[str, str]] = {
        "test_clock_id": "a customer joins a test clock only when it is created",
        "integration_entity_mapping": "customers are not mapped to other systems",
    }

    external_id: Name | None = None
    name: Name | None = None
    email: Email | None = None
    contact: ShortText | None = None
    address_line1: ShortText | None = None
    address_line2: ShortText | None = None
    address_city: ShortText | None = None
    address_state: ShortText | None = None
    address_postal_code: ShortText | None = None
    address_country: Country | None = None
    tax_id: ShortText | None = None
    timezone: ShortText | None = None
    metadata: Metadata | None = None
    gateway_payment_method_id: ShortText | None = None
    payment_gateway: ShortText | None = None

    def change(self, providers: Collection[str]) -> CustomerChange:
        """The change for the command. Raises Invalid for a payment provider that is not configured."""
        given = self.given()
        if self.gateway_payment_method_id is not None or self.payment_gateway is not None:
            given["payment_gateway"] = gateway_of(self.gateway_payment_method_id, self.payment_gateway, providers)
        return CustomerChange(**given)


class CustomerAnswer(EntityAnswer):
    """A customer."""

    external_id: str
    name: str
    email: str
    contact: str | None
    address_line1: str
    address_line2: str
    address_city: str
    address_state: str
    address_postal_code: str
    address_country: str
    tax_id: str | None
    timezone: str
    metadata: dict[str, str]
    gateway_payment_method_id: str | None
    payment_gateway: str | None
    test_clock_id: str | None

    @classmethod
    def of(cls, row: CustomerRow) -> "CustomerAnswer":
        """The row on the wire."""
        own = {name: getattr(row, name, None) for name in cls.model_fields}
        own |= {"metadata": row.customer_metadata, "tax_id": row.tax_id or None, **entity_columns(row)}
        return cls(**own)


class CustomerListParams(ListParams):
    """Filters of GET /customers."""

    external_id: ShortText | None = None
    email: ShortText | None = None

    def wanted(self) -> CustomerFilter:
        """The filter for the query."""
        return CustomerFilter(None, one_or_many(self.external_id, None), self.email)


class CustomerSearch(SearchParams):
    """Filters of POST /customers/search."""

    customer_ids: Ids | None = None
    external_id: ShortText | None = None
    external_ids: Ids | None = None
    email: ShortText | None = None
    metadata: Metadata | None = None

    def wanted(self) -> CustomerFilter:
        """The filter for the query."""
        external_ids = one_or_many(self.external_id, self.external_ids)
        return CustomerFilter(self.customer_ids, external_ids, self.email, self.metadata)
