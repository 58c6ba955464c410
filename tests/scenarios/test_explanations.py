"""Every line of every story can be explained, and the parts of an explanation add up to the line, to the last digit.

What some stories say in full stands in `explained/`: `python -m tests.scenarios.write` writes it anew, for reading.
"""

import json
from fractions import Fraction
from typing import Any

import pytest

from billing.explain import Figure, explain_invoice, explanations
from billing.invoices import Invoice, InvoiceInputs
from billing.scenario.decoding import read_json
from billing.scenario.parse import parse_scenario
from billing.simulation.explained import explanations_of
from billing.simulation.simulate import play
from tests.scenarios.test_stories import FOLDER, STORIES

EXPLAINED = FOLDER / "explained"


def told_whole() -> list[str]:
    """The stories whose explanations are compared word by word: among them they have every kind of part and note."""
    return sorted(path.stem for path in EXPLAINED.glob("*.json"))


def explained(name: str) -> list[dict[str, Any]]:
    """The explanation of each invoice of a story, as a document."""
    return explanations_of(play(parse_scenario(read_json((FOLDER / f"{name}.json").read_text(encoding="utf-8")))))


@pytest.mark.parametrize("name", told_whole())
def test_a_story_is_explained_in_these_words(name: str) -> None:
    assert explained(name) == json.loads((EXPLAINED / f"{name}.json").read_text(encoding="utf-8"))


def invoices_of(name: str) -> list[tuple[Invoice, InvoiceInputs]]:
    """The invoices of a story as they stand at its end, and what they follow from."""
    story = play(parse_scenario(read_json((FOLDER / f"{name}.json").read_text(encoding="utf-8"))))
    end = story.scenario.until
    return [(story.present(played, end), story.inputs_of(played, end)) for played in story.invoices]


@pytest.mark.parametrize("name", STORIES)
def test_the_parts_add_up(name: str) -> None:
    for invoice, inputs in invoices_of(name):
        found = explanations(invoice, inputs)
        assert [each.line for each in found] == list(invoice.lines)
        for each in found:
            line = each.line
            assert each.sum_of(Figure.amount) == Fraction(line.amount), each.text
            assert each.sum_of(Figure.discount) == -Fraction(line.discount), each.text
            assert each.sum_of(Figure.tax) == Fraction(line.exclusive_tax), each.text
            assert each.sum_of(Figure.credits) == -Fraction(line.prepaid_credits), each.text
        together = sum((each.sum_of(figure) for each in found for figure in Figure), Fraction(0))
        assert together == Fraction(invoice.total), explain_invoice(invoice, inputs)


def test_lots_are_told_on_the_lines_that_they_paid() -> None:
    _, (invoice, inputs), _ = invoices_of("which-lot-paid-which-line")
    seat, use = explanations(invoice, inputs)
    assert seat.text[-3:] == [
        "6 credits of lot actions[0]/bonus pay 3 usd",
        "14 credits of lot actions[0] pay 7 usd",
        "paid by credits: 10.00 usd",
    ]
    assert use.text[-2:] == ["14 credits of lot actions[0] pay 7 usd", "paid by credits: 7.00 usd"]


def test_each_window_of_a_commitment_is_told_with_its_promise() -> None:
    (invoice, inputs), *_ = invoices_of("night-and-day-commitments")
    found = explanations(invoice, inputs)
    assert [words for words in found[0].text if words.startswith("window")] == [
        "window 2026-01-01 02:00:00 to 2026-01-01 03:00:00 (22:00 to 06:00 UTC): 2 used, 5 promised",
        "window 2026-01-01 09:00:00 to 2026-01-01 10:00:00 (08:00 to 18:00 UTC): 30 used, 20 promised, 10 beyond",
        "window 2026-01-01 10:00:00 to 2026-01-01 11:00:00 (08:00 to 18:00 UTC): 5 used, 20 promised",
        "window 2026-01-01 19:00:00 to 2026-01-01 20:00:00: 7 used, nothing promised",
        "window 2026-01-01 23:00:00 to 2026-01-02 (22:00 to 06:00 UTC): 8 used, 5 promised, 3 beyond",
        "windows without usage: 14, 190 promised",
    ]
    assert not any(words.startswith("window") for each in found[1:] for words in each.text)
