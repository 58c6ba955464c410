"""Tax rates and their associations on the wire."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from activities.tax_rates import NewTaxRate, TaxAssociationChange, TaxRateChange
from models.tables import TaxAssociationRow, TaxRateRow
from starter.schemas.wire import (
    Changes,
    Currency,
    DecimalIn,
    DecimalOut,
    EntityAnswer,
    Instant,
    InstantOut,
    ListParams,
    Metadata,
    Name,
    Request,
    ShortText,
    Text,
    entity_columns,
)

Priority = Annotated[int, Field(ge=0, le=1_000_000)]


class CreateTaxRateRequest(Request):
    """A new tax rate: `percentage_value` per cent, or (ours) `fixed_value` per invoice. `inclusive` is ours too."""

    code: Name
    name: Name
    description: Text = ""
    tax_rate_type: ShortText = "percentage"
    percentage_value: DecimalIn | None = None
    fixed_value: DecimalIn | None = None
    inclusive: bool = False
    currency: Currency | None = None
    scope: Literal["INTERNAL", "EXTERNAL", "ONETIME"] = "EXTERNAL"
    metadata: Metadata = Field(default={})

    def new_tax_rate(self) -> NewTaxRate:
        """The rate for the command."""
        return NewTaxRate(**{name: getattr(self, name) for name in type(self).model_fields})


class UpdateTaxRateRequest(Changes):
    """Names, and whether the rate is applied; what it takes never changes."""

    absent: ClassVar[dict[str, str]] = {
        "percentage_value": "create another rate and attach that",
        "fixed_value": "create another rate and attach that",
    }
    code: Name | None = None
    name: Name | None = None
    description: Text | None = None
    metadata: Metadata | None = None
    tax_rate_status: Literal["ACTIVE", "INACTIVE"] | None = None

    def change(self) -> TaxRateChange:
        """The change for the command."""
        active = None if self.tax_rate_status is None else self.tax_rate_status == "ACTIVE"
        return TaxRateChange(**self.given(skip=("tax_rate_status",)), active=active)


class TaxRateAnswer(EntityAnswer):
    """A tax rate."""

    code: str
    name: str
    description: str
    tax_rate_type: str
    tax_rate_status: str
    percentage_value: DecimalOut | None
    fixed_value: DecimalOut | None
    inclusive: bool
    currency: str | None
    scope: str
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: TaxRateRow) -> "TaxRateAnswer":
        """The row on the wire; an inactive rate is stored as archived."""
        own = {name: getattr(row, name, None) for name in cls.model_fields}
        own |= {"metadata": row.rate_metadata, **entity_columns(row)}
        own |= {"tax_rate_status": "ACTIVE" if row.status == "published" else "INACTIVE"}
        return cls(**own)


class TaxRateListParams(ListParams):
    """Filters of GET /taxes/rates; ids and codes may be repeated."""

    taxrate_ids: list[ShortText] | None = None
    taxrate_codes: list[ShortText] | None = None
    scope: ShortText | None = None


class CreateTaxAssociationRequest(Request):
    """Attaches a tax rate, named by its code, to a customer or a subscription."""

    absent: ClassVar[dict[str, str]] = {"end_date": "delete the association when it ends"}
    tax_rate_code: Name
    entity_type: Literal["customer", "subscription"] = "customer"
    entity_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    currency: Currency | None = None
    priority: Priority = 0
    auto_apply: bool = True
    tax_behavior: Literal["inclusive", "exclusive"] | None = None
    start_date: Instant | None = None
    metadata: Metadata = Field(default={})


class UpdateTaxAssociationRequest(Changes):
    """Fields to change."""

    priority: Priority | None = None
    auto_apply: bool | None = None
    metadata: Metadata | None = None
    tax_behavior: Literal["inclusive", "exclusive"] | None = None

    def change(self) -> TaxAssociationChange:
        """The change for the command."""
        return TaxAssociationChange(self.priority, self.auto_apply, self.metadata)


class TaxAssociationAnswer(EntityAnswer):
    """Which entity a tax rate is attached to."""

    tax_rate_id: str
    tax_rate: TaxRateAnswer | None
    entity_type: str
    entity_id: str
    priority: int
    auto_apply: bool
    currency: str | None
    tax_behavior: str | None
    start_date: InstantOut | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: TaxAssociationRow, rate: TaxRateRow | None) -> "TaxAssociationAnswer":
        """The row on the wire, with its rate."""
        behavior = None if rate is None else "inclusive" if rate.inclusive else "exclusive"
        return cls(
            **entity_columns(row),
            tax_rate_id=row.tax_rate_id,
            tax_rate=TaxRateAnswer.of(rate) if rate else None,
            entity_type=row.entity_type,
            entity_id=row.entity_id,
            priority=row.priority,
            auto_apply=row.auto_apply,
            currency=row.currency,
            tax_behavior=behavior,
            start_date=row.start_date,
            metadata=row.association_metadata,
        )


class TaxAssociationListParams(ListParams):
    """Filters of GET /taxes/associations."""

    entity_type: ShortText | None = None
    entity_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    tax_rate_id: ShortText | None = None
