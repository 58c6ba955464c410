"""Pages to PDF bytes: the same pages give the same bytes, in any process and on any day.

Owns the file's structure (by reportlab's document objects) and the embedding of the fonts, cut down to the glyphs in
use. reportlab's own TTFont is not used: it keeps state between documents, which would let an earlier document change
the bytes of a later one, and it cannot say what a joined glyph stands for. Does not know what the pages show.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import uharfbuzz as hb
from reportlab.pdfbase import pdfdoc

from activities.documents.fonts import EM, FontFace
from activities.documents.page import Box, Color, Page, PlacedText
from activities.documents.shaping import Glyph, GlyphRun

_PRODUCER = "durabill"
_CMAP_CHUNK = 100
_KEPT_TABLES = ("glyf", "loca", "head", "hhea", "hmtx", "maxp")


@dataclass(frozen=True)
class FileInfo:
    """What the file says about itself. `created` is an instant that belongs to the content, never the present."""

    title: str
    author: str
    subject: str
    created: datetime


def write_pdf(pages: Sequence[Page], info: FileInfo) -> bytes:
    """The PDF file of these pages."""
    document = pdfdoc.PDFDocument(compression=1, invariant=1, lang="en", pdfVersion=(1, 5))
    _set_info(document, info)
    fonts = _embed_fonts(document, pages)
    for page in pages:
        code = _page_code(page, fonts)
        document.updateSignature(code)
        document.addPage(_page_object(document, page, code))
    data: bytes = document.GetPDFData(None)
    return data


def _page_object(document: pdfdoc.PDFDocument, page: Page, code: str) -> pdfdoc.PDFPage:
    sheet = pdfdoc.PDFPage()
    sheet.Override_default_compilation = 1
    sheet.MediaBox = pdfdoc.PDFArray([0, 0, page.width, page.height])
    resources = pdfdoc.PDFResourceDictionary()
    resources.basicFonts()
    sheet.Resources = resources
    sheet.Contents = _stream(code.encode("ascii"))
    sheet.Parent = document.Reference(document.Pages)
    return sheet


def _set_info(document: pdfdoc.PDFDocument, info: FileInfo) -> None:
    document.info.title = info.title
    document.info.author = info.author
    document.info.subject = info.subject
    document.info.creator = document.info.producer = _PRODUCER
    created = info.created.astimezone(UTC)
    document.info._dateFormatter = lambda *_: f"D:{created:%Y%m%d%H%M%S}Z"


class _EmbeddedFont:
    """A face within one document: its resource name, the subset, and the glyph numbers within the subset."""

    def __init__(self, face: FontFace, name: str, texts: dict[int, str]) -> None:
        self.face, self.name, self.texts = face, name, texts
        wanted = hb.SubsetInput()
        wanted.glyph_set.update(texts)
        wanted.flags = hb.SubsetFlags.NO_HINTING | hb.SubsetFlags.NO_LAYOUT_CLOSURE
        wanted.drop_table_tag_set.update(_tag(tag) for tag in face.file.table_tags if tag not in _KEPT_TABLES)
        plan = hb.SubsetPlan(face.file, wanted)
        self.new_ids: dict[int, int] = dict(plan.old_to_new_glyph_mapping)
        self.program = bytes(plan.execute().blob.data)

    def advance(self, glyph_id: int) -> int:
        """The glyph's own advance, in thousandths of the font size."""
        return int(self.face.shaper.get_glyph_h_advance(glyph_id))

    def needs_spelling(self, cluster: Sequence[Glyph]) -> bool:
        """Whether the font's map from glyphs to text gives something else than what the cluster stands for."""
        return len(cluster) > 1 or self.texts[cluster[0].id] != cluster[0].text

    def code(self, glyph_id: int) -> str:
        """A glyph as it is written in a page's text."""
        return f"{self.new_ids[glyph_id]:04X}"


def _tag(name: str) -> int:
    return int.from_bytes(name.encode("ascii"), "big")


