"""The invoice as a PDF: what is due, as it stood at issue.

Owns the order of the parts. Pure: bytes from content, no clock, no I/O but the fonts of this package.
"""

from datetime import UTC, datetime, time

from activities.documents.chart import chart_band
from activities.documents.content import InvoiceDocument
from activities.documents.flow import Band, Frame, flow
from activities.documents.formatting import day_text, money_text, period_text
from activities.documents.furniture import (
    FOOTER_HEIGHT,
    PageOpener,
    draw_footers,
    facts,
    headline,
    letterhead,
    notes,
    parties,
)
from activities.documents.lines_table import columns_for, line_bands, table_header, totals_band
from activities.documents.page import PAPER_SIZES, Page
from activities.documents.pdf import FileInfo, write_pdf


def render_invoice(document: InvoiceDocument) -> bytes:
    """The invoice as PDF bytes; the same document gives the same bytes. CPU only: call it off the event loop."""
    title = f"Invoice {document.number}"
    info = FileInfo(title, document.seller.name, f"Invoice for {document.buyer.name}", _midnight(document))
    return write_pdf(lay_out_invoice(document), info)


def lay_out_invoice(document: InvoiceDocument) -> list[Page]:
    """The invoice's pages before they are written."""
    width, height = PAPER_SIZES[document.paper]
    columns = columns_for(document, width)
    header = table_header(columns)
    opener = PageOpener(width, height, f"Invoice {document.number}")
    bands = [*_opening_bands(document, width), header]
    for line in document.lines:
        bands.extend(line_bands(line, document, columns))
    bands[-1] = _tied(bands[-1])
    bands.append(totals_band(document, width))
    if document.daily_usage:
        bands.append(chart_band(document.daily_usage, document.usage_title, document.usage_unit, width))
    zone_note = f"Periods are given in the time zone {document.zone}."
    bands.extend(notes((*document.notes, zone_note), width))
    pages = flow(bands, Frame(opener, height - FOOTER_HEIGHT, header))
    draw_footers(pages, f"{document.number}  ·  {document.seller.name}")
    return pages


def _opening_bands(document: InvoiceDocument, width: float) -> list[Band]:
    dates = [
        ("Invoice number", document.number),
        ("Issue date", day_text(document.issued_on)),
        ("Due date", day_text(document.due_on)),
    ]
    if document.period:
        dates.append(("Billing period", period_text(document.period.start, document.period.end, document.zone)))
    due = money_text(document.amount_due, document.currency)
    return [
        letterhead("Invoice", document.seller, width),
        facts(dates, width),
        parties((("From", document.seller), ("Bill to", document.buyer)), width),
        headline(due, f"due {day_text(document.due_on)}" if document.amount_due > 0 else "nothing is due"),
    ]


def _tied(band: Band) -> Band:
    return Band(band.height, band.draw, True, band.in_table, band.space)


def _midnight(document: InvoiceDocument) -> datetime:
    return datetime.combine(document.issued_on, time(), UTC)
