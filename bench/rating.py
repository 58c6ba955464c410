"""Measures rating: finished invoices a second on one core, for a plan of 3 fixed and 7 usage prices with a tax.

Owns the plan, the usage and the clock around them. An invoice is what the core does for it, from what was agreed and
measured to lines, tax, totals and their derivation; nothing is read or stored. Run:
`python -m bench.rating [--invoices 2000] [--runs 5] [--profile]`.
"""

import argparse
import cProfile
import gc
import os
import platform
import pstats
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median
from typing import Any, Final

from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice
from billing.meters import UsageQuantity, UsageSnapshot
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import (
    BillingModel,
    InvoiceCadence,
    Price,
    PriceType,
    Tier,
    TierMode,
    TransformQuantity,
)
from billing.subscriptions import SubscriptionState, SubscriptionStatus, close_period
from billing.taxes import TaxRate, TaxRateType
from billing.terms import LineItem, Terms
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

GOAL: Final = 5000
"""Invoices a CPU second."""

MONTHLY: Final = Cadence(BillingPeriod.MONTHLY)
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
CLOSED: Final = Period(START, datetime(2026, 2, 1, tzinfo=UTC))
TAX: Final = TaxRate("tax_gst", "gst", "GST", TaxRateType.percentage, Decimal(18))
TIERS: Final = (
    Tier(Decimal(1000), Decimal("0.02"), Decimal(1)),
    Tier(Decimal(100_000), Decimal("0.015")),
    Tier(None, Decimal("0.0125")),
)
COUPON: Final = CouponAssociation(
    "ca_ten", Coupon("coupon_ten", "Ten", CouponType.percentage, Decimal(10), cadence=CouponCadence.forever)
)
WALLET: Final = Wallet(
    "wallet_1",
    WalletType.PRE_PAID,
    "usd",
    allowed_price_types=AllowedPriceTypes.ALL,
    lots=(CreditLot("lot_1", Decimal(500), Decimal(500), START),),
)


def _fixed(name: str, amount: str, cadence: InvoiceCadence = InvoiceCadence.ADVANCE) -> Price:
    flat = BillingModel.FLAT_FEE
    return Price(f"price_{name}", name, PriceType.FIXED, flat, "usd", MONTHLY, cadence, Decimal(amount))


def _usage(name: str, model: BillingModel, amount: str | None = None, mode: TierMode | None = None) -> Price:
    return Price(
        id=f"price_{name}",
        display_name=name,
        type=PriceType.USAGE,
        billing_model=model,
        currency="usd",
        cadence=MONTHLY,
        invoice_cadence=InvoiceCadence.ARREAR,
        amount=None if amount is None else Decimal(amount),
        tier_mode=mode,
        tiers=TIERS if mode else (),
        transform_quantity=TransformQuantity(100) if model is BillingModel.PACKAGE else None,
        meter_id=f"meter_{name}",
    )


PRICES: Final = (
    _fixed("platform", "99"),
    _fixed("seat", "12.5"),
    _fixed("support", "49.99", InvoiceCadence.ARREAR),
    _usage("calls", BillingModel.FLAT_FEE, "0.0015"),
    _usage("storage", BillingModel.FLAT_FEE, "0.023"),
    _usage("messages", BillingModel.PACKAGE, "1.25"),
    _usage("minutes", BillingModel.TIERED, mode=TierMode.SLAB),
    _usage("tokens", BillingModel.TIERED, mode=TierMode.SLAB),
    _usage("traffic", BillingModel.TIERED, mode=TierMode.VOLUME),
    _usage("jobs", BillingModel.TIERED, mode=TierMode.VOLUME),
)


@dataclass(frozen=True)
class Case:
    """What is measured: `work` on what `given` prepares for a customer."""

    name: str
    given: Callable[[int], Any]
    work: Callable[[Any], Invoice]


@dataclass(frozen=True)
class Run:
    """One measurement: seconds for `invoices` of them."""

    invoices: int
    cpu: float
    wall: float


