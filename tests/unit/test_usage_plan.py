"""Which span of a period is read from where: nothing twice, nothing left out, no cell that may have changed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.clickhouse.usage_rollups import LateHour, ReadPlan, Sealed, Span, make_plan
from models.clickhouse.usage_seals import DAYS, HOURS, PERIODS, Layer

ORIGIN = datetime(2025, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONTHS = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3)]

instants = st.integers(-40 * 24 * 60, 100 * 24 * 60).map(lambda minutes: ORIGIN + timedelta(minutes=minutes))
blocks = st.integers(1, 9)


@st.composite
def layers(draw: st.DrawFn) -> list[Sealed]:
    """Days and hours of some of three months, each sealed up to somewhere."""
    found = []
    for month in MONTHS:
        days = draw(st.integers(-1, 28))
        if days > 0:
            found.append(Sealed(Layer(month, DAYS), month + days * DAY, draw(blocks)))
        hours = draw(st.integers(-1, 28 * 24))
        if hours > 0:
            found.append(Sealed(Layer(month, HOURS, "acme"), month + hours * HOUR, draw(blocks)))
    return found


late_hours = st.lists(
    st.builds(lambda hour, block: LateHour("acme", ORIGIN + hour * HOUR, block, 0), st.integers(0, 80 * 24), blocks),
    max_size=6,
)


def pieces(plan: ReadPlan) -> list[Span]:
    """All spans of a plan, in their order."""
    to_date = [plan.to_date] if plan.to_date else []
    return sorted([*to_date, *plan.days, *plan.hours, *plan.events], key=lambda span: span.start)


@given(instants, instants, layers(), late_hours, st.integers(0, 30), blocks)
def test_a_plan_covers_the_period_once(
    one: datetime, other: datetime, sealed: list[Sealed], late: list[LateHour], to_date: int, block: int
) -> None:
    start, end = min(one, other), max(one, other)
    midnight = start.replace(hour=0, minute=0) + to_date * DAY
    if midnight > start:
        sealed = [*sealed, Sealed(Layer(start, PERIODS), midnight, block)]
    plan = make_plan(start, end, sealed, late)
    at = start
    for span in pieces(plan):
        assert span.start == at
        assert span.end > span.start
        at = span.end
    assert at == max(end, start)


@given(instants, instants, layers(), late_hours)
def test_no_cell_is_used_that_is_not_sealed_or_has_changed(
    one: datetime, other: datetime, sealed: list[Sealed], late: list[LateHour]
) -> None:
    plan = make_plan(min(one, other), max(one, other), sealed, late)
    for level, size, spans in ((DAYS, DAY, plan.days), (HOURS, HOUR, plan.hours)):
        for span in spans:
            assert (span.start - ORIGIN) % size == (span.end - ORIGIN) % size == timedelta(0)
            within = [
                each
                for each in sealed
                if each.layer.level == level and each.layer.start < span.end and span.start < each.layer.end
            ]
            covered = [min(span.end, each.layer.end) - max(span.start, each.layer.start) for each in within]
            assert sum(covered, timedelta(0)) == span.end - span.start, "every part belongs to a layer"
            for each in within:
                assert min(span.end, each.layer.end) <= each.horizon
                assert not [
                    hour for hour in late if span.start <= hour.hour < span.end
                    and each.layer.start <= hour.hour < each.layer.end and hour.newest > each.block
                ]  # fmt: skip


def test_a_period_to_date_is_used_unless_something_came_into_it() -> None:
    start, end = ORIGIN + timedelta(hours=5, minutes=30), ORIGIN + 40 * DAY
    sealed = [Sealed(Layer(start, PERIODS), ORIGIN + 20 * DAY, 7)]
    plan = make_plan(start, end, sealed)
    assert plan.to_date == Span(start, ORIGIN + 20 * DAY)
    assert plan.events == [Span(ORIGIN + 20 * DAY, end)]
    # Its first hour is known to have a late row, from the half hour that belongs to the period.
    assert make_plan(start, end, sealed, [LateHour("acme", ORIGIN + 5 * HOUR, 8, 0)]).to_date is None
    assert make_plan(start, end, sealed, [LateHour("acme", ORIGIN + 5 * HOUR, 7, 0)]).to_date is not None
    assert make_plan(start, end, sealed, [LateHour("acme", ORIGIN + 20 * DAY, 8, 0)]).to_date is not None
    assert make_plan(start, ORIGIN + 19 * DAY, sealed).to_date is None, "it reaches beyond the end that is asked for"
