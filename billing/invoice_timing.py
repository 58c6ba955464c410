"""When a drafted invoice is finalized and is to be paid, as far as a tenant chooses: the bounds of the choice."""

from typing import Final

from billing.errors import Invalid

GRACE_SECONDS_MAX: Final = 31 * 86_400
DUE_DAYS_MAX: Final = 365


def check_timing(finalization_delay_seconds: int, due_date_days: int) -> None:
    """The grace for late usage and the terms of payment. Raises Invalid."""
    for field, value, most in (
        ("finalization_delay_seconds", finalization_delay_seconds, GRACE_SECONDS_MAX),
        ("due_date_days", due_date_days, DUE_DAYS_MAX),
    ):
        if not 0 <= value <= most:
            raise Invalid(f"{field} must be from 0 to {most}; got {value}", field=field)
