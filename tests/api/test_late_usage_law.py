"""Late usage is billed as the simulator says, in stories that nobody wrote: to the last field.

`make test-full` plays more of them.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.simulation.simulate import simulate
from starter.simulate.comparing import Comparison
from tests.api.conftest import Server, new_tenant
from tests.api.test_stories_on_the_stack import AT_ONCE, played
from tests.simulation.late_stories import late_story

NUMBERS = range(60) if os.environ.get("FAULTS_LONG") else (10, 18, 19)


@pytest.fixture(scope="module")
def compared(server: Server) -> dict[int, Comparison]:
    """Every story, played in a tenant of its own."""

    def one(number: int) -> Comparison:
        return played(json.dumps(late_story(number)), new_tenant(server))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(NUMBERS, pool.map(one, NUMBERS), strict=True))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_product_bills_late_usage_as_the_simulator_does(number: int, compared: dict[int, Comparison]) -> None:
    assert compared[number].differences == ()
    assert compared[number].outcome == "same"


def test_the_stories_correct_something() -> None:
    """In both directions, at the end of a look-back, and beyond the charges of an invoice."""
    results = [simulate(late_story(number)) for number in NUMBERS]
    invoices = [
        [line for line in invoice["lines"] if line["kind"] == "adjustment"]
        for each in results
        for invoice in each["invoices"]
    ]
    lines = [line for of_invoice in invoices for line in of_invoice]
    assert any(line["amount"].startswith("-") for line in lines)
    assert any(line["price"] and not line["amount"].startswith("-") for line in lines)
    assert any(line["price"] is None for line in lines)
