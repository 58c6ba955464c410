"""The fault driver, under `make test-full`: a thousand faults and more, by any seed."""

import os
import random
from pathlib import Path

import pytest

from tests.faults.driver.report import write
from tests.faults.driver.run import Plan, run

SHORT = os.environ.get("FAULTS_DRIVER") == "short"


def plan(seed: int) -> Plan:
    """A run of a quarter of an hour and more, or of minutes."""
    return Plan(seed, faults=72, customers=4, months=4, tenants=2, pace=0.3) if SHORT else Plan(seed)


@pytest.mark.skipif(
    not (SHORT or os.environ.get("FAULTS_LONG")),
    reason="a long run: make test-full, or FAULTS_DRIVER=short for minutes",
)
async def test_whatever_breaks_everything_is_as_the_simulator_says(tmp_path: Path) -> None:
    """Its last lines are the counts by kind, and the command that plays the run again."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1_000_000))
    report = await run(plan(seed), tmp_path)
    print(write(report))
    assert report.problems == []
