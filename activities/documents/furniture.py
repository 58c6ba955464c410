"""What invoices and receipts share: letterhead, address blocks, labelled facts, notes, page footers.

Owns the documents' common look. Does not know what an invoice is.
"""

from collections.abc import Sequence

from activities.documents.content import Party
from activities.documents.flow import Band, Draw
from activities.documents.fonts import Weight
from activities.documents.page import (
    ACCENT,
    INK,
    MARGIN,
    RULE,
    SOFT,
    TINT,
    Page,
    TextStyle,
    fitted,
    text_width,
    wrapped,
)

TITLE = TextStyle(24, Weight.SEMIBOLD)
HEADING = TextStyle(12, Weight.SEMIBOLD)
LABEL = TextStyle(7.6, Weight.REGULAR, SOFT)
BODY = TextStyle(9.2)
STRONG = TextStyle(9.2, Weight.SEMIBOLD)
SMALL = TextStyle(7.8, Weight.REGULAR, SOFT)
LEADING = 13.0
SMALL_LEADING = 11.2
FIRST_TOP = 38.0
NEXT_TOP = 74.0
FOOTER_HEIGHT = 58.0


def letterhead(title: str, seller: Party, width: float) -> Band:
    """The document's title on the left, the seller's name on the right."""
    room = (width - 2 * MARGIN) * 0.56
    names = wrapped(seller.name, HEADING, room, seller.language)

    def draw(page: Page, top: float) -> None:
        page.box(0, 0, page.width, 5, ACCENT)
        page.text(page.left, top + 24, title, TITLE)
        for index, name in enumerate(names):
            page.text_right(page.right, top + 24 + index * 16, name, HEADING, seller.language)

    return Band(46 + 16 * (len(names) - 1), draw)


def facts(pairs: Sequence[tuple[str, str]], width: float) -> Band:
    """Labelled values side by side, in columns of equal width."""
    column = (width - 2 * MARGIN) / len(pairs)
    values = [wrapped(value, BODY, column - 12) for _, value in pairs]
    lines = max(len(value) for value in values)

    def draw(page: Page, top: float) -> None:
        for index, ((label, _), value) in enumerate(zip(pairs, values, strict=True)):
            x = page.left + index * column
            page.text(x, top + 8, label, LABEL)
            for row, line in enumerate(value):
                page.text(x, top + 22 + row * LEADING, line, BODY)

    return Band(22 + LEADING * (lines - 1) + 6, draw, space=10)


def parties(blocks: Sequence[tuple[str, Party]], width: float) -> Band:
    """Address blocks side by side: label, name, address, tax id, e-mail."""
    column = (width - 2 * MARGIN) / len(blocks)
    contents = [_party_lines(party, column - 18) for _, party in blocks]
    lines = max(len(content) for content in contents)

    def draw(page: Page, top: float) -> None:
        page.rule(top)
        for index, ((label, party), content) in enumerate(zip(blocks, contents, strict=True)):
            x = page.left + index * column
            page.text(x, top + 22, label, LABEL)
            for row, (line, style) in enumerate(content):
                page.text(x, top + 37 + row * LEADING, line, style, party.language)

    return Band(37 + LEADING * (lines - 1) + 6, draw, space=14)


def _party_lines(party: Party, width: float) -> list[tuple[str, TextStyle]]:
    soft = TextStyle(BODY.size, BODY.weight, SOFT)
    parts = [(party.name, STRONG), *((line, BODY) for line in party.address_lines)]
    parts += [(extra, soft) for extra in (party.tax_id, party.email) if extra]
    return [(line, style) for text, style in parts for line in wrapped(text, style, width, party.language)]


def headline(amount: str, remark: str) -> Band:
    """The one number of the document, on a tinted strip."""

    def draw(page: Page, top: float) -> None:
        page.box(page.left, top, page.right - page.left, 44, TINT)
        page.box(page.left, top, 3, 44, ACCENT)
        style = fitted(amount, TextStyle(18, Weight.SEMIBOLD), (page.right - page.left) * 0.6)
        page.text(page.left + 18, top + 28.5, amount, style)
        page.text(page.left + 18 + text_width(amount, style) + 10, top + 28.5, remark, TextStyle(10.5, color=SOFT))

    return Band(44, draw, space=22)


def notes(paragraphs: Sequence[str], width: float) -> list[Band]:
    """Free text at the end, line by line so that long terms may run over pages."""
    bands = []
    for index, paragraph in enumerate(paragraphs):
        for row, line in enumerate(wrapped(paragraph, SMALL, width - 2 * MARGIN)):
            space = (22.0 if index == 0 else 5.0) if row == 0 else 0.0
            bands.append(Band(SMALL_LEADING, _note_line(line), space=space))
    return bands


def _note_line(line: str) -> Draw:
    def draw(page: Page, top: float) -> None:
        page.text(page.left, top + 8.5, line, SMALL)

    return draw


class PageOpener:
    """Makes new pages: the first with room for the letterhead, the others with a running head."""

    def __init__(self, width: float, height: float, continued: str) -> None:
        self._width, self._height, self._continued = width, height, continued

    def __call__(self, index: int) -> tuple[Page, float]:
        page = Page(self._width, self._height)
        if index == 0:
            return page, FIRST_TOP
        page.box(0, 0, page.width, 5, ACCENT)
        page.text(page.left, 44, self._continued, TextStyle(9.2, Weight.SEMIBOLD, INK))
        page.text_right(page.right, 44, "continued", SMALL)
        return page, NEXT_TOP - 14


def draw_footers(pages: Sequence[Page], text: str) -> None:
    """The document's name and "Page x of y" at the foot of every page."""
    for number, page in enumerate(pages, start=1):
        y = page.height - 30
        counter = f"Page {number} of {len(pages)}"
        page.rule(y - 14, RULE)
        page.text_right(page.right, y, counter, SMALL)
        room = page.right - page.left - text_width(counter, SMALL) - 20
        page.text(page.left, y, wrapped(text, SMALL, room)[0], SMALL)
