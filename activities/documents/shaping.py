"""From a line of text to positioned glyphs, in any of the scripts that our fonts cover.

Owns direction (the Unicode bidirectional algorithm by python-bidi), the choice of a font for every character, and
shaping (HarfBuzz: Arabic joining, Devanagari conjuncts, kerning). Does not break lines or draw.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import uharfbuzz as hb
from bidi import algorithm
from bidi.mirror import MIRRORED

from activities.documents.fonts import EM, FontFace, Weight, fonts_for

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_DIRECTION_CONTROLS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_TRANSLATION = {**dict.fromkeys(_DIRECTION_CONTROLS), **dict.fromkeys(map(ord, "\t\n\r\v\f\u2028\u2029\u00a0"), " ")}
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_FIRST_RIGHT_TO_LEFT = "\u0590"
_KANA = range(0x3040, 0x3100)


@dataclass(frozen=True, slots=True)
class Glyph:
    """A glyph of one face; advance and offsets in thousandths of the font size.

    `text` is what it stands for. Of several glyphs that stand for one text together, the first carries it.
    """

    id: int
    advance: int
    x_offset: int
    y_offset: int
    text: str


@dataclass(frozen=True, slots=True)
class GlyphRun:
    """Glyphs of one font, script and direction, from left to right; `text` in reading order."""

    face: FontFace
    glyphs: tuple[Glyph, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ShapedText:
    """A line of text ready to draw; runs from left to right, width in thousandths of the font size."""

    runs: tuple[GlyphRun, ...]
    width: int

    def width_at(self, size: float) -> float:
        """The width in points at a font size in points."""
        return self.width * size / EM


@lru_cache(maxsize=8192)
def shape(text: str, weight: Weight = Weight.REGULAR, language: str = "") -> ShapedText:
    """Shape one line. A character that no font has becomes U+FFFD; nothing is ever drawn as an empty box.

    Directional override characters are dropped, since they let one text pose as another.
    """
    clean = normalize(text)
    japanese = language.lower().split("-")[0] == "ja" or any(ord(char) in _KANA for char in clean)
    covered, choices = _choose_fonts(clean, fonts_for(weight, japanese))
    runs: list[tuple[int, GlyphRun]] = []
    properties = zip(_bidi_levels(covered), choices, _scripts(covered), covered, strict=True)
    for (level, font, _), group in groupby(properties, key=lambda char: char[:3]):
        part = "".join(char[3] for char in group)
        runs.append((level, _shape_run(part, font, level % 2 == 1)))
    ordered = tuple(_reorder(runs))
    return ShapedText(ordered, sum(glyph.advance for run in ordered for glyph in run.glyphs))


def normalize(text: str) -> str:
    """The text as it will be shown: NFC, one line, without directional overrides.

    A no-break space has done its work once lines are broken, and is copied and searched as a plain one.
    """
    return unicodedata.normalize("NFC", text.translate(_TRANSLATION))


def _choose_fonts(text: str, fonts: tuple[FontFace, ...]) -> tuple[str, list[FontFace]]:
    """The text with uncovered characters replaced, and the font of each character."""
    shown: list[str] = []
    chosen: list[FontFace] = []
    for char in text:
        font = _font_of(char, fonts, chosen[-1] if chosen else None)
        shown.append(char if font else REPLACEMENT)
        chosen.append(font or fonts[0])
    return "".join(shown), chosen


def _font_of(char: str, fonts: tuple[FontFace, ...], previous: FontFace | None) -> FontFace | None:
    category = unicodedata.category(char)
    # Marks and joiners belong to the letter before them; HarfBuzz hides format characters that a font lacks.
    if previous is not None and category[0] == "M" and ord(char) in previous.coverage:
        return previous
    if category == "Cf" or "\ufe00" <= char <= "\ufe0f":
        return previous or fonts[0]
    return next((font for font in fonts if ord(char) in font.coverage), None)


def _scripts(text: str) -> list[str]:
    """The script of each character, by the first word of its letter's name; others go with the letter before them.

    HarfBuzz shapes a whole run by one script's rules, so Latin and Devanagari of one font must not share a run.
    """
    scripts: list[str] = []
    for char in text:
        if unicodedata.category(char)[0] == "L":
            scripts.append("LATIN" if char.isascii() else unicodedata.name(char, "LATIN").split(" ")[0])
        else:
            scripts.append(scripts[-1] if scripts else "LATIN")
    return scripts


def _bidi_levels(text: str) -> list[int]:
    """The embedding level of each character (UAX #9): even runs left to right, odd ones right to left."""
    if not text or (max(text) < _FIRST_RIGHT_TO_LEFT):
        return [0] * len(text)
    classes = [unicodedata.bidirectional(char) for char in text]
    if _RIGHT_TO_LEFT.isdisjoint(classes):
        return [0] * len(text)
    # The algorithm drops boundary neutrals (joiners among them); they take the level of what they follow.
    resolved = iter(_resolve("".join(char for char, cls in zip(text, classes, strict=True) if cls != "BN")))
    levels: list[int] = []
    for cls in classes:
        levels.append((levels[-1] if levels else 0) if cls == "BN" else next(resolved))
    return levels


def _resolve(text: str) -> list[int]:
    storage = algorithm.get_empty_storage()
    storage["base_level"] = algorithm.get_base_level(text)
    storage["base_dir"] = ("L", "R")[storage["base_level"]]
    algorithm.get_embedding_levels(text, storage)
    algorithm.explicit_embed_and_overrides(storage)
    algorithm.resolve_weak_types(storage)
    algorithm.resolve_neutral_types(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    return [char["level"] for char in storage["chars"]]


def _reorder(runs: list[tuple[int, GlyphRun]]) -> list[GlyphRun]:
    """Rule L2 of UAX #9: from the highest level down to the lowest odd one, reverse what lies at it or above."""
    highest = max((level for level, _ in runs), default=0)
    for threshold in range(highest, 0, -1):
        pieces: list[tuple[int, GlyphRun]] = []
        for at_or_above, group in groupby(runs, key=lambda run: run[0] >= threshold):
            same = list(group)
            pieces.extend(reversed(same) if at_or_above else same)
        runs = pieces
    return [run for _, run in runs]


def _shape_run(text: str, font: FontFace, right_to_left: bool) -> GlyphRun:
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.direction = "rtl" if right_to_left else "ltr"
    # Set, since HarfBuzz would otherwise take the language from the process's locale.
    buffer.language = "en"
    buffer.guess_segment_properties()
    hb.shape(font.shaper, buffer)
    infos, positions = buffer.glyph_infos, buffer.glyph_positions
    texts = _cluster_texts(text, [info.cluster for info in infos])
    if right_to_left:
        # HarfBuzz shows "(" by the glyph of ")" here, and that is what the glyph stands for on the page.
        texts = [MIRRORED.get(stands_for, stands_for) for stands_for in texts]
    glyphs = tuple(
        Glyph(info.codepoint, position.x_advance, position.x_offset, position.y_offset, stands_for)
        for info, position, stands_for in zip(infos, positions, texts, strict=True)
    )
    return GlyphRun(font, glyphs, text)


def _cluster_texts(text: str, clusters: list[int]) -> list[str]:
    """For each glyph the characters that it stands for; in a cluster of several glyphs the first carries them all."""
    starts = sorted(set(clusters))
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    seen: set[int] = set()
    texts: list[str] = []
    for cluster in clusters:
        texts.append("" if cluster in seen else text[cluster : ends[cluster]])
        seen.add(cluster)
    return texts
