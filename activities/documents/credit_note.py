"""The credit note as a PDF: what of which invoice is credited, and what becomes of it.

Owns the order of the parts. Pure, like the invoice.
"""

from datetime import UTC, datetime, time

from activities.documents.content import CreditNoteDocument, DocumentLine
from activities.documents.flow import Band, Frame, flow
from activities.documents.formatting import day_text, money_text, period_text
from activities.documents.furniture import (
    BODY,
    FOOTER_HEIGHT,
    LABEL,
    LEADING,
    SMALL,
    SMALL_LEADING,
    STRONG,
    PageOpener,
    draw_footers,
    facts,
    headline,
    letterhead,
    notes,
    parties,
)
from activities.documents.page import INK, MARGIN, PAPER_SIZES, RULE, Page, fitted, wrapped
from activities.documents.pdf import FileInfo, write_pdf

_AMOUNT_WIDTH = 110.0


def render_credit_note(document: CreditNoteDocument) -> bytes:
    """The credit note as PDF bytes; the same document gives the same bytes. CPU only: call it off the event loop."""
    created = datetime.combine(document.issued_on, time(), UTC)
    subject = f"Credit of invoice {document.invoice_number}"
    info = FileInfo(f"Credit note {document.number}", document.seller.name, subject, created)
    return write_pdf(lay_out_credit_note(document), info)


def lay_out_credit_note(document: CreditNoteDocument) -> list[Page]:
    """The credit note's pages before they are written."""
    width, height = PAPER_SIZES[document.paper]
    header = _header()
    bands = [
        letterhead("Credit note", document.seller, width),
        facts(
            [
                ("Credit note number", document.number),
                ("Issued", day_text(document.issued_on)),
                ("Of invoice", document.invoice_number),
                ("Invoice issued", day_text(document.invoice_issued_on)),
            ],
            width,
        ),
        parties((("From", document.seller), ("Credit to", document.buyer)), width),
        headline(money_text(document.total, document.currency), document.effect),
        header,
    ]
    bands += [_line_band(line, document, width) for line in document.lines]
    bands += [_totals(document), *notes(document.notes, width)]
    opener = PageOpener(width, height, f"Credit note {document.number}")
    pages = flow(bands, Frame(opener, height - FOOTER_HEIGHT, header))
    draw_footers(pages, f"{document.number}  ·  {document.seller.name}")
    return pages


def _header() -> Band:
    def draw(page: Page, top: float) -> None:
        page.text(page.left, top + 9, "Description", LABEL)
        page.text_right(page.right, top + 9, "Credited, tax included", LABEL)
        page.rule(top + 16, INK, 0.9)

    return Band(17, draw, keep_with_next=True, space=24)


def _line_band(line: DocumentLine, document: CreditNoteDocument, width: float) -> Band:
    room = width - 2 * MARGIN - _AMOUNT_WIDTH
    names = wrapped(line.description, STRONG, room, document.buyer.language)
    period = period_text(line.period.start, line.period.end, document.zone) if line.period else ""
    periods = wrapped(period, SMALL, room) if period else []
    height = 16 + len(names) * LEADING + len(periods) * SMALL_LEADING

    def draw(page: Page, top: float) -> None:
        y = top + 17
        for index, text in enumerate(names):
            page.text(page.left, y + index * LEADING, text, STRONG, document.buyer.language)
        below = y + (len(names) - 1) * LEADING
        for index, text in enumerate(periods, start=1):
            page.text(page.left, below + index * SMALL_LEADING + 0.8, text, SMALL)
        amount = money_text(line.amount, document.currency)
        page.text_right(page.right, y, amount, fitted(amount, BODY, _AMOUNT_WIDTH))
        page.rule(top + height - 0.6, RULE)

    return Band(height, draw, in_table=True)


def _totals(document: CreditNoteDocument) -> Band:
    rows = [("Total credited", document.total, STRONG)]
    if document.tax:
        rows.append(("of which tax", document.tax, BODY))

    def draw(page: Page, top: float) -> None:
        left = page.left + (page.right - page.left) * 0.52
        for index, (label, amount, style) in enumerate(rows):
            y = top + 16 + index * 18
            page.text(left, y, label, style)
            shown = money_text(amount, document.currency)
            page.text_right(page.right, y, shown, fitted(shown, style, _AMOUNT_WIDTH))

    return Band(16 + len(rows) * 18, draw, space=6)
