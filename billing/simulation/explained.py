"""Why each amount of a story is what it is: every line by billing.explain, dates in the customer's zone.

Owns the names of the document's fields.
"""

from billing.explain import document_of, explain_sums, explanations
from billing.money import decimal_text
from billing.simulation.invoices import PlayedInvoice
from billing.simulation.result import Json
from billing.simulation.story import Story


def explanations_of(story: Story) -> list[Json]:
    """One explanation an invoice, in the order of the result's invoices."""
    return [_invoice(story, played) for played in story.invoices]


def _invoice(story: Story, played: PlayedInvoice) -> Json:
    until = story.scenario.until
    invoice = story.present(played, until)
    found = explanations(invoice, story.inputs_of(played, until), story.terms.zone)
    return {
        "number": played.number,
        "invoice_status": played.status.value,
        "currency": invoice.currency,
        "lines": [
            {
                "price": each.line.price_id,
                "display_name": each.line.display_name,
                "amount": decimal_text(each.line.amount),
                **document_of(each),
            }
            for each in found
        ],
        "sums": explain_sums(invoice) if invoice.lines else [],
    }
