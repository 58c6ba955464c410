"""The receipt as a PDF: one payment that succeeded, and what it was for.

Owns the order of the parts. Pure, like the invoice.
"""

from activities.documents.content import ReceiptDocument
from activities.documents.flow import Band, Frame, flow
from activities.documents.formatting import moment_text, money_text
from activities.documents.furniture import (
    BODY,
    FOOTER_HEIGHT,
    STRONG,
    PageOpener,
    draw_footers,
    facts,
    headline,
    letterhead,
    notes,
    parties,
)
from activities.documents.page import INK, PAPER_SIZES, RULE, Page, fitted
from activities.documents.pdf import FileInfo, write_pdf


def render_receipt(document: ReceiptDocument) -> bytes:
    """The receipt as PDF bytes; the same document gives the same bytes. CPU only: call it off the event loop."""
    title = f"Receipt {document.number}"
    info = FileInfo(title, document.seller.name, f"Payment of invoice {document.invoice_number}", document.paid_at)
    return write_pdf(lay_out_receipt(document), info)


def lay_out_receipt(document: ReceiptDocument) -> list[Page]:
    """The receipt's pages before they are written."""
    width, height = PAPER_SIZES[document.paper]
    paid = money_text(document.amount_paid, document.currency)
    paid_at = moment_text(document.paid_at, document.zone)
    numbers = [("Receipt number", document.number), ("Invoice number", document.invoice_number)]
    bands = [
        letterhead("Receipt", document.seller, width),
        facts([*numbers, ("Paid at", paid_at)], width),
        parties((("Received by", document.seller), ("Received from", document.buyer)), width),
        headline(paid, "paid, with thanks" if not document.amount_remaining else "paid in part, with thanks"),
        _payment_band(document),
        *notes(document.notes, width),
    ]
    header = Band(0, lambda page, top: None)
    opener = PageOpener(width, height, f"Receipt {document.number}")
    pages = flow(bands, Frame(opener, height - FOOTER_HEIGHT, header))
    draw_footers(pages, f"{document.number}  ·  {document.seller.name}")
    return pages


def _payment_band(document: ReceiptDocument) -> Band:
    def money(name: str) -> str:
        return money_text(getattr(document, name), document.currency)

    rows = [
        ("Payment method", document.method, BODY),
        ("Payment reference", document.payment_id, BODY),
        (f"Total of invoice {document.invoice_number}", money("invoice_total"), BODY),
        ("Amount paid", money("amount_paid"), STRONG),
        ("Remaining on the invoice", money("amount_remaining"), BODY),
    ]

    def draw(page: Page, top: float) -> None:
        page.rule(top, INK, 0.9)
        for index, (label, value, style) in enumerate(rows):
            y = top + 20 + index * 24
            page.text(page.left, y, label, style)
            page.text_right(page.right, y, value, fitted(value, style, (page.right - page.left) * 0.6))
            page.rule(y + 9, RULE)

    return Band(20 + len(rows) * 24, draw, space=26)
