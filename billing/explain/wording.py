"""Numbers, periods and instants as an explanation writes them.

Quantities that do not terminate are shown with 12 digits, amounts before their rounding exactly as far.
"""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.money import amount_text, decimal_text, shown_decimal
from billing.periods import Period, local_days, to_local


def exact(value: Fraction) -> str:
    """A fraction as a decimal: all digits if they end within 12, else the first 12 and an ellipsis."""
    shown = shown_decimal(value)
    return decimal_text(shown) if Fraction(shown) == value else f"{format(shown, 'f')}..."


def money(value: Decimal, currency: str) -> str:
    """An amount with all digits of its currency, and the currency."""
    return f"{amount_text(value, currency)} {currency}"


def ratio(part: Period, whole: Period, share: Fraction, zone: str) -> str:
    """A share as it was counted, in seconds or local days, as an exact fraction, and as a decimal."""
    return f"{_counted(part, whole, share, zone)} = {share} = {exact(share)}"


def span(period: Period, zone: str) -> str:
    """A period by its local dates, with the clock where it is not midnight."""
    if period.start == period.end:
        return f"at {instant(period.start, zone)}"
    return f"{instant(period.start, zone)} to {instant(period.end, zone)}"


def instant(value: datetime, zone: str) -> str:
    """An instant by its local date, with the clock where it is not midnight."""
    local = to_local(value, zone)
    return f"{local:%Y-%m-%d}" if local.time() == local.min.time() else f"{local:%Y-%m-%d %H:%M:%S}"


def _counted(part: Period, whole: Period, share: Fraction, zone: str) -> str:
    if Fraction(part.microseconds, whole.microseconds) == share:
        return f"{_seconds(part)} of {_seconds(whole)} seconds"
    return f"{local_days(part, zone)} of {local_days(whole, zone)} days"


def _seconds(period: Period) -> str:
    return exact(Fraction(period.microseconds, 1_000_000))