def _embed_fonts(document: pdfdoc.PDFDocument, pages: Iterable[Page]) -> dict[FontFace, _EmbeddedFont]:
    """Embed every face in use, named in the order of first use."""
    used: dict[FontFace, dict[int, str]] = {}
    for page in pages:
        for text in page.texts:
            for run in text.content.runs:
                texts = used.setdefault(run.face, {})
                for cluster in _clusters(run.glyphs):
                    _note_texts(texts, cluster)
    fonts = {face: _EmbeddedFont(face, f"T{index}", texts) for index, (face, texts) in enumerate(used.items())}
    resources = document.idToObject["BasicFonts"].dict
    for font in fonts.values():
        resources[font.name] = _font_object(document, font)
    return fonts


def _note_texts(texts: dict[int, str], cluster: Sequence[Glyph]) -> None:
    """Remember what each glyph stands for; a glyph that once stood for a text alone keeps that."""
    if len(cluster) == 1 and cluster[0].text:
        texts[cluster[0].id] = cluster[0].text
    for glyph in cluster:
        texts.setdefault(glyph.id, "")


def _font_object(document: pdfdoc.PDFDocument, font: _EmbeddedFont) -> pdfdoc.PDFObjectReference:
    """A Type 0 font whose character codes are the glyph numbers of the subset (ISO 32000-1, 9.7)."""
    name = pdfdoc.PDFName(f"DURABL+{font.face.name}")
    widths = [font.advance(old) for old in sorted(font.new_ids, key=font.new_ids.__getitem__)]
    descendant = pdfdoc.PDFDictionary(
        {
            "Type": pdfdoc.PDFName("Font"),
            "Subtype": pdfdoc.PDFName("CIDFontType2"),
            "BaseFont": name,
            "CIDSystemInfo": pdfdoc.PDFDictionary(
                {"Registry": pdfdoc.PDFString("Adobe"), "Ordering": pdfdoc.PDFString("Identity"), "Supplement": 0}
            ),
            "CIDToGIDMap": pdfdoc.PDFName("Identity"),
            "FontDescriptor": document.Reference(_descriptor(document, font, name)),
            "DW": 1000,
            "W": pdfdoc.PDFArray([0, pdfdoc.PDFArray(widths)]),
        }
    )
    return document.Reference(
        pdfdoc.PDFDictionary(
            {
                "Type": pdfdoc.PDFName("Font"),
                "Subtype": pdfdoc.PDFName("Type0"),
                "BaseFont": name,
                "Encoding": pdfdoc.PDFName("Identity-H"),
                "DescendantFonts": pdfdoc.PDFArray([document.Reference(descendant)]),
                "ToUnicode": document.Reference(_stream(_to_unicode(font).encode("ascii"))),
            }
        )
    )


def _descriptor(document: pdfdoc.PDFDocument, font: _EmbeddedFont, name: pdfdoc.PDFName) -> pdfdoc.PDFDictionary:
    extents = font.face.shaper.get_font_extents("ltr")
    program = _stream(font.program)
    program.dictionary["Length1"] = len(font.program)
    return pdfdoc.PDFDictionary(
        {
            "Type": pdfdoc.PDFName("FontDescriptor"),
            "FontName": name,
            "Flags": 4,
            "FontBBox": pdfdoc.PDFArray([-1000, extents.descender, 2000, extents.ascender]),
            "ItalicAngle": 0,
            "Ascent": extents.ascender,
            "Descent": extents.descender,
            "CapHeight": 714,
            "StemV": 80,
            "FontFile2": document.Reference(program),
        }
    )


def _stream(content: bytes) -> pdfdoc.PDFStream:
    stream = pdfdoc.PDFStream()
    stream.content = content
    stream.filters = [pdfdoc.PDFZCompress]
    return stream


