"""An invoice's PDF says what it must, the same bytes every time, over as many pages as it takes."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path

import pypdfium2
import pytest

from activities.documents import DocumentLine, InvoiceDocument, TaxRow, render_invoice, render_receipt
from activities.documents.invoice import lay_out_invoice
from activities.documents.page import Page
from billing.errors import Invalid
from tests.documents import samples


def page_texts(data: bytes) -> list[str]:
    pdf = pypdfium2.PdfDocument(data)
    return [page.get_textpage().get_text_bounded().replace("\r\n", "\n") for page in pdf]


def test_an_invoice_says_everything_a_finance_department_needs() -> None:
    (text,) = page_texts(render_invoice(samples.invoice()))
    for expected in (
        "INV-202502-00001", "28 Feb 2025", "14 Mar 2025", "31 Jan – 27 Feb 2025",
        "Demo Voice Inc.", "EIN 84-1234567", "Kaveri Health कावेरी", "GSTIN 29ABCDE1234F1Z5", "Bengaluru 560025",
        "$12.50 $62.50", "36,000 $0.0015 $54.00", "8,412.75 $0.000875 $7.36115625", "$4.75 per 50 calls",
        "Subtotal $236.41", "GST 18% on $236.41 $42.55", "Total $278.96", "Amount due $278.96", "Page 1 of 1",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_receipt_names_payment_and_invoice() -> None:
    (text,) = page_texts(render_receipt(samples.receipt()))
    for expected in ("RCP-202502-00001", "INV-202502-00001", "Visa ending in 4242", "28 Feb 2025, 02:00 UTC+05:30",
                     "pay_01JMZ4T6Y2N8QWERTYUIOPASDF", "Amount paid $278.96", "$0.00"):  # fmt: skip
        assert expected in text, expected


def test_deductions_and_inclusive_taxes_are_shown_with_their_sign() -> None:
    document = replace(
        samples.invoice(),
        discount=D("36.41"),
        credits=D("20"),
        taxes=(TaxRow("GST 18%", D("200"), D("36")), TaxRow("VAT 5%", D("200"), D("9.52"), inclusive=True)),
        total=D("216"),
        amount_due=D("216"),
    )
    text = page_texts(render_invoice(document))[0]
    assert "Discount −$36.41" in text
    assert "Credits applied −$20.00" in text
    assert "VAT 5% on $200.00, included $9.52" in text


def test_the_same_document_gives_the_same_bytes_whatever_was_rendered_before() -> None:
    first = render_invoice(samples.invoice())
    render_invoice(samples.addressed_to("شركة الخليج للتقنية", "东京 क्षत्रिय"))
    assert render_invoice(samples.invoice()) == first


def test_another_process_elsewhere_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from tests.documents import samples; from activities.documents import render_invoice; "
        "print(hashlib.sha256(render_invoice(samples.invoice())).hexdigest())"
    )
    environment = {**os.environ, "TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(render_invoice(samples.invoice())).hexdigest()


def test_rendering_in_many_threads_at_once_gives_the_same_bytes() -> None:
    documents = [samples.invoice(), samples.names_of_the_world(), samples.in_currency("jpy", "1200")] * 6
    alone = [render_invoice(document) for document in documents[:3]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(render_invoice, documents))
    assert together == alone * 6


def test_another_amount_gives_other_bytes() -> None:
    assert render_invoice(samples.in_currency("usd", "1.00")) != render_invoice(samples.in_currency("usd", "1.01"))


def test_two_hundred_lines_run_over_pages_with_headers_and_numbers() -> None:
    texts = page_texts(render_invoice(samples.many_lines(200)))
    assert len(texts) > 8
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text
        if "Region" in text:
            assert text.count("Description") == 1
        if number > 1:
            assert "Invoice INV-202502-00001" in text
    everything = "\n".join(texts)
    assert [f"Region {index} minutes" in everything for index in range(1, 201)] == [True] * 200


@pytest.mark.parametrize("count", range(1, 30))
def test_totals_never_stand_on_a_page_without_a_line(count: int) -> None:
    texts = page_texts(render_invoice(replace(samples.many_lines(count), daily_usage=(), notes=())))
    (page,) = [text for text in texts if "Amount due" in text and "Subtotal" in text]
    assert f"Region {count} minutes" in page


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 30, 200])
def test_nothing_is_drawn_outside_the_margins_or_over_the_footer(count: int) -> None:
    for page in lay_out_invoice(samples.many_lines(count)):
        _check_inside(page)


def test_huge_numbers_and_long_words_stay_on_the_page() -> None:
    amount = D("12345678901234567890.12")
    quantity = D("1234567890123456789.123456789012")
    line = DocumentLine("Donaudampfschifffahrtsgesellschaft" * 4, amount, quantity, "$0.0015")
    document = replace(
        samples.invoice(), lines=(line,), subtotal=amount, total=amount, amount_due=amount,
        taxes=(TaxRow("A tax with a long name " * 6, amount, D(0)),),
        buyer=replace(samples.BUYER, name="X" * 300), seller=replace(samples.SELLER, name="Wide Name " * 40),
        usage_title="Usage of everything " * 20, notes=("Terms " * 900,), number="INV-" + "9" * 60,
    )  # fmt: skip
    for page in lay_out_invoice(document):
        _check_inside(page)


def _check_inside(page: Page) -> None:
    footer = page.height - 44
    for text in page.texts:
        right = text.x + text.content.width_at(text.style.size)
        assert page.left - 0.1 <= text.x, text
        assert right <= page.right + 0.1, text
        assert text.y < footer or text.y == page.height - 30, text


def test_amounts_end_flush_right_and_tiers_align_at_their_decimal_point() -> None:
    (page,) = lay_out_invoice(samples.invoice())
    shown = {"".join(run.text for run in text.content.runs): text for text in page.texts}
    amounts = [shown[key] for key in ("$62.50", "$131.16", "$42.75")]
    ends = {text.x + text.content.width_at(text.style.size) for text in amounts}
    assert max(ends) - min(ends) < 0.01
    points = {shown[key].x + _width_before_point(shown[key].content, shown[key].style.size)
              for key in ("$54.00", "$64.80", "$5.00", "$7.36115625")}  # fmt: skip
    assert max(points) - min(points) < 0.01


def _width_before_point(content: object, size: float) -> float:
    width = 0
    for run in content.runs:  # type: ignore[attr-defined]
        for glyph in run.glyphs:
            if glyph.text == ".":
                return width * size / 1000
            width += glyph.advance
    raise AssertionError("no decimal point")


def test_letter_paper_is_letter_sized() -> None:
    document = replace(samples.invoice(), paper="letter")
    assert pypdfium2.PdfDocument(render_invoice(document))[0].get_size() == (612, 792)


def test_an_invoice_of_nothing_says_so() -> None:
    zero = D(0)
    line = DocumentLine("Talk time", zero, zero, "", samples.FEBRUARY)
    document = replace(samples.invoice(), lines=(line,), subtotal=zero, total=zero, amount_due=zero, taxes=(),
                       daily_usage=((samples.FEBRUARY.start.date(), zero),))  # fmt: skip
    (text,) = page_texts(render_invoice(document))
    assert "$0.00 nothing is due" in text


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("subtotal", {"subtotal": D("236.42")}),
        ("total", {"total": D("278.97")}),
        ("amount_due", {"amount_due": D("278.961")}),
        ("discount", {"discount": 1.0}),
        ("zone", {"zone": "Mars/Olympus"}),
        ("currency", {"currency": "zzz"}),
    ],
)
def test_a_document_that_does_not_add_up_names_the_field_at_fault(field: str, change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, Invalid), match=field):
        replace(samples.invoice(), **change)  # type: ignore[arg-type]


def test_a_document_without_lines_still_has_its_totals() -> None:
    document: InvoiceDocument = replace(
        samples.invoice(), lines=(), subtotal=D(0), taxes=(), total=D(0), amount_due=D(0), daily_usage=()
    )
    (text,) = page_texts(render_invoice(document))
    assert "Total $0.00" in text
