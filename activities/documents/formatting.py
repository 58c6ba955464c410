"""Numbers, money and dates as text on a document.

Owns grouping, currency symbols and date wording (Babel's data, English wording). Never rounds: an amount with more
digits than its currency has is shown with all of them.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, get_currency_symbol

from billing import money

MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
EN_DASH = "\N{EN DASH}"
# Digits group in the way of the currency's home where that is not by thousands: 12,34,567.
_LOCALE_OF_CURRENCY = {"INR": "en_IN"}


def money_text(amount: Decimal, currency: str) -> str:
    """An amount with its symbol, at least the currency's decimals, and never fewer digits than it has.

    `currency` is a lower-case ISO 4217 code; raises Invalid for any other.
    """
    code = currency.upper()
    decimals = max(money.exponent(currency), _decimals(amount))
    symbol = _symbol(code)
    sign = MINUS if amount < 0 else ""
    return f"{sign}{symbol}{_grouped(amount.copy_abs(), decimals, _LOCALE_OF_CURRENCY.get(code, 'en'))}"


def price_text(amount: Decimal, currency: str, per: str = "") -> str:
    """A unit price: "$0.0015", or with `per` "$4.75 per 50"."""
    text = money_text(amount, currency)
    return f"{text} per {per}" if per else text


def quantity_text(quantity: Decimal) -> str:
    """A quantity with grouped thousands and all of its decimals: 36,000 or 18,312.25."""
    sign = MINUS if quantity < 0 else ""
    return sign + _grouped(quantity.copy_abs(), _decimals(quantity), "en")


def day_text(day: date) -> str:
    """A date that nobody can read the wrong way round: 1 Feb 2025."""
    return format_date(day, "d MMM y", locale="en")


def moment_text(moment: datetime, zone: str) -> str:
    """An instant in the customer's zone, with the offset spelled out: 1 Feb 2025, 09:30 UTC+01:00."""
    local = moment.astimezone(ZoneInfo(zone))
    return f"{format_datetime(local, 'd MMM y, HH:mm', locale='en')} UTC{_offset_text(local)}"


def period_text(start: datetime, end: datetime, zone: str) -> str:
    """A half-open span in the customer's zone: whole days inclusively, anything else with its clock times."""
    first, last = start.astimezone(ZoneInfo(zone)), end.astimezone(ZoneInfo(zone))
    if start == end:
        return day_text(first.date())
    if _is_midnight(first) and _is_midnight(last):
        return _days_text(first.date(), last.date() - timedelta(days=1))
    # No-break spaces within, so that a narrow column breaks between the two moments.
    begin, close = (format_datetime(local, f"d{NBSP}MMM{NBSP}y,{NBSP}HH:mm", locale="en") for local in (first, last))
    return f"{begin}{NBSP}{EN_DASH} {close}"


def _days_text(first: date, last: date) -> str:
    if first == last:
        return day_text(first)
    shown = day_text(first) if first.year != last.year else format_date(first, "d MMM", locale="en")
    return f"{shown} {EN_DASH} {day_text(last)}"


def _is_midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)


def _offset_text(moment: datetime) -> str:
    digits = moment.strftime("%z")
    return f"{digits[0].replace('-', MINUS)}{digits[1:3]}:{digits[3:5]}"


def _decimals(value: Decimal) -> int:
    exponent = value.normalize(money.CONTEXT).as_tuple().exponent
    assert isinstance(exponent, int), "content.py admits finite numbers only"
    return max(0, -exponent)


@lru_cache(maxsize=256)
def _symbol(code: str) -> str:
    symbol = get_currency_symbol(code, locale="en")
    # CLDR's alphaNextToNumber: a symbol that ends in a letter is set off from the digits (KWD 1.000).
    return symbol + NBSP if symbol[-1].isalpha() else symbol


def _grouped(value: Decimal, decimals: int, locale: str) -> str:
    pattern = "#,##,##0" if locale == "en_IN" else "#,##0"
    if decimals:
        pattern += "." + "0" * decimals
    # Babel quantizes in the current context, whose default of 28 digits is fewer than amounts may have.
    with localcontext(money.CONTEXT):
        return format_decimal(value, format=pattern, locale=locale)
