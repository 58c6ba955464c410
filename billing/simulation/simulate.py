"""One scenario in, one result out.

Owns the loop over the actions: what is due first, then the action, and a refusal that does not end the story.
"""

from typing import Any

from billing.errors import BillingError
from billing.scenario.document import Scenario
from billing.scenario.parse import parse_scenario
from billing.simulation.actions import perform
from billing.simulation.explained import explanations_of
from billing.simulation.records import Refusal
from billing.simulation.result import Json, result_of
from billing.simulation.story import Story


def simulate(document: Any, explain: bool = False) -> Json:
    """The result of a scenario document (JSON values), with `explanations` of its invoices if wanted.

    Raises Invalid with the path of what is wrong.
    """
    scenario = parse_scenario(document)
    story = play(scenario)
    return {**result_of(story), "explanations": explanations_of(story)} if explain else result_of(story)


def play(scenario: Scenario) -> Story:
    """The story, played until its end."""
    story = Story(scenario)
    for index, action in sorted(enumerate(scenario.actions), key=lambda pair: pair[1].at):
        if action.at > scenario.until:
            break
        story.advance(action.at)
        try:
            perform(story, action, f"actions[{index}]")
        except BillingError as error:
            story.refused.append(Refusal(index, error.code, error.message))
    story.advance(scenario.until)
    return story
