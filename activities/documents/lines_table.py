"""The table of invoice lines with their tier breakdown, and the totals below it.

Owns columns, row heights and the alignment of numbers at their decimal point. Does not compute amounts.
"""

from dataclasses import dataclass
from decimal import Decimal

from activities.documents.content import ZERO, DetailRow, DocumentLine, InvoiceDocument
from activities.documents.flow import Band, Draw
from activities.documents.fonts import Weight
from activities.documents.formatting import NBSP, money_text, period_text, quantity_text
from activities.documents.furniture import BODY, LABEL, LEADING, SMALL, SMALL_LEADING, STRONG
from activities.documents.page import INK, MARGIN, RULE, SOFT, Page, TextStyle, fitted, text_width, wrapped

_AMOUNT_WIDTH, _PRICE_WIDTH, _QUANTITY_WIDTH = 92.0, 92.0, 84.0
_GAP = 10.0
_TOTAL = TextStyle(11, Weight.SEMIBOLD)
_SOFT_BODY = TextStyle(BODY.size, BODY.weight, SOFT)
_TOTALS_LEFT = 0.52


@dataclass(frozen=True)
class Columns:
    """Right ends of the number columns, width of the description, and the space reserved after decimal points."""

    description_width: float
    quantity_right: float
    price_right: float
    amount_right: float
    quantity_fraction: float
    detail_fraction: float


def columns_for(document: InvoiceDocument, page_width: float) -> Columns:
    """The columns of this invoice on a page of this width."""
    right = page_width - MARGIN
    quantities = [(line.quantity, BODY) for line in document.lines if line.quantity is not None]
    details = [row for line in document.lines for row in line.details]
    quantities += [(row.quantity, SMALL) for row in details if row.quantity is not None]
    price_right = right - _AMOUNT_WIDTH
    quantity_right = price_right - _PRICE_WIDTH
    return Columns(
        description_width=quantity_right - _QUANTITY_WIDTH - MARGIN,
        quantity_right=quantity_right,
        price_right=price_right,
        amount_right=right,
        quantity_fraction=_widest_fraction([(quantity_text(value), style) for value, style in quantities]),
        detail_fraction=_widest_fraction([(money_text(row.amount, document.currency), SMALL) for row in details]),
    )


def table_header(columns: Columns) -> Band:
    """The column titles, repeated on every page of the table."""

    def draw(page: Page, top: float) -> None:
        page.text(page.left, top + 9, "Description", LABEL)
        page.text_right(columns.quantity_right, top + 9, "Quantity", LABEL)
        page.text_right(columns.price_right, top + 9, "Unit price", LABEL)
        page.text_right(columns.amount_right, top + 9, "Amount", LABEL)
        page.rule(top + 16, INK, 0.9)

    return Band(17, draw, keep_with_next=True, space=24)


def line_bands(line: DocumentLine, document: InvoiceDocument, columns: Columns) -> list[Band]:
    """One invoice line: its own band, then one for each step of its derivation."""
    steps = [_detail_band(row, document.currency, columns) for row in line.details]
    bands = [_main_band(line, document, columns, keep=bool(steps)), *steps]
    # The rule below the line closes its last band.
    last = bands[-1]
    bands[-1] = Band(last.height + 8, _with_rule(last, last.height + 7.4), in_table=True, space=last.space)
    return bands


def _with_rule(band: Band, offset: float) -> Draw:
    def draw(page: Page, top: float) -> None:
        band.draw(page, top)
        page.rule(top + offset)

    return draw


def _main_band(line: DocumentLine, document: InvoiceDocument, columns: Columns, keep: bool) -> Band:
    descriptions = wrapped(line.description, STRONG, columns.description_width, document.buyer.language)
    prices = wrapped(line.unit_price, BODY, _PRICE_WIDTH - _GAP) if line.unit_price else []
    period = period_text(line.period.start, line.period.end, document.zone) if line.period else ""
    periods = wrapped(period, SMALL, columns.description_width) if period else []
    height = 8 + max(len(descriptions) * LEADING + len(periods) * SMALL_LEADING, len(prices) * LEADING)

    def draw(page: Page, top: float) -> None:
        y = top + 17
        for index, text in enumerate(descriptions):
            page.text(page.left, y + index * LEADING, text, STRONG, document.buyer.language)
        below = y + (len(descriptions) - 1) * LEADING
        for index, text in enumerate(periods, start=1):
            page.text(page.left, below + index * SMALL_LEADING + 0.8, text, SMALL)
        if line.quantity is not None:
            quantity = quantity_text(line.quantity)
            _number(page, columns.quantity_right, y, quantity, BODY, columns.quantity_fraction, _QUANTITY_WIDTH)
        for index, text in enumerate(prices):
            page.text_right(columns.price_right, y + index * LEADING, text, fitted(text, BODY, _PRICE_WIDTH - _GAP))
        amount = money_text(line.amount, document.currency)
        page.text_right(columns.amount_right, y, amount, fitted(amount, BODY, _AMOUNT_WIDTH - _GAP))

    return Band(height, draw, keep_with_next=keep, in_table=True)


