"""A page as a list of things to draw, in points from the top left corner.

Owns the drawing vocabulary (text, boxes) and alignment. Does not decide what goes where, or write PDF.
"""

from dataclasses import dataclass, field

from activities.documents.fonts import Weight
from activities.documents.shaping import ShapedText, shape

Color = tuple[float, float, float]
INK: Color = (0.09, 0.12, 0.18)
SOFT: Color = (0.38, 0.43, 0.50)
RULE: Color = (0.87, 0.89, 0.92)
ACCENT: Color = (0.16, 0.32, 0.55)
BAR: Color = (0.49, 0.60, 0.76)
TINT: Color = (0.965, 0.972, 0.98)

PAPER_SIZES = {"a4": (595.28, 841.89), "letter": (612.0, 792.0)}
MARGIN = 50.0
_SMALLEST = 3.5
_NEVER_FIRST = " 、。，）」』々ー・"


@dataclass(frozen=True)
class TextStyle:
    """How text is set: size in points, weight, colour."""

    size: float
    weight: Weight = Weight.REGULAR
    color: Color = INK


@dataclass(frozen=True)
class PlacedText:
    """A shaped line with its left end at x and its baseline y points below the top of the page."""

    x: float
    y: float
    style: TextStyle
    content: ShapedText


@dataclass(frozen=True)
class Box:
    """A filled rectangle; (x, y) is its top left corner."""

    x: float
    y: float
    width: float
    height: float
    color: Color


@dataclass
class Page:
    """One page being filled."""

    width: float
    height: float
    texts: list[PlacedText] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Where content begins."""
        return MARGIN

    @property
    def right(self) -> float:
        """Where content ends."""
        return self.width - MARGIN

    def text(self, x: float, y: float, text: str, style: TextStyle, language: str = "") -> None:
        """Text with its left end at x."""
        if text:
            self.texts.append(PlacedText(x, y, style, shape(text, style.weight, language)))

    def text_right(self, x: float, y: float, text: str, style: TextStyle, language: str = "") -> None:
        """Text with its right end at x."""
        self.text(x - text_width(text, style, language), y, text, style, language)

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A filled rectangle; nothing if it has no extent."""
        if width > 0 and height > 0:
            self.boxes.append(Box(x, y, width, height, color))

    def rule(self, y: float, color: Color = RULE, thickness: float = 0.6, left: float | None = None) -> None:
        """A horizontal line over the content's width, or from `left`."""
        start = self.left if left is None else left
        self.box(start, y, self.right - start, thickness, color)


def text_width(text: str, style: TextStyle, language: str = "") -> float:
    """The width of a line in points."""
    return shape(text, style.weight, language).width_at(style.size)


def fitted(text: str, style: TextStyle, width: float) -> TextStyle:
    """The style, smaller if a text that must not be broken (a number) would be wider than `width` points."""
    natural = text_width(text, style)
    if natural <= width:
        return style
    return TextStyle(max(_SMALLEST, style.size * width / natural), style.weight, style.color)


def wrapped(text: str, style: TextStyle, width: float, language: str = "") -> list[str]:
    """Break a text into lines of at most `width` points: at spaces and between CJK characters, else within a word."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if text_width((line + piece).rstrip(), style, language) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = piece.lstrip()
        while text_width(line.rstrip(), style, language) > width and len(line) > 1:
            fitting = _fitting_prefix(line, style, width, language)
            lines.append(line[:fitting])
            line = line[fitting:]
    if line.strip() or not lines:
        lines.append(line.rstrip())
    return lines


def _pieces(text: str) -> list[str]:
    """The unbreakable parts of a text, each with the spaces that follow it; joined again they are the text."""
    pieces: list[str] = []
    current = ""
    for char in text:
        may_break = current.endswith(" ") or _is_ideograph(char) or _is_ideograph(current[-1:])
        if current and may_break and char not in _NEVER_FIRST:
            pieces.append(current)
            current = ""
        current += char
    return [*pieces, current] if current else pieces


def _is_ideograph(char: str) -> bool:
    return "\u3040" <= char <= "\u9fff"


def _fitting_prefix(text: str, style: TextStyle, width: float, language: str) -> int:
    """How many characters of a too long word fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle], style, language) <= width:
            low = middle
        else:
            high = middle - 1
    return low
