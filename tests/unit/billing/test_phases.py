"""Phases: which follow one another, and the pieces into which they cut a line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.commitments import Commitment, CommitmentType
from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence
from billing.phases import Phase, PhaseItem, check_phases, item_lines, phased_commitments, phased_lines
from billing.terms import LineItem

from .builders import seat, talk, utc

D = Decimal
START, END = utc("2025-01-01"), utc("2025-12-01")
LINE = LineItem("line_0", seat("10"), D(5), START)
Dates = tuple[str, str | None]


def dated(*phases: Dates) -> list[tuple[datetime, datetime | None]]:
    return [(utc(begins), None if ends is None else utc(ends)) for begins, ends in phases]


@pytest.mark.parametrize(
    ("phases", "field", "message"),
    [
        (
            [("2024-12-31", None)],
            "phases[0].start_date",
            "phases[0].start_date must not be before the subscription's start, 2025-01-01T00:00:00+00:00",
        ),
        ([("2025-02-01", "2025-02-01")], "phases[0].end_date", "phases[0].end_date must be after its start_date"),
        (
            [("2025-02-01", "2025-03-01"), ("2025-02-28", None)],
            "phases[1].start_date",
            "phases[1].start_date must not be before the end of the phase before, 2025-03-01T00:00:00+00:00",
        ),
        (
            [("2025-02-01", None), ("2025-03-01", None)],
            "phases[0].end_date",
            "phases[0].end_date is required: only the last phase goes on",
        ),
        (
            [("2025-02-01", "2025-12-02")],
            "phases[0].end_date",
            "phases[0].end_date must not be after the subscription's end_date",
        ),
        (
            [("2025-12-01", None)],
            "phases[0].start_date",
            "phases[0].start_date must be before the subscription's end_date",
        ),
    ],
)
def test_phases_that_make_no_sense_are_refused(phases: Sequence[Dates], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_phases(dated(*phases), START, END)
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize("place", [0, 1])
def test_dates_of_a_phase_are_instants_that_there_are(place: int) -> None:
    dates = [utc("2025-02-01"), utc("2025-03-01")]
    dates[place] = datetime(9999, 1, 1, tzinfo=UTC)
    with pytest.raises(Invalid) as refused:
        check_phases([(dates[0], dates[1])], START, None)
    assert refused.value.field == f"phases[0].{('start_date', 'end_date')[place]}"


def test_phases_may_touch_one_another_and_both_ends_of_the_subscription() -> None:
    check_phases(dated(("2025-01-01", "2025-02-01"), ("2025-02-01", "2025-12-01")), START, END)
    check_phases(dated(("2025-01-01", "2025-02-01"), ("2025-03-01", None)), START, None)
    check_phases([], START, END)


def test_a_phase_holds_from_its_start_to_before_its_end() -> None:
    phase = Phase(utc("2025-02-01"), utc("2025-03-01"))
    days = ("2025-01-31", "2025-02-01", "2025-02-28", "2025-03-01")
    assert [phase.contains(utc(day)) for day in days] == [False, True, True, False]
    assert [replace(phase, end=None).contains(utc(day)) for day in days] == [False, True, True, True]


def test_a_phase_gives_the_quantities_that_it_names_and_those_of_its_items() -> None:
    phase = Phase(START, quantities=(("price_seat", D(9)),), items=(PhaseItem(talk(), D(1)),))
    assert [phase.gives_quantity(name) for name in ("price_seat", "price_talk", "other")] == [True, True, False]


def names() -> Iterator[str]:
    return (f"new_{number}" for number in range(9))


def pieces(line: LineItem, *phases: Phase) -> list[tuple[str, str, str | None, str, str]]:
    """(id, first day, last day, amount, quantity) of each piece."""
    following = names()
    return [
        (
            one.id,
            f"{one.start:%m-%d}",
            None if one.end is None else f"{one.end:%m-%d}",
            str(one.price.amount),
            str(one.quantity),
        )
        for one in phased_lines([line], phases, lambda _: next(following))
    ]


DEARER = Phase(utc("2025-02-01"), utc("2025-03-01"), prices=(seat("12"),))
MORE = Phase(utc("2025-03-01"), utc("2025-04-01"), quantities=(("price_seat", D(7)),))


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ((), [("line_0", "01-01", None, "10", "5")]),
        (
            (DEARER, MORE),
            [
                ("line_0", "01-01", "02-01", "10", "5"),
                ("new_0", "02-01", "03-01", "12", "5"),
                ("new_1", "03-01", "04-01", "10", "7"),
                ("new_2", "04-01", None, "10", "5"),
            ],
        ),
        # a phase that changes nothing of the line does not cut it
        ((replace(MORE, quantities=(("other", D(9)),)),), [("line_0", "01-01", None, "10", "5")]),
        # one without an end goes on
        (
            (replace(MORE, end=None),),
            [("line_0", "01-01", "03-01", "10", "5"), ("new_0", "03-01", None, "10", "7")],
        ),
        # one that begins with the subscription is its first piece; one before it is over
        ((Phase(utc("2024-12-01"), START, prices=(seat("99"),)), replace(DEARER, start=START)),
         [("line_0", "01-01", "03-01", "12", "5"), ("new_0", "03-01", None, "10", "5")]),
    ],
)  # fmt: skip
def test_a_line_is_cut_where_a_phase_changes_it(
    phases: tuple[Phase, ...], expected: list[tuple[str, str, str | None, str, str]]
) -> None:
    assert pieces(LINE, *phases) == expected


def test_a_line_that_begins_within_a_phase_begins_with_it_and_ends_when_it_was_to_end() -> None:
    late = replace(LINE, start=utc("2025-02-10"), end=utc("2025-06-01"))
    assert pieces(late, DEARER) == [
        ("line_0", "02-10", "03-01", "12", "5"),
        ("new_0", "03-01", "06-01", "10", "5"),
    ]


def test_each_piece_keeps_what_was_agreed_for_it() -> None:
    """Its end, so that a pause can end it before; the trial belongs to the pieces that it reaches."""
    line = replace(LINE, trial_end=utc("2025-02-10"))
    found = phased_lines([line], (DEARER, MORE), str)
    assert [one.agreed_end for one in found] == [one.end for one in found]
    assert [one.trial_end for one in found] == [line.trial_end, line.trial_end, None, None]
    # a trial that ends where a piece begins is over then
    found = phased_lines([replace(LINE, trial_end=DEARER.start)], (DEARER,), str)
    assert [one.trial_end for one in found] == [DEARER.start, None, None]


def test_a_one_time_charge_is_what_holds_at_its_time_and_is_not_repeated() -> None:
    once = replace(LINE, price=seat("10", Cadence(BillingPeriod.ONETIME)))
    assert pieces(once, DEARER, MORE) == [("line_0", "01-01", "02-01", "10", "5")]


def test_items_of_phases_have_lines_of_their_own() -> None:
    support = PhaseItem(replace(seat("3"), id="support"), D(2))
    phases = (
        Phase(utc("2024-11-01"), utc("2025-01-01"), items=(support,)),  # over before the first period
        Phase(utc("2024-12-01"), utc("2025-02-01"), items=(support,)),
        Phase(utc("2025-03-01"), items=(support,)),
    )
    following = names()
    found = item_lines(phases, START, lambda price: f"{price}/{next(following)}")
    assert found == (
        LineItem("support/new_0", support.price, D(2), START, utc("2025-02-01"), agreed_end=utc("2025-02-01")),
        LineItem("support/new_1", support.price, D(2), utc("2025-03-01")),
    )


def test_every_piece_of_a_line_keeps_its_commitment() -> None:
    following = names()
    found = phased_lines([LINE, replace(LINE, id="line_1", price=talk())], (DEARER,), lambda _: next(following))
    own = Commitment(CommitmentType.amount, D(5), "line_0")
    whole = Commitment(CommitmentType.amount, D(9))
    other = replace(own, line_item_id="line_1")
    names_of = [one.line_item_id for one in phased_commitments([own, other], found)]
    assert names_of == ["line_0", "new_0", "new_1", "line_1"]
    assert phased_commitments([whole], found) == (whole,)
