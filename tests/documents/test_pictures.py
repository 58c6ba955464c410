"""Documents look as approved (tests/documents/approved), and the comparison is sharp enough to notice a digit."""

from dataclasses import replace
from decimal import Decimal as D

import pytest
from PIL import Image

from activities.documents import DetailRow, DocumentLine, Party, render_invoice
from tests.documents import samples
from tests.documents.pictures import APPROVED, PICTURES, PIXELS_ALLOWED, differing_pixels, page_picture


@pytest.mark.parametrize("name", PICTURES)
def test_pages_look_as_approved(name: str) -> None:
    approved = Image.open(APPROVED / f"{name}.png").convert("RGB")
    assert differing_pixels(PICTURES[name](), approved) <= PIXELS_ALLOWED


def test_a_changed_digit_is_noticed() -> None:
    document = replace(samples.invoice(), number="INV-202502-00007")
    approved = Image.open(APPROVED / "invoice.png").convert("RGB")
    assert differing_pixels(page_picture(render_invoice(document), 0), approved) > PIXELS_ALLOWED


def test_a_missing_mark_in_a_name_is_noticed() -> None:
    document = replace(samples.names_of_the_world())
    first = document.lines[3]
    bare = first.description.replace("ी", "")
    row = DetailRow(f"Devanagari: {bare}", D("1.00"))
    line = DocumentLine(bare, first.amount, first.quantity, first.unit_price, first.period, (row,))
    changed = replace(document, lines=(*document.lines[:3], line, *document.lines[4:]))
    approved = Image.open(APPROVED / "names.png").convert("RGB")
    assert differing_pixels(page_picture(render_invoice(changed), 0), approved) > PIXELS_ALLOWED


def test_japanese_and_chinese_names_take_their_own_forms() -> None:
    japanese, chinese = (
        page_picture(render_invoice(replace(samples.invoice(), buyer=Party("骨直今角", language=language))), 0)
        for language in ("ja", "zh")
    )
    assert differing_pixels(japanese, chinese) > PIXELS_ALLOWED