def _detail_band(row: DetailRow, currency: str, columns: Columns) -> Band:
    indent = 10.0
    labels = wrapped(row.label, SMALL, columns.description_width - indent)

    def draw(page: Page, top: float) -> None:
        y = top + 10.5
        for index, text in enumerate(labels):
            page.text(page.left + indent, y + index * SMALL_LEADING, text, SMALL)
        if row.quantity is not None:
            text = quantity_text(row.quantity)
            _number(page, columns.quantity_right, y, text, SMALL, columns.quantity_fraction, _QUANTITY_WIDTH)
        if row.unit_price is not None:
            price = money_text(row.unit_price, currency)
            page.text_right(columns.price_right, y, price, fitted(price, SMALL, _PRICE_WIDTH - _GAP))
        amount = money_text(row.amount, currency)
        _number(page, columns.amount_right, y, amount, SMALL, columns.detail_fraction, _AMOUNT_WIDTH)

    return Band(len(labels) * SMALL_LEADING + 1.2, draw, in_table=True)


def _number(page: Page, right: float, y: float, text: str, style: TextStyle, fraction: float, room: float) -> None:
    """A number with its decimal point `fraction` points left of `right`; flush right, smaller, if it is too long."""
    whole, rest = _split(text)
    rest_width = text_width(rest, style) if rest else 0.0
    if text_width(whole, style) + fraction <= room - _GAP:
        page.text_right(right - fraction + rest_width, y, text, style)
    else:
        page.text_right(right, y, text, fitted(text, style, room - _GAP))


def _split(text: str) -> tuple[str, str]:
    whole, point, rest = text.partition(".")
    return whole, point + rest


def _widest_fraction(numbers: list[tuple[str, TextStyle]]) -> float:
    """The widest part from the decimal point on, among those of usual length."""
    widths = [text_width(rest, style) for text, style in numbers if (rest := _split(text)[1])]
    return max((width for width in widths if width <= 40), default=0.0)


def totals_band(document: InvoiceDocument, page_width: float) -> Band:
    """Subtotal, deductions, taxes, total and what is due, under the amounts."""
    left = MARGIN + (page_width - 2 * MARGIN) * _TOTALS_LEFT
    rows = [
        (wrapped(label, _SOFT_BODY, page_width - MARGIN - left - text_width(amount, BODY) - _GAP), amount)
        for label, amount in _totals_rows(document)
    ]

    height = 19 + sum(16 + (len(labels) - 1) * LEADING for labels, _ in rows) + 40

    def draw(page: Page, top: float) -> None:
        y = top + 19
        for labels, amount in rows:
            _total_row(page, left, y, labels[0], amount, BODY)
            for label in labels[1:]:
                y += LEADING
                page.text(left, y, label, _SOFT_BODY)
            y += 16
        page.rule(y - 8, RULE, left=left)
        _total_row(page, left, y + 7, "Total", money_text(document.total, document.currency), STRONG)
        page.rule(y + 17, INK, 0.9, left=left)
        _total_row(page, left, y + 34, "Amount due", money_text(document.amount_due, document.currency), _TOTAL)

    return Band(height, draw, space=2)


def _totals_rows(document: InvoiceDocument) -> list[tuple[str, str]]:
    def money(amount: Decimal) -> str:
        return money_text(amount, document.currency)

    rows = [("Subtotal", money(document.subtotal))]
    if document.discount != ZERO:
        rows.append(("Discount", money(document.discount.copy_negate())))
    for tax in document.taxes:
        included = ", included" if tax.inclusive else ""
        rows.append((f"{tax.label} on{NBSP}{money(tax.base)}{included}", money(tax.amount)))
    if document.credits != ZERO:
        rows.append(("Credits applied", money(document.credits.copy_negate())))
    return rows


def _total_row(page: Page, left: float, y: float, label: str, amount: str, style: TextStyle) -> None:
    right = page.right
    amount_style = fitted(amount, style, (right - left) * 0.55)
    room = right - left - text_width(amount, amount_style) - _GAP
    label_style = _SOFT_BODY if style is BODY else style
    page.text(left, y, label, fitted(label, label_style, room))
    page.text_right(right, y, amount, amount_style)
