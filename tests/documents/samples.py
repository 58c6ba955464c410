"""Documents that the tests render: a usual invoice, and variations of it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

from activities.documents import (
    CreditNoteDocument,
    DetailRow,
    DocumentLine,
    InvoiceDocument,
    Party,
    Period,
    ReceiptDocument,
    TaxRow,
    money_text,
    price_text,
)

SELLER = Party(
    "Demo Voice Inc.",
    ("548 Market Street, Suite 1200", "San Francisco, CA 94104", "United States"),
    "EIN 84-1234567",
    "billing@demovoice.example",
)
BUYER = Party(
    "Kaveri Health कावेरी",
    ("12 Residency Road", "Bengaluru 560025", "Karnataka, India"),
    "GSTIN 29ABCDE1234F1Z5",
    "accounts@kaveri.example",
)
FEBRUARY = Period(datetime(2025, 1, 30, 18, 30, tzinfo=UTC), datetime(2025, 2, 27, 18, 30, tzinfo=UTC))
MARCH = Period(datetime(2025, 2, 27, 18, 30, tzinfo=UTC), datetime(2025, 3, 30, 18, 30, tzinfo=UTC))


def seats(amount: str = "62.50") -> DocumentLine:
    """A seat price in advance."""
    return DocumentLine("Seats", D(amount), D(5), "$12.50", MARCH)


def talk() -> DocumentLine:
    """A graduated price with its tiers."""
    return DocumentLine(
        "Talk time",
        D("131.16"),
        D("98412.75"),
        "",
        FEBRUARY,
        (
            DetailRow("First 36,000 seconds", D("54.00"), D(36000), D("0.0015")),
            DetailRow("36,000 to 90,000 seconds", D("64.80"), D(54000), D("0.0012")),
            DetailRow("Tier fee", D("5")),
            DetailRow("Over 90,000 seconds", D("7.36115625"), D("8412.75"), D("0.000875")),
        ),
    )


def invoice() -> InvoiceDocument:
    """A usual invoice: three lines, a tax, a chart."""
    premium = DocumentLine("Premium calls", D("42.75"), D(412), price_text(D("4.75"), "usd", "50 calls"), FEBRUARY)
    subtotal = D("236.41")
    usage = tuple(
        (date(2025, 1, 31) + timedelta(days=day), D(1200 + 137 * (day * 7 % 31)) * (D("0.3") if day % 7 < 2 else 1))
        for day in range(28)
    )
    return InvoiceDocument(
        number="INV-202502-00001",
        issued_on=date(2025, 2, 28),
        due_on=date(2025, 3, 14),
        seller=SELLER,
        buyer=BUYER,
        currency="usd",
        zone="Asia/Kolkata",
        period=FEBRUARY,
        lines=(seats(), talk(), premium),
        subtotal=subtotal,
        taxes=(TaxRow("GST 18%", subtotal, D("42.55")),),
        total=D("278.96"),
        amount_due=D("278.96"),
        notes=("Questions about this invoice: billing@demovoice.example.",),
        daily_usage=usage,
        usage_title="Talk time by day",
        usage_unit="seconds",
    )


def many_lines(count: int) -> InvoiceDocument:
    """An invoice of `count` lines, some with tiers."""
    lines = tuple(
        DocumentLine(
            f"Region {index + 1} minutes",
            D("10.05"),
            D("6700"),
            "$0.0015",
            FEBRUARY,
            (DetailRow("First 6,700", D("10.05"), D(6700), D("0.0015")),) if index % 3 == 0 else (),
        )
        for index in range(count)
    )
    total = sum((line.amount for line in lines), D(0))
    return replace(invoice(), lines=lines, subtotal=total, taxes=(), total=total, amount_due=total)


def in_currency(currency: str, amount: str) -> InvoiceDocument:
    """An invoice of one line in another currency."""
    price = D(amount)
    line = DocumentLine("Platform fee", price, D(1), money_text(price, currency), FEBRUARY)
    return replace(invoice(), currency=currency, lines=(line,), subtotal=price, taxes=(), total=price, amount_due=price)


def addressed_to(name: str, *address: str, language: str = "") -> InvoiceDocument:
    """The usual invoice for another buyer."""
    return replace(invoice(), buyer=Party(name, address, language=language))


def receipt() -> ReceiptDocument:
    """A receipt for the usual invoice."""
    return ReceiptDocument(
        number="RCP-202502-00001",
        invoice_number="INV-202502-00001",
        payment_id="pay_01JMZ4T6Y2N8QWERTYUIOPASDF",
        method="Visa ending in 4242",
        paid_at=datetime(2025, 2, 27, 20, 30, tzinfo=UTC),
        seller=SELLER,
        buyer=BUYER,
        currency="usd",
        zone="Asia/Kolkata",
        amount_paid=D("278.96"),
        invoice_total=D("278.96"),
    )


def credit_note() -> CreditNoteDocument:
    """A credit note of the usual invoice: a seat that was not used, and calls that were voided."""
    return CreditNoteDocument(
        number="CN-202503-00001",
        invoice_number="INV-202502-00001",
        issued_on=date(2025, 3, 3),
        invoice_issued_on=date(2025, 2, 28),
        effect="taken off what is left to pay",
        seller=SELLER,
        buyer=BUYER,
        currency="usd",
        zone="Asia/Kolkata",
        lines=(
            DocumentLine("Seats", D("14.75"), period=MARCH),
            DocumentLine("Correction: Premium calls", D("11.21"), period=FEBRUARY),
        ),
        total=D("25.96"),
        tax=D("3.96"),
        notes=("One of the seats was never handed out; 2 packages of premium calls were test calls.",),
    )


NAMES = {
    "Latin": "Müller & Søn A/S, Łódź, Nguyễn Thị Ánh",
    "Greek": "Ελληνική Εταιρεία Τηλεπικοινωνιών",
    "Cyrillic": "ТОВ «Привіт, Україно», Љубав Ђорђе",
    "Devanagari": "श्री लक्ष्मी क्षत्रिय ज्ञानेश्वर विद्यार्थी शक्ति",
    "Arabic": "شركة الخليج للاتصالات (ذ.م.م) 2025",
    "Persian": "شرکت می‌خواهم گچپژ",
    "Chinese": "北京云声科技有限公司 臺灣語音股份有限公司",
    "Japanese": "株式会社ナインスター東京 髙島屋",
    "Korean": "주식회사 한국전자",
}


def names_of_the_world() -> InvoiceDocument:
    """An invoice with a name of every script, light and bold."""
    one = D("1.00")
    lines = tuple(
        DocumentLine(name, one, D(1), "$1.00", FEBRUARY, (DetailRow(f"{script}: {name}", one),))
        for script, name in NAMES.items()
    )
    total = D(len(lines))
    return replace(
        invoice(),
        seller=Party(NAMES["Arabic"], (NAMES["Persian"], "شارع الشيخ زايد، دبي"), "TRN 100123456700003"),
        buyer=Party("骨直今角株式会社", ("東京都千代田区丸の内1-9-1", NAMES["Devanagari"]), language="ja"),
        lines=lines,
        subtotal=total,
        taxes=(),
        total=total,
        amount_due=total,
        daily_usage=(),
    )
