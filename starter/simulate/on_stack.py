"""One story twice: by the simulator here, and on a running stack through its public API; and whether they agree."""

from typing import Final

from billing.scenario.decoding import read_json
from billing.scenario.parse import parse_scenario
from billing.simulation.result import Json
from starter.cli.api_client import Api, ApiError
from starter.simulate.comparing import Comparison, Difference, differences
from starter.simulate.environment import settings_of
from starter.simulate.gaps import gaps_of
from starter.simulate.outcomes import outcome
from starter.simulate.player import NOT_THE_STORYS, play
from starter.simulate.reading import read_result

NOT_A_STORY: Final = "error"


def compare(api: Api, text: str) -> Comparison:
    """Plays the document in `text` if all of it can be played. Raises CliError for a stack that does not go on.

    While it is played the environment of the key has the story's billing settings.
    """
    expected = outcome(text)
    verdict = _without_stack(text, expected)
    if verdict is not None:
        return verdict
    scenario, invoices = parse_scenario(read_json(text)), len(expected["invoices"])
    try:
        with settings_of(api, scenario.settings):
            found = read_result(api, scenario.name, play(api, scenario))
    except ApiError as refusal:
        if refusal.status in NOT_THE_STORYS or refusal.status >= 500:
            raise
        refused = Difference("", "a story", f"refused: {refusal}")
        return Comparison(scenario.name, differences=(refused,), invoices=invoices)
    return Comparison(scenario.name, differences=differences(expected, found), invoices=invoices)


def without_stack(text: str) -> Comparison | None:
    """What can be said without a stack: it is no story, or not playable. None: play it."""
    return _without_stack(text, outcome(text))


def _without_stack(text: str, expected: Json) -> Comparison | None:
    if NOT_A_STORY in expected:
        return Comparison(expected["name"], error=expected[NOT_A_STORY])
    scenario = parse_scenario(read_json(text))
    gaps = gaps_of(scenario)
    return Comparison(scenario.name, gaps=tuple(gaps), invoices=len(expected["invoices"])) if gaps else None
