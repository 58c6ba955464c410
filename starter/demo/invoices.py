"""Reads the story's invoices back through the API, in the shape of the golden file, and fetches their PDFs."""

import json
from functools import partial
from pathlib import Path

from starter.demo.api import Api, ApiError, DemoError, Json, wait_for

GOLDEN_FILE = Path(__file__).resolve().parent / "golden" / "invoices.json"
PDF_SECONDS = 120
"""How long the document of an invoice may take after its finalizing."""


def golden_invoices() -> list[Json]:
    """What must come out."""
    invoices: list[Json] = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))["invoices"]
    return invoices


def read_invoices(api: Api, customers: dict[str, str], price_keys: dict[str, str]) -> list[Json]:
    """All invoices of the customers (id -> external id), with lines and payment attempts, by number.

    `price_keys` is price id -> lookup key. Each result holds, beside the golden file's fields, `id` and `tenant_id`.
    """
    attempts = _attempts(api)
    result = []
    for listed in list(api.items("/invoices")):
        if listed["customer_id"] in customers:
            invoice = api.get(f"/invoices/{listed['id']}")
            result.append(_in_golden_shape(invoice, customers, price_keys, attempts.get(invoice["id"], [])))
    return sorted(result, key=lambda invoice: (invoice["number"] or "~", invoice["id"]))


def save_pdfs(api: Api, invoices: list[Json], folder: Path) -> list[Path]:
    """Fetches each invoice's document by its signed URL into `folder`; raises DemoError if one is not a PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for invoice in invoices:
        url = wait_for(f"the PDF of {invoice['number']}", partial(_pdf_url, api, invoice["id"]), PDF_SECONDS)
        content = api.download(url)
        if not content.startswith(b"%PDF-"):
            raise DemoError(f"the document of {invoice['number']} is no PDF, it starts with {content[:20]!r}")
        paths.append(folder / f"{invoice['number']}.pdf")
        paths[-1].write_bytes(content)
    return paths


def _pdf_url(api: Api, invoice_id: str) -> str | None:
    """The signed URL; None while the document is being made (404 or 409)."""
    try:
        url: str = api.get(f"/invoices/{invoice_id}/pdf", url="true")["presigned_url"]
    except ApiError as error:
        if error.status in (404, 409):
            return None
        raise
    return url


def _attempts(api: Api) -> dict[str, list[str]]:
    """Invoice id -> how each attempt to charge it ended, oldest first."""
    ended: dict[str, list[str]] = {}
    for payment in sorted(api.items("/payments"), key=lambda payment: payment["id"]):
        attempts = sorted(payment.get("attempts") or [], key=lambda attempt: attempt["attempt_number"])
        ended.setdefault(payment["destination_id"], []).extend(attempt["payment_status"] for attempt in attempts)
    return ended


def _in_golden_shape(invoice: Json, customers: dict[str, str], price_keys: dict[str, str], attempts: list[str]) -> Json:
    return {
        "id": invoice["id"],
        "tenant_id": invoice["tenant_id"],
        "number": invoice.get("invoice_number"),
        "customer": customers[invoice["customer_id"]],
        "reason": invoice["billing_reason"],
        "period_start": invoice["period_start"],
        "period_end": invoice["period_end"],
        "lines": [
            {
                "price": price_keys.get(line["price_id"], line["price_id"]),
                "quantity": line["quantity"],
                "amount": line["amount"],
                "period_start": line["period_start"],
                "period_end": line["period_end"],
            }
            for line in invoice["line_items"]
        ],
        "subtotal": invoice["subtotal"],
        "tax": invoice["total_tax"],
        "total": invoice["total"],
        "status": invoice["invoice_status"],
        "finalized_at": invoice.get("finalized_at"),
        "payment_status": invoice["payment_status"],
        "paid_at": invoice.get("paid_at"),
        "attempts": attempts,
    }
