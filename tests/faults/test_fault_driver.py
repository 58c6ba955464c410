"""The fault driver: every kind of fault once, and under `make test-full` a thousand faults and more, by any seed."""

import os
import random
from pathlib import Path

from tests.faults.driver.report import write
from tests.faults.driver.run import Plan, run

SEED_OF_THE_SHORT_RUN = 1127
"""Always the same, so that what broke nothing does not fail by chance. It moves clocks over seven ends of a month and
two changes to or from summer time, invoices three thresholds, tells of three balances, voids an invoice and issues
seven credit notes: two for late usage, five by hand."""


def plan() -> Plan:
    """A run of minutes, or of half an hour."""
    seed = os.environ.get("FAULTS_SEED")
    if os.environ.get("FAULTS_LONG"):
        return Plan(int(seed or random.SystemRandom().randrange(1_000_000)), customers=8, pace=1.5)
    return Plan(int(seed or SEED_OF_THE_SHORT_RUN), faults=36, customers=3, months=2, tenants=2, pace=0.3)


async def test_whatever_breaks_everything_is_as_the_simulator_says(tmp_path: Path) -> None:
    """Its last lines are the counts by kind, and the command that plays the run again."""
    report = await run(plan(), tmp_path)
    print(write(report))
    assert report.problems == []
    assert report.verdict.looked_at["credit notes"] > 0
    assert report.verdict.looked_at["of these for late usage"] > 0
