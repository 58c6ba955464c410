"""How a correction of an earlier period stands on an invoice: its period, and the two sums that make the difference."""

from decimal import Decimal

from activities.document_content import document_line
from activities.documents import DetailRow, Period
from billing.money import total
from billing.scenario.decoding import read_json
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import play
from tests.scenarios.test_stories import FOLDER


def test_a_correction_names_its_period_and_what_was_billed_before() -> None:
    story = play(parse_scenario(read_json((FOLDER / "late-usage-both-ways.json").read_text(encoding="utf-8"))))
    january, february = story.invoices[1], story.invoices[2]
    lines = [document_line(line) for line in february.invoice.lines]
    correction, carried = lines[2:]
    assert (correction.description, correction.quantity, correction.amount) == (
        "Correction: use",
        Decimal(-30),
        Decimal(-15),
    )
    period = january.inputs.due.period
    assert correction.period == Period(period.start, period.end)
    assert correction.details == (
        DetailRow("All usage of that period", Decimal(5), Decimal(10)),
        DetailRow("Billed before", Decimal(-20), Decimal(-40)),
    )
    assert total(row.amount for row in correction.details) == correction.amount
    assert (carried.period, carried.quantity, carried.details) == (None, None, ())
