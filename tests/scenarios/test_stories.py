"""Every story of this folder, played and compared: `NAME.json` is told in `NAME.md` and comes to `NAME.result.json`.

The table in `NAME.md` is worked out by hand: number (or reason), total. `python -m tests.scenarios.write` writes the
results anew; a result that changes is a change of a rule and is read line by line.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from billing.scenario.decoding import read_json
from billing.simulation.simulate import simulate

FOLDER = Path(__file__).parent
STORIES = sorted(path.stem for path in FOLDER.glob("*.json") if not path.name.endswith(".result.json"))
STORIES_MIN = 86
"""The number of stories may only grow."""
ROW = re.compile(r"^\| (?P<number>[^|]+?) \| (?P<total>-?[0-9.]+) \|$", re.MULTILINE)


def played(name: str) -> dict[str, Any]:
    return simulate(read_json((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", STORIES)
def test_the_story_comes_to_its_result(name: str) -> None:
    expected = json.loads((FOLDER / f"{name}.result.json").read_text(encoding="utf-8"))
    assert played(name) == expected


@pytest.mark.parametrize("name", STORIES)
def test_the_totals_are_those_worked_out_by_hand(name: str) -> None:
    by_hand = ROW.findall((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    invoices = played(name)["invoices"]
    assert by_hand == [(invoice["number"] or invoice["invoice_status"], invoice["total"]) for invoice in invoices]


def test_there_are_as_many_stories_as_ever() -> None:
    assert len(STORIES) >= STORIES_MIN
    assert {path.name.removesuffix(".result.json") for path in FOLDER.glob("*.result.json")} == set(STORIES)
    assert {path.stem for path in FOLDER.glob("*.md")} == set(STORIES)
