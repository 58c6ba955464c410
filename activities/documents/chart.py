"""The small chart of daily usage on an invoice.

Owns its scale and drawing. Bars only illustrate; the numbers that count are in the lines.
"""

from datetime import date
from decimal import Decimal

from babel.dates import format_date

from activities.documents.flow import Band
from activities.documents.formatting import quantity_text
from activities.documents.furniture import LABEL, SMALL, STRONG
from activities.documents.page import BAR, MARGIN, RULE, Page, TextStyle, text_width, wrapped
from billing import money

_PLOT_HEIGHT = 58.0
_AXIS = TextStyle(6.8, color=LABEL.color)
_MAX_LABELS = 8


def chart_band(days: tuple[tuple[date, Decimal], ...], title: str, unit: str, page_width: float) -> Band:
    """A bar for each day, with the highest value and the dates along the axis. `days` must not be empty."""
    highest = max(value for _, value in days)
    ceiling = max(highest, Decimal(0))
    floor = min(min(value for _, value in days), Decimal(0))
    span = ceiling - floor or Decimal(1)
    slot = (page_width - 2 * MARGIN) / len(days)
    label_step = -(-len(days) // _MAX_LABELS)
    total = quantity_text(money.total(value for _, value in days))
    peak = f"highest day {quantity_text(highest)}, sum {total} {unit}".rstrip()

    def draw(page: Page, top: float) -> None:
        room = page.right - page.left - text_width(peak, SMALL) - 12
        page.text(page.left, top + 9, wrapped(title, STRONG, room)[0], STRONG)
        page.text_right(page.right, top + 9, peak, SMALL)
        plot_top = top + 22
        zero = plot_top + _PLOT_HEIGHT * float(ceiling / span)
        width = min(slot * 0.72, 14.0)
        for index, (day, value) in enumerate(days):
            x = page.left + index * slot
            height = _PLOT_HEIGHT * float(abs(value) / span)
            page.box(x + (slot - width) / 2, zero - height if value > 0 else zero, width, height, BAR)
            if index % label_step == 0:
                label = format_date(day, "d MMM", locale="en")
                page.text(x + (slot - width) / 2, plot_top + _PLOT_HEIGHT + 10, label, _AXIS)
        page.rule(zero, RULE, 0.7)

    return Band(22 + _PLOT_HEIGHT + 14, draw, space=26)