def _to_unicode(font: _EmbeddedFont) -> str:
    """The map from glyph numbers to text, for searching and copying (ISO 32000-1, 9.10.3)."""
    mapped = [(font.new_ids[glyph], text) for glyph, text in sorted(font.texts.items()) if text]
    parts = [
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
        "1 begincodespacerange <0000> <FFFF> endcodespacerange",
    ]
    for start in range(0, len(mapped), _CMAP_CHUNK):
        chunk = mapped[start : start + _CMAP_CHUNK]
        parts.append(f"{len(chunk)} beginbfchar")
        parts.extend(f"<{number:04X}> <{text.encode('utf-16-be').hex().upper()}>" for number, text in chunk)
        parts.append("endbfchar")
    parts.append("endcmap CMapName currentdict /CMap defineresource pop end end")
    return "\n".join(parts)


def _page_code(page: Page, fonts: dict[FontFace, _EmbeddedFont]) -> str:
    """The page's drawing instructions. Boxes come first, so that text lies over them."""
    code = [_box_code(box, page.height) for box in page.boxes]
    code.append("BT")
    for text in page.texts:
        code.extend(_text_code(text, page.height, fonts))
    code.append("ET")
    return "\n".join(code)


def _box_code(box: Box, page_height: float) -> str:
    bottom = page_height - box.y - box.height
    return f"{_rgb(box.color)} rg {box.x:.2f} {bottom:.2f} {box.width:.2f} {box.height:.2f} re f"


def _rgb(color: Color) -> str:
    return " ".join(f"{part:.3f}" for part in color)


def _text_code(text: PlacedText, page_height: float, fonts: dict[FontFace, _EmbeddedFont]) -> Iterable[str]:
    size, x = text.style.size, text.x
    yield f"{_rgb(text.style.color)} rg"
    for run in text.content.runs:
        yield f"1 0 0 1 {x:.2f} {page_height - text.y:.2f} Tm"
        font = fonts[run.face]
        yield f"/{font.name} {size:.2f} Tf {_glyphs_code(run, font, size)}"
        x += sum(glyph.advance for glyph in run.glyphs) * size / EM


def _glyphs_code(run: GlyphRun, font: _EmbeddedFont, size: float) -> str:
    """The glyphs of a run. Where the font's own map cannot tell what is written, the text is spelled out beside it."""
    parts: list[str] = []
    for spelled, clusters in groupby(_clusters(run.glyphs), key=font.needs_spelling):
        if not spelled:
            parts.append(_show([glyph for cluster in clusters for glyph in cluster], font, size))
            continue
        for cluster in clusters:
            actual = f"\ufeff{cluster[0].text}".encode("utf-16-be").hex().upper()
            parts.append(f"/Span <</ActualText <{actual}>>> BDC {_show(cluster, font, size)} EMC")
    return " ".join(parts)


def _clusters(glyphs: Sequence[Glyph]) -> Iterable[list[Glyph]]:
    """The glyphs grouped by what they stand for: each with the textless ones that follow it."""
    cluster: list[Glyph] = []
    for glyph in glyphs:
        if glyph.text and cluster:
            yield cluster
            cluster = []
        cluster.append(glyph)
    if cluster:
        yield cluster


def _show(glyphs: Sequence[Glyph], font: _EmbeddedFont, size: float) -> str:
    """TJ arrays of glyph codes; a number between codes moves left by thousandths of the font size."""
    out: list[str] = []
    array: list[str] = []
    codes, rise = "", 0
    for glyph in glyphs:
        if glyph.y_offset != rise:
            out.append(_array_code(array, codes))
            array, codes, rise = [], "", glyph.y_offset
            out.append(f"{rise * size / EM:.3f} Ts")
        if glyph.x_offset:
            array, codes = [*array, f"<{codes}>", str(-glyph.x_offset)], ""
        codes += font.code(glyph.id)
        back = font.advance(glyph.id) - glyph.advance + glyph.x_offset
        if back:
            array, codes = [*array, f"<{codes}>", str(back)], ""
    out.append(_array_code(array, codes))
    if rise:
        out.append("0 Ts")
    return " ".join(part for part in out if part)


def _array_code(array: Sequence[str], codes: str) -> str:
    parts = [part for part in (*array, f"<{codes}>") if part != "<>"]
    return f"[{' '.join(parts)}] TJ" if parts else ""
