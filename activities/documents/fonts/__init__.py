"""The font files of the documents (their origins and licences: README.md here), loaded once per process.

Owns which file serves which text, in what order. Does not shape or embed.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

import uharfbuzz as hb

_FOLDER = Path(__file__).parent
EM = 1000
"""Units per em in which all advances are given, PDF's own glyph space; every font is scaled to it."""


class Weight(StrEnum):
    """The two weights that documents are set in."""

    REGULAR = "Regular"
    SEMIBOLD = "SemiBold"


@dataclass(frozen=True, eq=False)
class FontFace:
    """One font file, ready for shaping. `coverage` holds the code points that it has a glyph for."""

    name: str
    shaper: hb.Font = field(repr=False)
    coverage: frozenset[int] = field(repr=False)

    @property
    def file(self) -> hb.Face:
        """The HarfBuzz face, as needed for subsetting."""
        return self.shaper.face


@cache
def load_face(name: str) -> FontFace:
    """Load `name`.ttf of this folder. Raises OSError if it is missing from the installation."""
    file = hb.Face(hb.Blob.from_file_path(str(_FOLDER / f"{name}.ttf")))
    shaper = hb.Font(file)
    shaper.scale = (EM, EM)
    return FontFace(name, shaper, frozenset(file.unicodes))


@cache
def fonts_for(weight: Weight, japanese: bool) -> tuple[FontFace, ...]:
    """The faces to try for a character, in order. `japanese` puts Japanese forms of Han characters first.

    Han characters, kana and Hangul have one weight: strokes thickened by the viewer close their small openings.
    """
    han = ["DroidSansFallback", "NotoSansJP-Regular"]
    if japanese:
        han.reverse()
    return tuple(load_face(name) for name in (f"NotoSans-{weight}", f"NotoSansArabic-{weight}", *han))
