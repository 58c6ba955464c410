"""Names of any script are shaped as their readers expect, and no character is drawn as an empty box."""

from pathlib import Path

import pypdfium2
import pytest

from activities.documents import fonts, render_invoice
from activities.documents.fonts import Weight, load_face
from activities.documents.shaping import REPLACEMENT, ShapedText, shape
from tests.documents import samples

WEIGHTS = list(Weight)


def shown(text: ShapedText) -> str:
    """The characters that are drawn, in reading order of each run, runs from left to right."""
    return "".join(run.text for run in text.runs)


def glyph_names(text: ShapedText) -> list[str]:
    return [run.face.shaper.glyph_to_string(glyph.id) for run in text.runs for glyph in run.glyphs]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("script", samples.NAMES)
def test_every_script_has_a_glyph_for_every_character(script: str, weight: Weight) -> None:
    text = shape(samples.NAMES[script], weight)
    assert all(glyph.id != 0 for run in text.runs for glyph in run.glyphs)
    assert REPLACEMENT not in shown(text)
    assert text.width > 0


def test_arabic_letters_are_joined_and_run_from_right_to_left() -> None:
    (run,) = shape("كتب").runs
    assert [glyph.text for glyph in run.glyphs] == ["ب", "ت", "ك"]
    # Presentation forms of Unicode: final beh, medial teh, initial kaf.
    assert glyph_names(shape("كتب")) == ["uniFE90", "uniFE98", "uniFEDB"]


def test_lam_and_alef_form_their_ligature() -> None:
    assert [glyph.text for glyph in shape("لا").runs[0].glyphs] == ["لا"]


def test_numbers_and_latin_words_within_arabic_keep_their_direction() -> None:
    text = shape("شركة Gulf 2025 للصوت")
    assert [run.text.strip() for run in text.runs if run.text.strip()] == ["للصوت", "Gulf 2025", "شركة"]


def test_an_arabic_word_within_latin_stays_in_its_place() -> None:
    text = shape("Gulf شركة الصوت Ltd")
    assert [run.text.strip() for run in text.runs if run.text.strip()] == ["Gulf", "الصوت", "شركة", "Ltd"]


def test_parentheses_are_mirrored_in_arabic() -> None:
    names = glyph_names(shape("(ذم)"))
    assert (names[0], names[-1]) == ("parenleft", "parenright")


def test_devanagari_conjuncts_are_formed_and_the_short_i_stands_before_them() -> None:
    assert glyph_names(shape("क्ष")) == ["uni0915094D0937"]
    sign, letter = glyph_names(shape("कि"))
    assert (sign.split(".")[0], letter) == ("uni093F", "uni0915")
    # The sign of a conjunct stands before the whole of it; reph, an r before a letter, above and after it.
    assert glyph_names(shape("क्ति"))[1:] == ["uni0915094D", "uni0924"]
    assert glyph_names(shape("र्क")) == ["uni0915", "uni0930094D"]


def test_devanagari_is_shaped_by_its_own_rules_next_to_latin() -> None:
    alone = [glyph.id for run in shape("श्री क्षत्रिय").runs for glyph in run.glyphs]
    beside = [glyph.id for run in shape("Shri श्री क्षत्रिय").runs for glyph in run.glyphs]
    assert beside[-len(alone) :] == alone


def test_a_mark_stays_with_its_letter() -> None:
    assert shape("e\u0301").runs == shape("é").runs
    (run,) = shape("حَمْد").runs
    assert all(glyph.id for glyph in run.glyphs)


def test_a_persian_non_joiner_is_kept() -> None:
    (joined,), (apart,) = shape("میخ").runs, shape("می\u200cخ").runs
    assert [glyph.id for glyph in joined.glyphs] != [glyph.id for glyph in apart.glyphs]
    assert all(glyph.id for glyph in apart.glyphs)


@pytest.mark.parametrize("text", ["🚀", "\x07", "\ue000", "\ud800", "🜁", "שׁ", "\u0e44", "\U00020000"])
def test_what_no_font_has_is_replaced_in_the_open(text: str) -> None:
    shaped = shape(f"A {text} B")
    assert all(glyph.id for run in shaped.runs for glyph in run.glyphs)
    assert shown(shaped).startswith(f"A {REPLACEMENT}")
    assert shown(shaped).endswith(" B")


def test_directional_overrides_cannot_turn_a_text_around() -> None:
    assert shape("acc\u202etxe.exe") == shape("acctxe.exe")


def test_line_breaks_and_tabs_become_spaces() -> None:
    assert shape("a\tb\nc") == shape("a b c")


def test_an_empty_text_has_no_width() -> None:
    assert shape("") == ShapedText((), 0)


@pytest.mark.parametrize("script", samples.NAMES)
def test_names_can_be_searched_and_copied(script: str) -> None:
    name = samples.NAMES[script]
    (page,) = pypdfium2.PdfDocument(render_invoice(samples.addressed_to(name)))
    text = page.get_textpage().get_text_bounded()
    # PDFium turns lam-alef around, and drops the non-joiner; words without them come back as they were written.
    for word in name.replace("(", " ").replace(")", " ").split():
        if "لا" not in word and "\u200c" not in word:
            assert word in text, (word, text)


def test_fonts_are_truetype_small_and_come_with_their_licences() -> None:
    folder = Path(fonts.__file__).parent
    files = sorted(folder.glob("*.ttf"))
    assert sum(file.stat().st_size for file in files) < 8_000_000
    for file in files:
        assert {"glyf", "loca"} <= set(load_face(file.stem).file.table_tags), file
        assert list(folder.glob(f"{file.stem.split('-')[0]}-*.txt")), f"{file} has no licence beside it"
        assert f"`{file.name}`" in (folder / "README.md").read_text(), file
