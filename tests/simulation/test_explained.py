"""Whatever happens to a customer, every line can be explained, and the parts of an explanation add up to the line."""

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.explain import Figure, explain_invoice, explanations
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import play
from tests.simulation.documents import Json
from tests.simulation.test_laws import eventful_stories

commitments = st.sampled_from(
    [
        {},
        {"commitment": {"commitment_amount": "25", "overage_factor": "1.5", "enable_true_up": True}},
        {"commitment": {"commitment_amount": "90", "commitment_duration": "QUARTERLY", "enable_true_up": True}},
    ]
)


@settings(max_examples=100, deadline=None)
@given(eventful_stories(), commitments)
def test_the_parts_of_every_line_add_up(story: Json, promised: dict[str, Any]) -> None:
    story["subscription"] |= promised
    played = play(parse_scenario(story))
    end = played.scenario.until
    for each in played.invoices:
        invoice, inputs = played.present(each, end), played.inputs_of(each, end)
        found = explanations(invoice, inputs, played.terms.zone)
        for explained in found:
            line = explained.line
            expected = {
                Figure.amount: Fraction(line.amount),
                Figure.discount: -Fraction(line.discount),
                Figure.tax: Fraction(line.exclusive_tax),
                Figure.credits: -Fraction(line.prepaid_credits),
            }
            assert {figure: explained.sum_of(figure) for figure in Figure} == expected, explained.text
        assert sum((one.sum_of(figure) for one in found for figure in Figure), Fraction(0)) == invoice.total, (
            explain_invoice(invoice, inputs)
        )
