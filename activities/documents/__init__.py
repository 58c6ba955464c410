"""Invoices, receipts and credit notes as PDF: content in, bytes out.

Owns what the documents look like. Does not load data, store files or sign links.
"""

from activities.documents.content import (
    CreditNoteDocument,
    DetailRow,
    DocumentLine,
    InvoiceDocument,
    Party,
    Period,
    ReceiptDocument,
    TaxRow,
)
from activities.documents.credit_note import render_credit_note
from activities.documents.formatting import day_text, money_text, price_text, quantity_text
from activities.documents.invoice import render_invoice
from activities.documents.receipt import render_receipt

__all__ = [
    "CreditNoteDocument",
    "DetailRow",
    "DocumentLine",
    "InvoiceDocument",
    "Party",
    "Period",
    "ReceiptDocument",
    "TaxRow",
    "day_text",
    "money_text",
    "price_text",
    "quantity_text",
    "render_credit_note",
    "render_invoice",
    "render_receipt",
]
