"""The page for operators names every type of event that is emitted, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOUNS = ("customer", "feature", "subscription", "invoice", "payment", "refund", "dispute", "wallet", "event")
EMITTED = re.compile(rf'"((?:{"|".join(NOUNS)})(?:\.[a-z_]+)+)"')
BY_STATE = {"dispute.won", "dispute.lost"}
"""Put together from the state: `activities.disputes`."""


def test_the_page_names_what_is_emitted() -> None:
    emitted = {name for file in (ROOT / "activities").glob("*.py") for name in EMITTED.findall(file.read_text())}
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = page.partition("The types: ")[2].partition("An endpoint without")[0]

    named, noun = set(), ""
    for name in re.findall(r"`([a-z_.]+)`", listed):
        noun = name.partition(".")[0] or noun
        named.add(name if name.partition(".")[0] else f"{noun}{name}")

    assert named == emitted | BY_STATE
