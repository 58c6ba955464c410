"""Pages as pictures, compared with those that somebody looked at and approved.

`python -m tests.documents.pictures` approves what the code draws now; look at the files before committing them.
"""

from collections.abc import Callable
from pathlib import Path

import pypdfium2
from PIL import Image, ImageChops

from activities.documents import render_credit_note, render_invoice, render_receipt
from tests.documents import samples

APPROVED = Path(__file__).parent / "approved"
SCALE = 1.5
# Renderers differ in the smoothing of edges (small differences), never in where ink is (large ones).
LARGE_DIFFERENCE = 80
PIXELS_ALLOWED = 15

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "invoice": lambda: page_picture(render_invoice(samples.invoice()), 0),
    "receipt": lambda: page_picture(render_receipt(samples.receipt()), 0),
    "credit-note": lambda: page_picture(render_credit_note(samples.credit_note()), 0),
    "names": lambda: page_picture(render_invoice(samples.names_of_the_world()), 0),
    "kuwaiti-dinar": lambda: page_picture(render_invoice(samples.in_currency("kwd", "1234.567")), 0),
    "second-page": lambda: page_picture(render_invoice(samples.many_lines(14)), 1),
}


def page_picture(data: bytes, page: int) -> Image.Image:
    """One page of a PDF file in colour, as PDFium draws it."""
    picture: Image.Image = pypdfium2.PdfDocument(data)[page].render(scale=SCALE).to_pil()
    return picture.convert("RGB")


def differing_pixels(left: Image.Image, right: Image.Image) -> int:
    """How many pixels differ by much; all of them if the sizes differ."""
    if left.size != right.size:
        return max(left.width * left.height, right.width * right.height)
    difference = ImageChops.difference(left, right).convert("L")
    return sum(difference.histogram()[LARGE_DIFFERENCE:])


def approve() -> None:
    """Write all pictures anew."""
    for name, draw in PICTURES.items():
        draw().quantize(64).save(APPROVED / f"{name}.png", optimize=True)


if __name__ == "__main__":
    approve()