def agreed(customer: int) -> Terms:
    """What a customer agreed to: the whole plan, with quantities of its own."""
    lines = tuple(LineItem(f"line_{price.id}", price, Decimal(1 + customer % 50), START) for price in PRICES)
    return Terms(f"sub_{customer}", "usd", "Asia/Kolkata", MONTHLY, START, START, lines, tax_rates=(TAX,))


def measured(customer: int) -> tuple[UsageSnapshot, ...]:
    """What the meters of a customer read: some whole numbers, some not."""
    return tuple(
        UsageSnapshot(f"snap_{place}", price.meter_id or "", CLOSED, CLOSED.end, UsageQuantity(quantity, 10, 0, "c0"))
        for place, price in enumerate(PRICES)
        if price.type is PriceType.USAGE
        for quantity in (Decimal((customer * 7919 + place * 104_729) % 250_000) / (1, 4, 100)[place % 3],)
    )


def agreed_and_measured(customer: int) -> tuple[Terms, tuple[UsageSnapshot, ...]]:
    """What is known when a period ends."""
    return agreed(customer), measured(customer)


def close_and_bill(known: tuple[Terms, tuple[UsageSnapshot, ...]]) -> Invoice:
    """The lines that fall due, and their invoice."""
    return build_final_invoice(month_of(*known))


def month(customer: int) -> InvoiceInputs:
    """A month of the plan: two lines in advance, one in arrear, seven of usage, 18 % tax."""
    return month_of(*agreed_and_measured(customer))


def month_of(terms: Terms, usage: tuple[UsageSnapshot, ...]) -> InvoiceInputs:
    """What falls due at the period's end, with its usage."""
    due = close_period(terms, SubscriptionState(SubscriptionStatus.active, CLOSED)).invoice
    if due is None:
        raise AssertionError("a period with lines has an invoice")
    return InvoiceInputs("usd", due, terms.tax_rates, usage)


def month_with_everything(customer: int) -> InvoiceInputs:
    """The same with a coupon on the invoice and a wallet that pays a part of it."""
    return replace(month(customer), coupons=(COUPON,), wallet=WALLET)


CASES: Final = (
    Case("rated, taxed and summed up", month, build_final_invoice),
    Case("the same with a coupon and prepaid credits", month_with_everything, build_final_invoice),
    Case("a period closed and its invoice", agreed_and_measured, close_and_bill),
)


def run(case: Case, invoices: int, profiler: cProfile.Profile | None = None) -> Run:
    """Makes `invoices` invoices of what is there already."""
    given = [case.given(customer) for customer in range(invoices)]
    gc.collect()
    with profiler or nullcontext():
        wall, cpu = time.perf_counter(), time.process_time()
        for one in given:
            case.work(one)
        return Run(invoices, time.process_time() - cpu, time.perf_counter() - wall)


def bytes_of_one(case: Case, invoices: int = 200) -> int:
    """Memory that an invoice takes with its derivation, without what it was made from."""
    given = [case.given(customer) for customer in range(invoices)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [case.work(one) for one in given]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) // len(kept)


def report(case: Case, runs: Sequence[Run]) -> Iterator[str]:
    """The figures of a case: medians, and how far the runs lie apart."""
    rates = sorted(one.invoices / one.cpu for one in runs)
    wall = median(one.invoices / one.wall for one in runs)
    yield f"{case.name}: {median(rates):.0f} invoices a CPU second ({rates[0]:.0f} to {rates[-1]:.0f}),"
    yield f"  {wall:.0f} a second of wall clock, {bytes_of_one(case) / 1024:.1f} KiB each"


def main() -> int:
    """Prints the figures of each case; exit code 1 when the goal is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--invoices", type=int, default=2000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--profile", action="store_true")
    options = arguments.parse_args()
    if options.profile:
        profiler = cProfile.Profile()
        run(CASES[0], options.invoices, profiler)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
        return 0
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start")
    results = {case.name: [run(case, options.invoices) for _ in range(options.runs)] for case in CASES}
    for case in CASES:
        print("\n".join(report(case, results[case.name])))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{peak} MiB at most, load {os.getloadavg()[0]:.2f} at the end; goal: {GOAL} invoices a CPU second")
    first = results[CASES[0].name]
    return int(median(one.invoices / one.cpu for one in first) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
