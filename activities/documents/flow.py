"""Bands of content flowing down pages.

Owns where a page ends: what belongs together stays together, and a table that goes on repeats its header. Does not
know what a band shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from activities.documents.page import Page

Draw = Callable[[Page, float], None]
"""Draws a band with its top at y points below the page's top."""


@dataclass(frozen=True)
class Band:
    """A strip of content that is never cut. `keep_with_next` ties it to the band below; `in_table` asks for the
    table's header when it is the first on a page. `space` above is left out at the top of a page."""

    height: float
    draw: Draw
    keep_with_next: bool = False
    in_table: bool = False
    space: float = 0.0


@dataclass(frozen=True)
class Frame:
    """Where bands may stand: `open_page` gives a new page and the y at which its content begins."""

    open_page: Callable[[int], tuple[Page, float]]
    bottom: float
    table_header: Band


def flow(bands: Sequence[Band], frame: Frame) -> list[Page]:
    """Place all bands, opening pages as needed. Bands tied together share a page where one can hold them."""
    cursor = _Cursor(frame)
    start = 0
    while start < len(bands):
        end = start
        while bands[end].keep_with_next and end + 1 < len(bands):
            end += 1
        group = bands[start : end + 1]
        if not cursor.fits(group):
            cursor.turn_page(group[0].in_table)
        for band in group:
            if not cursor.fits([band]):
                cursor.turn_page(band.in_table)
            cursor.place(band)
        start = end + 1
    return cursor.pages


class _Cursor:
    """The place where the next band goes."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.pages: list[Page] = []
        self._open()

    def _open(self) -> None:
        page, self._y = self._frame.open_page(len(self.pages))
        self._fresh = True
        self.pages.append(page)

    def fits(self, group: Sequence[Band]) -> bool:
        """Whether the bands fit below; a band taller than an empty page is placed there all the same."""
        first_space = 0.0 if self._fresh else group[0].space
        height = first_space + sum(band.height for band in group) + sum(band.space for band in group[1:])
        return self._y + height <= self._frame.bottom or (self._fresh and len(group) == 1)

    def turn_page(self, in_table: bool) -> None:
        """Go on at the top of a new page, below the table's header if within the table."""
        if self._fresh:
            return
        self._open()
        if in_table:
            self._frame.table_header.draw(self.pages[-1], self._y)
            self._y += self._frame.table_header.height

    def place(self, band: Band) -> None:
        """Draw the band here and move below it."""
        self._y += 0.0 if self._fresh else band.space
        band.draw(self.pages[-1], self._y)
        self._y += band.height
        self._fresh = False
