"""`python -m tests.faults.driver`: progress on standard error, then counts and verdict; exit 1 when it fails."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.driver.report import write
from tests.faults.driver.run import Plan, run
from tests.parts import end_leftovers


def main() -> int:
    """Plays one run and prints what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.driver",
        description="Random billing years on real processes under faults, compared with the simulator.",
        epilog="A run that failed is played again by the command that it prints.",
    )
    parser.add_argument("--seed", type=int, default=None, help="chance; a random one when it is absent")
    parser.add_argument("--faults", type=int, default=1000, help="at least so many, evenly over all kinds (1000)")
    parser.add_argument("--customers", type=int, default=20, help="how many live at once (20)")
    parser.add_argument("--months", type=int, default=12, help="length of a story (12)")
    parser.add_argument("--tenants", type=int, default=3, help="tenants, each with settings of its own (3)")
    parser.add_argument("--pace", type=float, default=1.0, help="mean seconds between two faults of a lane (1.0)")
    parser.add_argument("--keep", type=Path, default=None, help="folder for data and logs, which then stay")
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    plan = Plan(seed, chosen.faults, chosen.customers, chosen.months, chosen.tenants, chosen.pace)
    end_leftovers()
    with tempfile.TemporaryDirectory(prefix="durabill-faults-", ignore_cleanup_errors=True) as scratch:
        report = asyncio.run(run(plan, chosen.keep or Path(scratch)))
    print(write(report))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
