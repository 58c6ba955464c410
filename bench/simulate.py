"""Measures `durabill simulate`: one-year monthly scenarios with 10 usage entries each, one after the other.

Owns the scenarios and the clock around them. Run: `python -m bench.simulate [--scenarios 1000] [--profile]`.
"""

import argparse
import cProfile
import json
import pstats
import resource
import sys
import time
from typing import Any

from billing.scenario.decoding import read_json
from billing.simulation.simulate import simulate

GOAL_SECONDS = 10
"""For 1,000 scenarios on one core."""


def scenario(number: int) -> dict[str, Any]:
    """A year of seats and tiered calls with tax; every second one has a coupon, each its own quantities."""
    day = 1 + number % 28
    usage = [
        {
            "meter": "calls",
            "at": f"2026-{1 + place:02d}-{1 + (day + place) % 28:02d}T{place:02d}:30:00Z",
            "quantity": f"{(number * 37 + place * 911) % 5000}.{place}5",
        }
        for place in range(10)
    ]
    tiers = [{"up_to": 1000, "unit_amount": "0.02", "flat_amount": "1"}, {"up_to": None, "unit_amount": "0.01"}]
    return {
        "name": f"customer {number}",
        "customer": {"external_id": f"customer-{number}", "timezone": ("Asia/Kolkata", "Europe/Paris")[number % 2]},
        "meters": [{"key": "calls", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"}}],
        "plans": [
            {
                "key": "pro",
                "prices": [
                    {"key": "seat", "type": "FIXED", "billing_model": "FLAT_FEE", "amount": "12.5",
                     "invoice_cadence": "ADVANCE"},
                    {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "TIERED", "tier_mode": "SLAB",
                     "tiers": tiers},
                ],
            }
        ],
        "coupons": [{"key": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"}],
        "tax_rates": [{"key": "gst", "type": "percentage", "percentage_value": "18"}],
        "subscription": {
            "plan": "pro",
            "start_date": f"2026-01-{day:02d}T00:00:00Z",
            "quantities": {"seat": str(1 + number % 9)},
            "coupons": ["ten"] if number % 2 else [],
            "tax_rates": ["gst"],
        },
        "usage": usage,
        "until": f"2027-01-{day:02d}T06:00:00Z",
    }  # fmt: skip


def main() -> int:
    """Prints one line of figures; exit code 1 when the goal is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scenarios", type=int, default=1000)
    arguments.add_argument("--profile", action="store_true")
    options = arguments.parse_args()
    lines = [json.dumps(scenario(number)) for number in range(options.scenarios)]
    profiler = cProfile.Profile() if options.profile else None
    if profiler:
        profiler.enable()
    started, cpu = time.perf_counter(), time.process_time()
    invoices = 0
    for line in lines:
        result = simulate(read_json(line))
        invoices += len(result["invoices"])
        json.dumps(result)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{options.scenarios} scenarios, {invoices} invoices: {seconds:.2f} s ({cpu:.2f} s of CPU), "
        f"{invoices / cpu:.0f} invoices a CPU second, {peak} MiB at most"
    )
    return int(cpu > GOAL_SECONDS * options.scenarios / 1000)


if __name__ == "__main__":
    sys.exit(main())
