"""Entitlements add up; allowances reset, shrink, and are drawn in time order; buckets are priced one by one."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from billing.allowances import LIFETIME_END, LineUsage, allowance_cuts, allowances_for, draw_free, reset_windows
from billing.codec import from_json, to_json
from billing.entitlements import (
    Allowance,
    AllowanceDraw,
    EffectiveEntitlement,
    Entitlement,
    FeatureType,
    UsageResetPeriod,
    effective_entitlements,
    scaled,
)
from billing.errors import Invalid, InvariantBroken
from billing.explain import explain_line
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice
from billing.meters import AggregationType, Meter, UsagePart
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period
from billing.prices import Price, TierMode
from billing.terms import Terms
from billing.usage_lines import allowance_draws
from billing.windows import WindowSize

from .builders import fixed_due, inputs, package, seat, snapshot, span, talk, terms, tiered, usage_due, utc

USED = span("2025-01-31", "2025-02-28")
RESET = UsageResetPeriod
METER = Meter("meter_talk", "talk", "call", AggregationType.SUM, "n")


def grant(
    name: str, limit: str | None, reset: UsageResetPeriod = RESET.BILLING_PERIOD, **changes: object
) -> Entitlement:
    usage_limit = None if limit is None else Decimal(limit)
    made = Entitlement(name, "talk", FeatureType.metered, "meter_talk", usage_limit, reset)
    return replace(made, **changes)  # type: ignore[arg-type]


def entitled(made: Terms, limit: str | None, reset: UsageResetPeriod = RESET.BILLING_PERIOD) -> Terms:
    usage_limit = None if limit is None else Decimal(limit)
    own = EffectiveEntitlement("talk", FeatureType.metered, True, "meter_talk", usage_limit, reset)
    return replace(made, entitlements=(own,))


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Entitlement("e", "f"), "meter_id", "a metered entitlement names its meter, and only a metered one"),
    (
        lambda: Entitlement("e", "f", FeatureType.boolean, "meter"),
        "meter_id",
        "a metered entitlement names its meter, and only a metered one",
    ),
    (lambda: grant("e", "-1"), "usage_limit", "usage_limit must be 0 or more, and only metered features have one"),
    (
        lambda: Entitlement("e", "f", FeatureType.boolean, usage_limit=Decimal(1)),
        "usage_limit",
        "usage_limit must be 0 or more, and only metered features have one",
    ),
    (
        lambda: Entitlement("e", "f", FeatureType.static),
        "static_value",
        "static_value is required for static and config features, and only for them",
    ),
    (
        lambda: Entitlement("e", "f", FeatureType.config),
        "config_value",
        "config_value is required for static and config features, and only for them",
    ),
    (
        lambda: grant("e", "1", value="x"),
        "static_value",
        "static_value is required for static and config features, and only for them",
    ),
    (
        lambda: effective_entitlements((grant("a", "1"), grant("b", "1", meter_id="other"))),
        "feature_id",
        "entitlements of feature talk must be of one type and meter",
    ),
]


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("granted", "overrides", "limit", "reset", "soft", "enabled"),
    [
        ([grant("a", "100"), grant("b", "50")], [], "150", RESET.BILLING_PERIOD, False, True),
        ([grant("a", "100"), grant("b", None)], [], None, RESET.BILLING_PERIOD, False, True),
        ([grant("a", "100"), grant("b", "50", is_soft_limit=True)], [], "150", RESET.BILLING_PERIOD, True, True),
        ([grant("a", "100"), grant("b", "50", is_enabled=False)], [], "100", RESET.BILLING_PERIOD, False, True),
        ([grant("a", "100", is_enabled=False)], [], "0", RESET.BILLING_PERIOD, False, False),
        # most contributors win; of a tie the first
        (
            [grant("a", "1"), grant("b", "1", RESET.DAILY), grant("c", "1", RESET.DAILY)],
            [],
            "3",
            RESET.DAILY,
            False,
            True,
        ),
        ([grant("a", "1", RESET.DAILY), grant("b", "1")], [], "2", RESET.DAILY, False, True),
        # an override replaces its parent, or all of the feature
        ([grant("a", "100"), grant("b", "50")], [grant("o", "7", parent_entitlement_id="a")], "57", None, False, True),
        ([grant("a", "100"), grant("b", "50")], [grant("o", "7")], "7", None, False, True),
        ([], [grant("o", "7")], "7", None, False, True),
        ([scaled(grant("a", "100"), 3), scaled(grant("b", None, is_enabled=False), 2)], [], "300", None, False, True),
    ],
)
def test_limits_add_up(
    granted: list[Entitlement],
    overrides: list[Entitlement],
    limit: str | None,
    reset: UsageResetPeriod | None,
    soft: bool,
    enabled: bool,
) -> None:
    (own,) = effective_entitlements(granted, overrides)
    assert own.usage_limit == (None if limit is None else Decimal(limit))
    assert own.usage_reset_period is (reset or RESET.BILLING_PERIOD)
    assert (own.is_soft_limit, own.is_enabled) == (soft, enabled)


def test_features_of_other_types() -> None:
    support = Entitlement("a", "support", FeatureType.static, value="gold")
    found = effective_entitlements(
        (support, Entitlement("b", "sso", FeatureType.boolean), replace(support, value="24/7"))
    )
    assert [(own.feature_id, own.is_enabled, own.values) for own in found] == [
        ("support", True, ("gold", "24/7")),
        ("sso", True, ()),
    ]


@pytest.mark.parametrize(
    ("made", "reset", "over", "windows"),
    [
        # the billing period, clamped at the month's end
        (terms(talk()), RESET.BILLING_PERIOD, USED, [("2025-01-31", "2025-02-28")]),
        (terms(talk()), RESET.MONTHLY, USED, [("2025-01-31", "2025-02-28")]),
        # local days; the first is cut to the start
        (
            terms(talk(), start="2025-01-31T12:00", zone="Asia/Kolkata"),
            RESET.DAILY,
            span("2025-01-31T12:00", "2025-02-02"),
            [
                ("2025-01-31T12:00", "2025-01-31T18:30"),
                ("2025-01-31T18:30", "2025-02-01T18:30"),
                ("2025-02-01T18:30", "2025-02-02T18:30"),
            ],
        ),
        # weeks start on Monday, unless the subscription bills by the week
        (terms(talk(), start="2025-01-31"), RESET.WEEKLY, span("2025-01-31", "2025-02-05"),
         [("2025-01-31", "2025-02-03"), ("2025-02-03", "2025-02-10")]),
        (terms(talk(), start="2025-01-31", cadence=Cadence(BillingPeriod.WEEKLY)), RESET.WEEKLY,
         span("2025-01-31", "2025-02-07"), [("2025-01-31", "2025-02-07")]),
        # a quarter of the anchor that contains the month
        (terms(talk()), RESET.QUARTERLY, span("2025-03-31", "2025-04-30"), [("2025-01-31", "2025-04-30")]),
        (terms(talk()), RESET.NEVER, span("2025-03-31", "2025-04-30"), [("2025-01-31", "9990-01-01")]),
    ],
)  # fmt: skip
def test_reset_windows(made: Terms, reset: UsageResetPeriod, over: Period, windows: list[tuple[str, str]]) -> None:
    assert reset_windows(made, reset, over) == tuple(span(start, end) for start, end in windows)
    assert utc("9990-01-01") == LIFETIME_END


def test_usage_is_read_in_windows_only_where_there_are_several() -> None:
    monthly = terms(talk())
    assert allowance_cuts(monthly, METER, USED) == ()
    assert allowance_cuts(entitled(monthly, "5"), METER, USED) == ()
    weekly = entitled(monthly, "5", RESET.WEEKLY)
    cuts = allowance_cuts(weekly, METER, USED)
    assert (cuts[0], cuts[1], cuts[-1]) == (
        span("2025-01-31", "2025-02-03"),
        span("2025-02-03", "2025-02-10"),
        span("2025-02-24", "2025-02-28"),
    )
    assert allowance_cuts(weekly, replace(METER, bucket_size=WindowSize.DAY), USED) == ()


def test_only_the_window_that_a_calendar_start_cut_shrinks() -> None:
    calendar = entitled(terms(talk(), start="2025-02-15", cycle=BillingCycle.calendar), "100")
    first, second = (
        usage_due(talk(), span("2025-02-15", "2025-03-01")),
        usage_due(talk(), span("2025-03-01", "2025-04-01")),
    )
    limits = [one.limit for one in allowances_for(calendar, (first, second, fixed_due(seat())))]
    assert limits == [50, 100]  # 14 of 28 days
    never = replace(calendar, entitlements=(replace(calendar.entitlements[0], usage_reset_period=RESET.NEVER),))
    assert [one.limit for one in allowances_for(never, (first,))] == [100]
    anchored = entitled(terms(talk(), start="2025-02-15", anchor="2025-03-01"), "100")
    assert [one.limit for one in allowances_for(anchored, (first,))] == [100]


def test_an_allowance_knows_what_earlier_invoices_drew() -> None:
    yearly = entitled(terms(talk()), "100", RESET.ANNUAL)
    window = span("2025-01-31", "2026-01-31")
    drawn = (AllowanceDraw("meter_talk", window, Fraction(30)), AllowanceDraw("meter_talk", window, Fraction(5)))
    assert allowances_for(yearly, (usage_due(talk()),), drawn) == (
        Allowance("meter_talk", window, Fraction(100), Fraction(35)),
    )
    assert allowances_for(yearly, (usage_due(package()),)) == ()
    disabled = replace(yearly, entitlements=(replace(yearly.entitlements[0], is_enabled=False),))
    assert allowances_for(disabled, (usage_due(talk()),)) == ()


def billed(made: InvoiceInputs, *allowances: Allowance) -> Invoice:
    return build_final_invoice(replace(made, allowances=allowances))


@pytest.mark.parametrize(
    ("limit", "used", "quantity", "amount"),
    [
        (Fraction(1000), 0, "36000", "54.00"),  # 37000 - 1000 in the first tier: x 0.0015
        (Fraction(1000), 400, "36400", "59.48"),  # 600 left: 54 + 400 x 0.0012 + 5
        (Fraction(1000), 1500, "37000", "60.20"),  # a lowered limit gives nothing and takes nothing back
        (Fraction(37000), 0, "0", "0.00"),
        (Fraction(37000, 2), 0, "18500", "27.75"),
        (None, 0, "0", "0.00"),
    ],
)
def test_billable_usage_is_what_the_allowance_leaves(
    limit: Fraction | None, used: int, quantity: str, amount: str
) -> None:
    made = inputs(usage_due(talk()), usage=(snapshot("meter_talk", USED, "37000"),))
    invoice = billed(made, Allowance("meter_talk", USED, limit, Fraction(used)))
    (line,) = invoice.lines
    assert (line.quantity, str(line.amount)) == (Decimal(quantity), amount)
    assert from_json(Invoice, to_json(invoice)) == invoice


def weekly_usage(*quantities: int) -> tuple[UsagePart, ...]:
    days = ["2025-01-31", "2025-02-07", "2025-02-14", "2025-02-21", "2025-02-28"]
    windows = [span(start, end) for start, end in pairwise(days)]
    return tuple(UsagePart(window, Fraction(number)) for window, number in zip(windows, quantities, strict=True))


def test_each_window_has_its_own_allowance() -> None:
    parts = weekly_usage(5, 25, 0, 40)
    usage = replace(snapshot("meter_talk", USED, "70"), parts=parts)
    each = [Allowance("meter_talk", part.period, Fraction(20)) for part in parts]
    price = tiered(TierMode.SLAB, (None, "1", "0"))
    invoice = billed(inputs(usage_due(price), usage=(usage,)), *each)
    assert str(invoice.lines[0].amount) == "25.00"  # 0 + 5 + 0 + 20
    assert [draw.quantity for draw in allowance_draws(invoice.lines)] == [5, 20, 20]
    assert explain_line(invoice.lines[0])[2:5] == [
        "1 of its 4 windows have no usage and are not listed",
        "2025-01-31 to 2025-02-07: 5, less 5 of the allowance (20 for 2025-01-31 to 2025-02-07) = 0",
        "2025-02-07 to 2025-02-14: 25, less 20 of the allowance (20 for 2025-02-07 to 2025-02-14) = 5",
    ]


def test_one_allowance_for_all_lines_of_a_meter_in_time_order_then_line_order() -> None:
    price = tiered(TierMode.SLAB, (None, "1", "0"))
    early, late = span("2025-01-31", "2025-02-14"), span("2025-02-14", "2025-02-28")
    due = (usage_due(price, late), usage_due(price, early), usage_due(price, late))
    made = inputs(*due, usage=(snapshot("meter_talk", early, "60"), snapshot("meter_talk", late, "30")))
    invoice = billed(made, Allowance("meter_talk", USED, Fraction(100)))
    # 60 early, then 30 for the first late line and 10 for the second
    assert [str(line.amount) for line in invoice.lines] == ["0.00", "0.00", "20.00"]
    words = (
        "2025-02-14 to 2025-02-28: 30, less 10 of the allowance (100 for 2025-01-31 to 2025-02-28, 90 used before) = 20"
    )
    assert words in explain_line(invoice.lines[2])


def test_after_a_plan_change_the_new_limit_counts_what_the_window_used() -> None:
    price = tiered(TierMode.SLAB, (None, "1", "0"))
    old, new = span("2025-01-31", "2025-02-14"), span("2025-02-14", "2025-02-28")
    made = inputs(
        usage_due(price, old), usage_due(price, new),
        usage=(snapshot("meter_talk", old, "80"), snapshot("meter_talk", new, "90")),
    )  # fmt: skip
    invoice = billed(
        made,
        Allowance("meter_talk", USED, Fraction(100), in_force=old),
        Allowance("meter_talk", USED, Fraction(120), in_force=new),
    )
    assert [str(line.amount) for line in invoice.lines] == ["0.00", "50.00"]  # 120 - 80 = 40 of 90 are free


def test_each_plans_allowance_is_in_force_for_its_own_span() -> None:
    old, new = span("2025-01-31", "2025-02-14"), span("2025-02-14", "2025-02-28")
    before, after = entitled(terms(talk()), "100"), entitled(terms(talk()), None)
    first = allowances_for(before, (usage_due(talk(), old),), (), old)
    second = allowances_for(after, (usage_due(talk(), new),), (), new)
    assert (*first, *second) == (
        Allowance("meter_talk", USED, Fraction(100), in_force=old),
        Allowance("meter_talk", USED, None, in_force=new),
    )


def test_usage_that_was_not_read_in_the_windows_of_its_allowance_is_never_billed() -> None:
    made = inputs(usage_due(talk()), usage=(snapshot("meter_talk", USED, "70"),))
    with pytest.raises(InvariantBroken, match="covers the whole"):
        billed(made, Allowance("meter_talk", span("2025-01-31", "2025-02-07"), Fraction(20)))


def bucketed(*quantities: int, group: str | None = None) -> InvoiceInputs:
    parts = tuple(structs.replace(part, group=group) for part in weekly_usage(*quantities))
    price = tiered(TierMode.SLAB, ("10", "2", "3"), (None, "1", "0"))
    usage = replace(snapshot("meter_talk", USED, str(sum(quantities))), parts=parts, bucketed=True)
    return inputs(usage_due(price), usage=(usage,))


def test_each_bucket_is_priced_by_itself() -> None:
    invoice = billed(bucketed(5, 0, 10, 15))
    # 5 x 2 + 3 = 13; nothing, not even the flat fee; 10 x 2 + 3 = 23; 23 + 5 x 1 = 28
    assert (str(invoice.lines[0].amount), invoice.lines[0].quantity) == ("64.00", Decimal(30))
    assert [part.amount for part in invoice.lines[0].derivation.parts] == [13, 0, 23, 28]
    assert explain_line(invoice.lines[0])[-2:] == [
        "sum: 13 + 23 + 23 + 5 = 64",
        "rounded once, half away from zero, to 2 digits: 64 -> 64.00 usd",
    ]
    assert "2025-01-31 to 2025-02-07 of eu: 5" in explain_line(billed(bucketed(5, 0, 0, 0, group="eu")).lines[0])


def test_an_allowance_is_consumed_bucket_by_bucket() -> None:
    # 12 free: 5, 0 and 7 of the third; left are 3 x 2 + 3 = 9 and 28
    invoice = billed(bucketed(5, 0, 10, 15), Allowance("meter_talk", USED, Fraction(12)))
    parts = invoice.lines[0].derivation.parts
    assert [part.used for part in parts] == [0, 5, 5, 12]
    assert [part.free for part in parts] == [5, 0, 7, 0]
    assert str(invoice.lines[0].amount) == "37.00"
    empty = replace(snapshot("meter_talk", USED, "0", 0), bucketed=True)
    (line,) = billed(inputs(usage_due(talk()), usage=(empty,))).lines
    assert (str(line.amount), line.derivation.parts) == ("0.00", ())


def test_a_bucket_draws_on_the_window_in_which_it_starts() -> None:
    """The week from Friday on is Friday's to Sunday's: of its 5 units 2 are free, though most of it is in the next."""
    parts = (UsagePart(span("2025-01-31", "2025-02-07"), Fraction(5)),)
    windows = (span("2025-01-31", "2025-02-03"), span("2025-02-03", "2025-02-10"))
    each = [Allowance("meter_talk", window, Fraction(2)) for window in windows]
    ((bucket,),) = draw_free([LineUsage("meter_talk", parts, bucketed=True)], each)
    assert (bucket.free, bucket.window) == (Fraction(2), windows[0])
    price = tiered(TierMode.SLAB, (None, "1", "0"))
    usage = replace(snapshot("meter_talk", USED, "5"), parts=parts, bucketed=True)
    assert str(billed(inputs(usage_due(price), usage=(usage,)), *each).lines[0].amount) == "3.00"


def capped(price: Price, most: str) -> Price:
    return replace(price, maximum_amount=Decimal(most))


def test_a_price_caps_its_line_for_a_period() -> None:
    usage = (snapshot("meter_talk", USED, "37000"),)
    (line,) = billed(inputs(usage_due(capped(talk(), "40")), usage=usage)).lines
    assert (str(line.amount), line.derivation.uncapped) == ("40.00", Fraction("60.2"))
    assert "the price's maximum for a period cuts 60.2 to 40" in explain_line(line)
    # 62.50 capped at 50, for half of the period 25
    (seats,) = billed(inputs(fixed_due(capped(seat(), "50"), share=Fraction(1, 2)))).lines
    assert str(seats.amount) == "25.00"
    assert billed(inputs(fixed_due(capped(seat(), "62.5")))).lines[0].derivation.uncapped is None
    with pytest.raises(Invalid, match="maximum_amount"):
        capped(seat(), "-1")


@given(
    st.lists(st.tuples(st.integers(0, 27), st.integers(0, 50)), min_size=1, max_size=8),
    st.integers(0, 120),
    st.integers(0, 60),
)
def test_allowance_laws(rows: list[tuple[int, int]], limit: int, used: int) -> None:
    """Nothing is free beyond the limit, all of it is used up before anything is paid, and the split does not matter."""
    parts = tuple(
        UsagePart(span(f"2025-02-{day + 1:02}", f"2025-02-{day + 1:02}T23:00"), Fraction(number))
        for day, number in rows
    )
    window = span("2025-02-01", "2025-03-01")
    allowance = Allowance("m", window, Fraction(limit), Fraction(used))
    (found,) = draw_free([LineUsage("m", parts)], [allowance])
    free, whole = sum(one.free for one in found), sum(part.quantity for part in parts)
    assert free == min(whole, max(limit - used, 0))
    assert all(0 <= one.free <= one.part.quantity for one in found)
    apart = draw_free([LineUsage("m", (part,)) for part in parts], [allowance])
    assert sum(one[0].free for one in apart) == free
